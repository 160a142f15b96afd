package api

import (
	"bytes"
	"errors"
	"net"
	"net/http"
	"strconv"

	"vote/internal/domain"
)

// Listener makes the few answers that net/http writes by itself, before any
// handler is asked, problem documents too: to requests that are not HTTP, have
// headers that are too large, name an unknown transfer encoding or expect the
// impossible. It recognises them by the exact head that net/http gives them;
// should that change, they pass as they are. None of them tells a 5xx, since all
// of them are the client's fault.
func Listener(l net.Listener) net.Listener { return listener{l} }

type listener struct{ net.Listener }

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return conn{c}, nil
}

type conn struct{ net.Conn }

// SetWriteBuffer bounds what the socket holds of what is written.
func (c conn) SetWriteBuffer(bytes int) error {
	if sized, ok := c.Conn.(interface{ SetWriteBuffer(bytes int) error }); ok {
		return sized.SetWriteBuffer(bytes)
	}
	return errors.ErrUnsupported
}

// CloseWrite lets the server end an answer before it closes the connection.
func (c conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

var (
	plainHead       = []byte("\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n")
	expectationHead = []byte("HTTP/1.1 417 Expectation Failed\r\nConnection: close\r\n")
)

// Write passes b on, or a problem document in its place. Each of the answers
// that are replaced is one write.
func (c conn) Write(b []byte) (int, error) {
	const statusAt = len("HTTP/1.1 ")
	if len(b) > statusAt+3 && b[statusAt] >= '4' && len(b) < 512 {
		if line := bytes.IndexByte(b, '\r'); line > 0 && (bytes.HasPrefix(b[line:], plainHead) || bytes.HasPrefix(b, expectationHead)) {
			if status, err := strconv.Atoi(string(b[statusAt : statusAt+3])); err == nil {
				if _, err := c.Conn.Write(protocolProblem(status)); err != nil {
					return 0, err
				}
				return len(b), nil
			}
		}
	}
	return c.Conn.Write(b)
}

// protocolProblem is the whole answer for what net/http refused.
func protocolProblem(status int) []byte {
	e := domain.E(domain.CodeMalformed, "The request is not valid HTTP/1.1.")
	if status == http.StatusRequestHeaderFieldsTooLarge {
		e.Detail = "The request line and headers are too large."
	}
	body := appendProblem(nil, e, "", "")
	status = refusals[e.Code].status
	b := []byte("HTTP/1.1 " + strconv.Itoa(status) + " " + http.StatusText(status) +
		"\r\nContent-Type: " + problemType + "\r\nX-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\nConnection: close\r\nContent-Length: ")
	b = strconv.AppendInt(b, int64(len(body)), 10)
	b = append(b, "\r\n\r\n"...)
	return append(b, body...)
}
