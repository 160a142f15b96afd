package api_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// marker stands in for whatever a hostile client sends: no answer may hold it.
const marker = "zzMARKERzz"

// attack is one hostile request, as bytes, and the refusal it must get.
type attack struct {
	name   string
	raw    string
	code   string
	closed bool // the client ends its side after sending
}

// crafted writes a request with a JSON body.
func crafted(method, target, token, body string, headers ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: vote.example.org\r\nConnection: close\r\n", method, target)
	if token != "" {
		b.WriteString("Authorization: Bearer " + token + "\r\n")
	}
	kind := "Content-Type: application/json\r\n"
	for _, h := range headers {
		if strings.HasPrefix(strings.ToLower(h), "content-type") {
			kind = ""
		}
	}
	if body != "" {
		b.WriteString(kind)
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	for _, h := range headers {
		b.WriteString(h + "\r\n")
	}
	b.WriteString("\r\n" + body)
	return b.String()
}

func attacks(s *site) []attack {
	token := s.names["mira.token"]
	const votePath, pollsPath = "/api/polls/{one}/vote", "/api/polls"
	var list []attack
	add := func(code, name, raw string) { list = append(list, attack{name: name, raw: s.named(raw), code: code}) }
	post := func(code, path, body string, headers ...string) {
		add(code, "POST "+path+" "+strings.Join(headers, " ")+" "+body, crafted("POST", path, token, s.named(body), headers...))
	}
	get := func(code, target string, headers ...string) {
		add(code, "GET "+target+" "+strings.Join(headers, " "), crafted("GET", target, token, "", headers...))
	}

	// What is hardly HTTP.
	for name, raw := range map[string]string{
		"nonsense":               marker + "\r\n\r\n",
		"no version":             "GET /api/tags\r\n\r\n",
		"bad version":            "GET /api/tags HTTP/x.y\r\nHost: a\r\n\r\n",
		"future version":         "GET /api/tags HTTP/3.0\r\nHost: a\r\n\r\n",
		"TLS by mistake":         "\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n",
		"empty method":           " /api/tags HTTP/1.1\r\nHost: a\r\n\r\n",
		"method with brackets":   "G(T /api/tags HTTP/1.1\r\nHost: a\r\n\r\n",
		"no host":                "GET /api/tags HTTP/1.1\r\n\r\n",
		"two hosts":              "GET /api/tags HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
		"bad host":               "GET /api/tags HTTP/1.1\r\nHost: a b<" + marker + ">\r\n\r\n",
		"bad escape in path":     "GET /api/polls/%zz HTTP/1.1\r\nHost: a\r\n\r\n",
		"cut escape in path":     "GET /api/polls/%4 HTTP/1.1\r\nHost: a\r\n\r\n",
		"control byte in path":   "GET /api/\x01polls HTTP/1.1\r\nHost: a\r\n\r\n",
		"relative path":          "GET api/polls HTTP/1.1\r\nHost: a\r\n\r\n",
		"bad absolute address":   "GET http://[::1/api/tags HTTP/1.1\r\nHost: a\r\n\r\n",
		"header without colon":   "GET /api/tags HTTP/1.1\r\nHost: a\r\n" + marker + "\r\n\r\n",
		"header with a space":    "GET /api/tags HTTP/1.1\r\nHost: a\r\nBad Name: x\r\n\r\n",
		"header with NUL":        "GET /api/tags HTTP/1.1\r\nHost: a\r\nX-Request-Id: a\x00b\r\n\r\n",
		"folded first header":    "GET /api/tags HTTP/1.1\r\n folded: x\r\nHost: a\r\n\r\n",
		"space before colon":     "GET /api/tags HTTP/1.1\r\nHost : a\r\n\r\n",
		"length not a number":    "POST /api/polls HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
		"negative length":        "POST /api/polls HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
		"signed length":          "POST /api/polls HTTP/1.1\r\nHost: a\r\nContent-Length: +2\r\n\r\n{}",
		"two lengths":            "POST /api/polls HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
		"endless length":         "POST /api/polls HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n{}",
		"unknown coding":         "POST /api/polls HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: " + marker + "\r\n\r\n",
		"gzip, chunked":          "POST /api/polls HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
		"two codings":            "POST /api/polls HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
		"impossible expectation": "POST /api/polls HTTP/1.1\r\nHost: a\r\nExpect: " + marker + "\r\nContent-Length: 2\r\n\r\n{}",
		"long request line":      "GET /api/tags?q=" + strings.Repeat("a", 30_000) + " HTTP/1.1\r\nHost: a\r\n\r\n",
		"long header":            "GET /api/tags HTTP/1.1\r\nHost: a\r\nX-Long: " + strings.Repeat("a", 30_000) + "\r\n\r\n",
		"many headers":           "GET /api/tags HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X-A: b\r\n", 4_000) + "\r\n",
	} {
		add("malformed", name, raw)
	}
	add("not_found", "HTTP/2 by surprise", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	// Framing of bodies.
	chunked := func(body string) string {
		return "POST " + votePath + " HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: Bearer " + token + "\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n" + body
	}
	add("malformed", "chunk size not a number", chunked("zz\r\n{}\r\n0\r\n\r\n"))
	add("malformed", "chunk longer than told", chunked("1\r\n{}\r\n0\r\n\r\n"))
	add("malformed", "huge chunk size", chunked("fffffffffffffffff\r\n{}\r\n0\r\n\r\n"))
	add("malformed", "negative chunk size", chunked("-2\r\n{}\r\n0\r\n\r\n"))
	add("malformed", "an empty chunked body", chunked("0\r\n\r\n"))
	add("body_too_large", "many chunks", chunked(strings.Repeat("400\r\n"+strings.Repeat(" ", 0x400)+"\r\n", 70)+"0\r\n\r\n"))
	add("malformed", "length and chunks", strings.Replace(chunked("1\r\n{\r\n0\r\n\r\n"), "Transfer-Encoding", "Content-Length: 17\r\nTransfer-Encoding", 1))
	list = append(list,
		attack{"a body that ends early", s.named(strings.Replace(crafted("POST", votePath, token, `{"optionIndex":0}`), "Content-Length: 17", "Content-Length: 40", 1)), "malformed", true},
		attack{"chunks that end early", s.named(chunked("10\r\n{\"optionIndex\":0\r\n")), "malformed", true},
		attack{"a length alone", s.named(strings.TrimSuffix(crafted("POST", votePath, token, `{}`), "{}")), "malformed", true},
	)
	add("body_too_large", "told to be large", strings.Replace(crafted("POST", votePath, token, `{}`), "Content-Length: 2", "Content-Length: 65537", 1))
	add("body_too_large", "told to be very large", strings.Replace(crafted("POST", votePath, token, `{}`), "Content-Length: 2", "Content-Length: 9223372036854775807", 1))
	post("body_too_large", pollsPath, `{"title":"`+strings.Repeat("a", 65_536)+`"}`)

	// Media types.
	for _, header := range []string{
		"Content-Type: text/plain", "Content-Type: application/x-www-form-urlencoded", "Content-Type: multipart/form-data; boundary=x", "Content-Type:", "Content-Type: json",
		"Content-Type: application/json; charset=latin1", "Content-Type: application/json; charset=utf-16", "Content-Type: application/json;;=", "Content-Type: application/xml",
		"Content-Type: application/json, text/plain", "Content-Type: " + marker, "Content-Encoding: gzip", "Content-Encoding: br, gzip", "Content-Encoding: " + marker,
		"Content-Type: application/json\r\nContent-Type: application/json", "Content-Type: application/problem+json",
	} {
		post("unsupported_media_type", votePath, `{"optionIndex":0}`, header)
	}

	// The same for the calls that change an account.
	for _, method := range []string{"PATCH", "DELETE"} {
		change := func(code, body string) {
			add(code, method+" /api/users/me "+body, crafted(method, "/api/users/me", token, body))
		}
		for _, body := range []string{``, `{`, `{"` + marker + `":}`, "\xff\xfe{\x00}\x00", strings.Repeat("[", 30_000)} {
			change("malformed", body)
		}
		for _, body := range []string{
			`{}`, `[]`, `7`, `null`, `{"` + marker + `":"` + marker + `"}`, `{"password":null}`, `{"password":["` + marker + `"]}`, `{"password":""}`,
			`{"Password":"` + marker + `"}`, `{"is_admin":true,"id":1}`,
		} {
			change("invalid", body)
		}
	}
	add("invalid", "a bad update", crafted("PATCH", "/api/users/me", token, `{"username":"`+marker+` !","email":"`+marker+`","password":"short"}`))
	for _, body := range []string{
		`{"currentPassword":"` + marker + `"}`, `{"currentPassword":"` + strings.Repeat("x", 50_000) + `","email":"x"}`,
		`{"currentPassword":"\u0000","password":"` + marker + `"}`, `{"currentPassword":"","is_admin":true}`,
	} {
		add("wrong_password", "PATCH "+body, crafted("PATCH", "/api/users/me", token, body))
	}
	add("wrong_password", "an erasure", crafted("DELETE", "/api/users/me", token, `{"password":"`+marker+`"}`))
	for _, sid := range []string{"x", marker, "..", "%00", "%2e%2e%2f", "'%20OR%201=1--", strings.Repeat("a", 5000), "AAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAB"} {
		add("not_found", "DELETE session "+sid, crafted("DELETE", "/api/users/me/sessions/"+sid, token, ""))
	}
	for _, cursor := range []string{"x", marker, "AAAA", "AAAAAAAAAAAAAAAAAAAAAAAA", strings.Repeat("A", 2000), "%F0%9F%8D%B5", "=="} {
		get("invalid_cursor", "/api/users/me/sessions?cursor="+cursor)
	}
	for _, limit := range []string{"0", "-1", "101", "x", "1e1", "9999999999999999999"} {
		get("invalid", "/api/users/me/sessions?limit="+limit)
	}
	for _, headers := range []string{
		"Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site", "Sec-Fetch-Site: none", "Sec-Fetch-Site: " + marker, "Origin: null", "Origin: https://" + marker,
		"Origin: https://vote.example.org." + marker, "Origin: vote.example.org", "Origin: ftp://vote.example.org", "Sec-Fetch-Site: same-origin\r\nOrigin: https://evil.example.org",
		"Sec-Fetch-Site: cross-site\r\nOrigin: https://vote.example.org", "Origin: https://vote.example.org\r\nOrigin: https://vote.example.org", "X-A: b",
	} {
		for _, path := range []string{"/api/auth/refresh", "/api/auth/logout"} {
			add("forbidden", "POST "+path+" "+headers, crafted("POST", path, token, "", "X-Vote-Client: web", "Cookie: vote_refresh={mira.refresh}", headers))
		}
	}
	for _, value := range []string{"", marker, "{mira.refresh}; vote_refresh={mira.refresh}", "%00", strings.Repeat("a", 8000), `"{mira.refresh}`} {
		add("invalid_refresh_token", "a cookie "+value, crafted("POST", "/api/auth/refresh", "", "", "X-Vote-Client: web", "Sec-Fetch-Site: same-origin", "Cookie: vote_refresh="+value))
	}
	for _, client := range []string{"Web", "web, web", "ios", "web\r\nX-Vote-Client: web"} {
		add("malformed", "client "+client, crafted("POST", "/api/auth/refresh", "", "", "X-Vote-Client: "+client, "Sec-Fetch-Site: same-origin", "Cookie: vote_refresh={mira.refresh}"))
	}

	// Bodies that are not JSON, for every call that takes one.
	for _, path := range []string{votePath, "/api/polls/{one}/skip", "/api/interactions", pollsPath, "/api/auth/register", "/api/auth/login", "/api/auth/refresh", "/api/auth/logout"} {
		for _, body := range []string{`{`, `{"` + marker + `":}`, "\xff\xfe{\x00}\x00", "{\"a\":\"\xc3\x28\"}", strings.Repeat("[", 30_000)} {
			post("malformed", path, body)
		}
		for _, body := range []string{`"` + marker + `"`, `7`, `null`, `true`, `{"` + marker + `":"` + marker + `"}`, `{"__proto__":{"admin":true},"constructor":1}`} {
			post("invalid", path, body)
		}
	}
	for _, body := range []string{
		"\xef\xbb\xbf{\"optionIndex\":0}", `{"optionIndex":0}{"optionIndex":1}`, `{"optionIndex":0},`, `{'optionIndex':0}`, `{"optionIndex":0x1}`, `{"optionIndex":01}`, `{"optionIndex":+1}`,
		`{"optionIndex":1.}`, `{"optionIndex":NaN}`, `{"optionIndex":Infinity}`, `{"optionIndex":-}`, `{"optionIndex":1e}`, `{"a":"\ud800"}`, `{"a":"\x41"}`, "{\"a\":\"\x00\"}", "{\"a\":\"tab\there\"}",
		`optionIndex=0`, `<vote option="0"/>`, ` `, `//{"optionIndex":0}`,
	} {
		post("malformed", votePath, body)
	}
	// Votes with wrong content.
	for _, body := range []string{
		`{"optionIndex":"0"}`, `{"optionIndex":0.5}`, `{"optionIndex":null}`, `{"optionIndex":[0]}`, `{"optionIndex":{}}`, `{"optionIndex":true}`, `{"optionIndex":9e99}`, `{"optionIndex":9223372036854775808}`,
		`{"optionIndex":-9007199254740993}`, `{"OptionIndex":0}`, `{"optionindex":0}`, `{"optionIndex":0,"optionIndex":1}`, `{"optionIndex":0,"userId":"` + marker + `"}`, `{"optionIndex":0,"userId":-1}`,
		`{"optionIndex":0,"userId":1.5}`, `{"optionIndex":0,"userId":"1e0"}`, `{"optionIndex":0,"userId":null}`, `{"optionIndex":0,"userId":9007199254740992}`, `{"optionIndex":0,"userId":""}`,
		`{"optionIndex":0,"userId":" 1"}`, `{"optionIndex":0,"userId":"01"}`, `{"optionIndex":0,"pollId":{one}}`, `{"optionIndex":0,"` + strings.Repeat("x", 60_000) + `":1}`,
	} {
		post("invalid", votePath, body)
	}
	for _, body := range []string{`{"optionIndex":3}`, `{"optionIndex":-1}`, `{"optionIndex":9007199254740991}`, `{"optionIndex":-9007199254740991}`} {
		post("invalid_option", votePath, body)
	}
	post("forbidden", votePath, `{"optionIndex":0,"userId":9007199254740991}`)
	post("forbidden", votePath+"?userId=2", `{"optionIndex":0}`)

	// Polls with wrong content.
	poll := func(title, options, tags string) string {
		return `{"title":` + title + `,"options":` + options + `,"tags":` + tags + `}`
	}
	const fineTitle, fineOptions, fineTags = `"a"`, `["a","b"]`, `["a"]`
	for _, title := range []string{`""`, `"   "`, `"` + strings.Repeat("a", 301) + `"`, `"a\u0000` + marker + `"`, `"\u200b"`, `"a\u2028b"`, `"\u001b[2J"`, `5`, `["a"]`, `"\ufffe"`, `"\u0301"`} {
		post("invalid", pollsPath, poll(title, fineOptions, fineTags))
	}
	for _, options := range []string{
		`[]`, `["a"]`, `["a","a"]`, `["a"," a "]`, `["` + marker + `","` + marker + `"]`, `["a",""]`, `["a","` + strings.Repeat("b", 201) + `"]`, `[` + strings.Repeat(`"x",`, 20) + `"y"]`, `"a,b"`, `{"0":"a","1":"b"}`, `[["a"],["b"]]`, `[null,null]`, `["a",1]`,
	} {
		post("invalid", pollsPath, poll(fineTitle, options, fineTags))
	}
	for _, tags := range []string{
		`[]`, `["a b"]`, `[""]`, `["<` + marker + `>"]`, `["` + strings.Repeat("t", 51) + `"]`, `["a","b","c","d","e","f","g","h","i","j","k"]`, `"a"`, `[1]`, `["-"]`, `["a/../b"]`, `["%2e"]`, `["a';drop table polls;--"]`,
	} {
		post("invalid", pollsPath, poll(fineTitle, fineOptions, tags))
	}
	for _, key := range []string{"", strings.Repeat("k", 256), "a\tb", "é"} {
		post("invalid", pollsPath, poll(fineTitle, fineOptions, fineTags), "Idempotency-Key: "+key)
	}
	// Batches.
	for _, body := range []string{
		`[]`, `[[]]`, `[null]`, `[{"pollId":{one}}]`, `[{"optionIndex":0}]`, `[{"pollId":"` + marker + `","skip":true}]`, `[{"pollId":{one},"skip":"yes"}]`, `[{"pollId":{one},"skip":true,"optionIndex":0}]`,
		`[{"pollId":{one},"pollId":{one},"skip":true}]`, `[{"pollId":-1,"skip":true}]`, `[` + strings.Repeat(`{"pollId":{one},"skip":true},`, 100) + `{"pollId":{one},"skip":true}]`, `{"items":[]}`,
		`[{"pollId":{one},"optionIndex":0},{"pollId":{one},"optionIndex":0,"x":1}]`,
	} {
		post("invalid", "/api/interactions", body)
	}

	// Ids in paths.
	for _, id := range []string{
		"abc", "0", "-1", "+1", "01", "1.0", "1e3", "9007199254740992", "99999999999999999999999", "1%20", "%00", "1%00", "%ff", "1%2F2", "%2e%2e", "null", "1;drop", "%27%20OR%201=1--", "{one}%20", "%EF%BC%91", marker, strings.Repeat("9", 4000),
	} {
		add("not_found", "vote on poll "+id, crafted("POST", "/api/polls/"+id+"/vote", token, `{"optionIndex":0}`))
		add("not_found", "stats of poll "+id, crafted("GET", "/api/polls/"+id+"/stats", "", ""))
	}
	add("not_found", "delete of poll ..", crafted("DELETE", "/api/polls/..", token, ""))
	get("not_found", "/api/polls/../../etc/passwd")
	get("not_found", "/assets/%2e%2e%2f%2e%2e%2fweb.go")
	get("not_found", "/"+marker)
	get("not_found", "/api/users/1")

	// Queries.
	for _, q := range []string{"%", "limit=%", "tag=%zz", "q=%ff", "%c3=1", "q=%C3%28", "cursor=%%"} {
		get("malformed", pollsPath+"?"+q)
	}
	for _, q := range []string{
		"limit=0", "limit=101", "limit=-1", "limit=x", "limit=", "limit=1.5", "limit=1e1", "limit=99999999999999999999", "limit=1&limit=2", "limit=%2B1", "page=0", "page=-1", "page=x", "page=1000001", "page=", "sort=" + marker, "sort=", "sort=new&sort=hot",
		"q=" + strings.Repeat("a", 201), "q=a&q=b", "tag=a%20b", "tag=%00", "tag=" + strings.Repeat("a", 51), "tag=%3Cscript%3E", strings.Repeat("tag=a&", 51), "userId=x", "userId=0", "userId=01", "userId=%20{mira}", "userId=" + marker,
	} {
		get("invalid", pollsPath+"?"+q)
	}
	get("malformed", pollsPath+"?cursor=AAAA&page=2")
	for _, cursor := range []string{"x", "AAAA", "====", "..", "%00", "%E4%B8%AD", marker, strings.Repeat("A", 5000), "EAEBAAA", "a+b/c=", "null", "-1", "0"} {
		get("invalid_cursor", pollsPath+"?cursor="+cursor)
		get("invalid_cursor", pollsPath+"?sort=hot&cursor="+cursor)
	}
	for _, path := range []string{"/api/users/me/votes", "/api/users/me/skips", "/api/users/me/polls", "/api/users/me/notifications"} {
		for _, q := range []string{"limit=0", "limit=101", "limit=x", "limit=", "limit=1&limit=2", "userId=x", "limit=" + marker} {
			get("invalid", path+"?"+q)
		}
		for _, cursor := range []string{"x", "AAAA", "====", "..", "%00", "%E4%B8%AD", marker, strings.Repeat("A", 5000), "AQEAAA", "AQGA", "a+b/c=", "null", "-1", "0"} {
			get("invalid_cursor", path+"?cursor="+cursor)
		}
		get("malformed", path+"?cursor=%")
		get("forbidden", path+"?userId=9007199254740991")
	}
	for _, q := range []string{
		"bucket=week", "bucket=", "bucket=hour&bucket=day", "from=" + marker, "from=", "to=1", "from=2025-11-17", "from=2025-11-17T25:00:00Z", "from=0001-01-01T00:00:00Z", "to=0000-01-01T00:00:00Z", "to=9999-12-31T23:59:59Z",
		"from=2025-11-17T09:00:00+01:00", "from=2025-11-17T10:00:00Z&to=2025-11-17T09:00:00Z", "from=2025-11-17T10:00:00Z&to=2025-11-17T10:00:00Z", "from=8999-01-01T00:00:00Z",
		"from=2025-01-01T00:00:00Z&to=2025-02-01T01:00:00Z", "bucket=day&from=2024-01-01T00:00:00Z&to=2025-01-01T00:00:01Z", "from=2025-11-17T09:00:00Z&from=2025-11-17T09:00:00Z", "from=2025-11-17T09:00:00.5.5Z", "from=%D9%A2025-11-17T09:00:00Z",
	} {
		get("invalid", "/api/polls/{one}/analytics?"+q)
	}
	get("not_found", "/api/polls/5/analytics?bucket=week")
	get("forbidden", pollsPath+"?userId=9007199254740991")
	for _, q := range []string{"", "polls=", "polls=,", "polls=x", "polls=1,,2", "polls=1;2", "polls=1,%202", "polls=-1", "polls=" + manyIDs(101), "polls=1.5", "polls=" + marker} {
		get("invalid", "/api/stats?"+q)
	}
	for _, target := range []string{
		"/api/polls/{one}/stats?format=xml", "/api/polls/{one}/stats?format=", "/api/polls/{one}/stats?format=csv&format=json", "/api/tags?limit=0", "/api/tags?prefix=" + strings.Repeat("a", 51), "/api/tags?prefix=a&prefix=b", "/api/polls/popular?limit=1000", "/api/users/me?userId=x",
	} {
		get("invalid", target)
	}

	// Tokens.
	for _, t := range []string{"Bearer", "Bearer ", "Bearer " + marker, "Basic bWlyYTpo", "Bearer " + strings.Repeat("a.", 3000), "Bearer eyJhbGciOiJub25lIn0.e30.", token, "Bearer " + token + "x", "Bearer " + token + " " + token, "Digest x", "Bearer é", "\"Bearer " + token + "\""} {
		get("unauthorized", pollsPath, "Authorization: "+t)
	}
	for i := range list {
		// The requests above that bring their own token leave out the good one.
		if strings.Count(list[i].raw, "Authorization:") > 1 && list[i].code == "unauthorized" {
			list[i].raw = strings.Replace(list[i].raw, "Authorization: Bearer "+token+"\r\n", "", 1)
		}
	}

	// Methods.
	for _, c := range []struct{ method, path string }{
		{"PUT", pollsPath}, {"PATCH", votePath}, {"DELETE", votePath}, {"TRACE", "/"}, {"CONNECT", pollsPath}, {"OPTIONS", pollsPath}, {"get", pollsPath}, {"PROPFIND", "/"}, {"POST", "/openapi.json"}, {marker, "/api/tags"},
	} {
		add("method_not_allowed", c.method+" "+c.path, crafted(c.method, c.path, token, ""))
	}
	return list
}

// TestHostileRequests sends every attack over TCP. Each must get a problem
// document with a 4xx, none may hold what was sent, and storage must be as
// before.
func TestHostileRequests(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.join("mira", "jonas")
	s.publish("jonas", "one", "two")
	s.do("jonas", "POST", "/api/polls/{one}/vote", `{"optionIndex":1}`)
	s.do("jonas", "POST", "/api/polls/{two}/skip", "")
	address := s.listen(20 * time.Second)
	before := s.fingerprint()
	list := attacks(s)
	if len(list) < 150 {
		t.Fatalf("only %d attacks", len(list))
	}
	for _, a := range list {
		name := a.name
		if len(name) > 120 {
			name = name[:120] + "…"
		}
		got, err := strike(address, a)
		if err != nil {
			t.Errorf("%q: %v", name, err)
			continue
		}
		if got.status < 400 || got.status > 499 || got.code() != a.code {
			t.Errorf("%q: %d %s, want %s\n%.300s", name, got.status, got.code(), a.code, got.body)
			continue
		}
		var p struct {
			Status int
			Type   string
		}
		if err := json.Unmarshal([]byte(got.body), &p); err != nil || p.Status != got.status || p.Type != "/docs/errors#"+a.code {
			t.Errorf("%q: problem %s", name, got.body)
		}
		if strings.Contains(strings.ToLower(got.body), strings.ToLower(marker)) && !strings.Contains(got.body, `"field":"`+marker+`"`) {
			t.Errorf("%q: echoed in %s", name, got.body)
		}
		for h, values := range got.header {
			if strings.Contains(strings.Join(values, " "), marker) {
				t.Errorf("%q: echoed in %s", name, h)
			}
		}
	}
	if after := s.fingerprint(); after != before {
		t.Errorf("storage changed from\n%s\nto\n%s", before, after)
	}
	if log := s.log.String(); log != "" {
		t.Errorf("logged:\n%s", log)
	}
	t.Logf("%d hostile requests", len(list))
}

// TestFingerprintSees shows that the comparison above would notice a change.
func TestFingerprintSees(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.join("mira")
	s.publish("mira", "one", "two")
	last := s.fingerprint()
	for _, c := range []struct{ method, path, body string }{
		{"POST", "/api/polls/{one}/vote", `{"optionIndex":0}`}, {"POST", "/api/polls/{two}/skip", ""}, {"DELETE", "/api/polls/{two}", ""},
		{"POST", "/api/polls", `{"title":"a","options":["a","b"],"tags":["a"]}`}, {"POST", "/api/auth/register", `{"username":"eve","email":"eve@example.org","password":"correct horse"}`}, {"POST", "/api/auth/logout", ""},
	} {
		if got := s.do("mira", c.method, c.path, c.body); got.status >= 300 {
			t.Fatalf("%s: %s", c.path, got.body)
		}
		now := s.fingerprint()
		if now == last {
			t.Errorf("%s %s left no trace", c.method, c.path)
		}
		last = now
	}
}

// strike sends the bytes and reads the answer.
func strike(address string, a attack) (reply, error) {
	c, err := net.DialTimeout("tcp", address, 10*time.Second)
	if err != nil {
		return reply{}, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return reply{}, err
	}
	// The server may answer and close before it has read everything.
	_, writeErr := io.WriteString(c, a.raw)
	if half, ok := c.(*net.TCPConn); ok && a.closed {
		if err := half.CloseWrite(); err != nil {
			return reply{}, err
		}
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return reply{}, errors.Join(err, writeErr)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	return reply{r.StatusCode, r.Header, string(body)}, err
}

// TestSlowBody holds a body that does not come to the time it has.
func TestSlowBody(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.join("mira")
	s.publish("mira", "one")
	address := s.listen(300 * time.Millisecond)
	raw := strings.TrimSuffix(crafted("POST", s.named("/api/polls/{one}/vote"), s.names["mira.token"], `{"optionIndex":0}`), `0}`)
	got, err := strike(address, attack{raw: raw})
	if err != nil {
		t.Fatal(err)
	}
	if got.status != http.StatusRequestTimeout || got.code() != "request_timeout" {
		t.Errorf("%d %s", got.status, got.body)
	}
}
