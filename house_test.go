// Package vote_test holds the rules of the house: who may import whom, where
// the drivers live, and a few habits that no compiler checks.
package vote_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"unicode/utf8"
)

// A room is a folder with its subfolders; the longest name that fits counts.
// Of ours it may import the rooms listed, and itself.
var rooms = []struct {
	name string
	may  []string
}{
	{"config", nil},
	{"internal/domain", nil},
	{"internal/account", []string{"internal/domain"}},
	{"internal/voting", []string{"internal/domain"}},
	{"internal/feed", []string{"internal/domain"}},
	{"internal/live", []string{"internal/domain"}},
	{"internal/events", []string{"internal/domain"}},
	{"internal/analytics", []string{"internal/domain"}},
	{"internal/web", nil},
	{"internal/sharecard", nil},
	{"internal/api", []string{"internal/domain", "internal/account", "internal/voting", "internal/feed", "internal/live", "internal/events", "internal/analytics", "internal/web", "internal/sharecard"}},
	{"internal/engine/sqlite", []string{"internal/domain"}},
	{"internal/engine/postgres", []string{"internal/domain"}},
	{"internal/engine/memory", []string{"internal/domain"}},
	{"internal/engine/redis", []string{"internal/domain"}},
	{"internal/engine/rabbitmq", []string{"internal/domain"}},
	{"internal/engine/enginetest", []string{"internal/domain"}},
	{"internal/testservers", nil},
	{"internal/ops/progress", nil},
	{"internal/ops/command", []string{"config", "internal/domain", "internal/app", "internal/ops/progress"}},
	{"internal/ops/commandtest", []string{"config", "internal/domain", "internal/app"}},
	{"internal/ops/replay", append([]string{"config", "internal/domain", "internal/app"}, tools...)},
	{"internal/ops/check", append([]string{"config", "internal/domain", "internal/app"}, tools...)},
	{"internal/ops/seed", append([]string{"config", "internal/domain", "internal/app"}, tools...)},
	{"internal/ops/poll", append([]string{"config", "internal/domain", "internal/app"}, tools...)},
	{"internal/ops/archive", append([]string{"config", "internal/domain", "internal/app"}, tools...)},
	{"internal/ops/users", append([]string{"config", "internal/domain", "internal/app"}, tools...)},
	{"internal/ops/deadletters", append([]string{"config", "internal/domain", "internal/app"}, tools...)},
	{"internal/app", append([]string{"config", "internal/domain", "internal/api", "internal/web", "internal/sharecard"}, append(services, engines...)...)},
	{"cmd", append([]string{
		"config", "internal/app", "internal/ops/replay", "internal/ops/check", "internal/ops/seed", "internal/ops/poll",
		"internal/ops/archive", "internal/ops/deadletters", "internal/ops/users",
	}, tools...)},
	// The files that deploy the house, and their tests.
	{"deploy", nil},
	// Tests in a browser, of the commands as they are built.
	{"e2e", nil},
	// Measuring sets a part of the house against a bare floor.
	{"loadtest", append([]string{"config", "internal/domain", "internal/app"}, append(services, engines...)...)},
}

var (
	services = []string{"internal/account", "internal/voting", "internal/feed", "internal/live", "internal/events", "internal/analytics"}
	tools    = []string{"internal/ops/command", "internal/ops/progress"}
	engines  = []string{"internal/engine/sqlite", "internal/engine/postgres", "internal/engine/memory", "internal/engine/redis", "internal/engine/rabbitmq"}
)

// Modules from outside and the only rooms that may import them. "test" stands
// for every test file, enginetest and testservers.
var modules = []struct {
	name string
	in   []string
}{
	{"golang.org/x/text", []string{"internal/domain", "internal/sharecard"}},
	{"golang.org/x/crypto", []string{"internal/account"}},
	{"golang.org/x/sync", append([]string{"internal/app", "internal/testservers", "loadtest", "internal/api", "internal/ops", "internal/engine", "internal/sharecard", "test"}, services...)},
	{"github.com/gin-gonic/gin", []string{"internal/api", "loadtest"}}, // loadtest: the bare handlers that speed is measured against
	{"github.com/danielgtaylor/huma", []string{"internal/api"}},
	{"github.com/golang-jwt/jwt", []string{"internal/account", "loadtest"}}, // loadtest: the bare handler checks the token the same way
	{"github.com/RoaringBitmap/roaring", []string{"internal/feed"}},
	{"github.com/maypok86/otter", []string{"internal/engine/memory", "internal/feed", "internal/live", "internal/account", "internal/sharecard"}},
	{"github.com/go-text/typesetting", []string{"internal/sharecard"}},
	{"golang.org/x/image", []string{"internal/sharecard"}},
	{"modernc.org/sqlite", []string{"internal/engine/sqlite"}},
	{"modernc.org/libc", []string{"internal/engine/sqlite"}}, // the C memory of the former
	{"zombiezen.com/go/sqlite", []string{"internal/engine/sqlite"}},
	{"github.com/andybalholm/brotli", []string{"internal/web", "test"}},
	{"github.com/gofrs/flock", []string{"internal/engine/sqlite"}},
	{"github.com/jackc/pgx", []string{"internal/engine/postgres", "internal/testservers", "loadtest"}}, // testservers, loadtest: make databases of their own
	{"github.com/pressly/goose", []string{"internal/engine/sqlite", "internal/engine/postgres"}},
	{"github.com/redis/rueidis", []string{"internal/engine/redis"}},
	{"github.com/rabbitmq/amqp091-go", []string{"internal/engine/rabbitmq"}},
	{"github.com/knadh/koanf", []string{"config"}},
	{"github.com/spf13/cobra", []string{"cmd", "internal/ops"}},
	{"go.uber.org/zap", []string{"internal/app"}},
	{"github.com/prometheus/client_golang", append([]string{"internal/app", "internal/api", "internal/engine", "internal/sharecard", "loadtest", "test"}, services...)},
	{"github.com/pb33f/libopenapi", []string{"test"}},
	{"github.com/pb33f/libopenapi-validator", []string{"test"}},
	{"github.com/pb33f/jsonschema", []string{"test"}},
	{"go.yaml.in/yaml", []string{"test"}},
	{"github.com/google/go-cmp", []string{"test"}},
	{"go.uber.org/goleak", []string{"test"}},
	{"pgregory.net/rapid", []string{"test"}},
	{"github.com/compose-spec/compose-go", []string{"deploy"}},
}

// Names that gather what belongs nowhere.
var heaps = []string{"utils", "util", "models", "dto", "common", "pkg", "helpers", "misc", "shared"}

// Files that another part of the project counts on by name.
var named = []string{
	"internal/domain/domain_test.go", "internal/api/handlers_test.go", "internal/api/auth_handler_test.go",
	"cmd/server/main.go", "cmd/migrate/main.go", "cmd/votectl/main.go",
}

// Functions that may read the machine's clock for more than measuring a
// duration, "file: function", and why. Everything else takes a domain.Clock.
var clocks = map[string]string{
	"internal/domain/ports.go: SystemClock.Now":                    "it is the clock",
	"internal/api/call.go: call.read":                              "the deadline of a socket is by the machine's clock",
	"internal/ops/progress/progress.go: Bar.Enter":                 "how long a stage takes is measured",
	"internal/api/call.go: server.serve":                           "how long it takes is measured",
	"internal/api/streams.go: streamWriter.run":                    "a timer waits for it, and timers go by the machine's clock",
	"internal/api/streams.go: streamWriter.put":                    "the deadline of a socket is by the machine's clock",
	"internal/live/hub.go: hub.run":                                "a timer waits for it, and timers go by the machine's clock",
	"internal/live/hub.go: hub.follow":                             "a timer waits for it, and timers go by the machine's clock",
	"internal/live/stream.go: Stream.Next":                         "a timer waits for it, and timers go by the machine's clock",
	"internal/api/person.go: exportWriter.Write":                   "the deadline of a socket is by the machine's clock",
	"internal/ops/replay/wire.go: deadline":                        "the deadline of a socket is by the machine's clock",
	"internal/engine/memory/bus.go: queue.failed":                  "a timer waits for it, and timers go by the machine's clock",
	"internal/engine/redis/dialer.go: deadline":                    "the deadline of a socket is by the machine's clock",
	"internal/voting/batcher.go: batcher.submit":                   "how long a request waits in the queue is measured",
	"internal/engine/sqlite/sqlite.go: Store.read":                 "how long it takes is measured",
	"internal/engine/sqlite/sqlite.go: Store.write":                "how long it takes is measured",
	"internal/engine/sqlite/checkpoint.go: Store.checkpoints":      "how long it takes is measured",
	"internal/engine/rabbitmq/connection.go: Bus.dial":             "the deadline of a socket is by the machine's clock",
	"internal/engine/rabbitmq/connection.go: disconnect":           "the deadline of a socket is by the machine's clock",
	"internal/engine/rabbitmq/connection.go: boundedConn.Write":    "the deadline of a socket is by the machine's clock",
	"internal/engine/rabbitmq/consumer.go: consumer.failed":        "a timer waits for it, and timers go by the machine's clock",
	"internal/engine/rabbitmq/consumer.go: consumer.retry":         "what a timer waited for is due by the machine's clock",
	"internal/engine/rabbitmq/publisher.go: link.send":             "how long a confirm takes is measured",
	"internal/engine/postgres/metrics.go: metrics.TraceQueryStart": "how long it takes is measured",
	"internal/engine/postgres/metrics.go: metrics.TraceBatchStart": "how long it takes is measured",
	"internal/engine/postgres/metrics.go: metrics.TraceBatchQuery": "how long it takes is measured",
	"internal/engine/postgres/postgres.go: Open":                   "how old the state of a replica is is measured from then on",
}

// Test functions that may skip, "file: function", and why.
var skips = map[string]string{}

// Exported methods whose meaning is fixed by a standard interface.
var selfEvident = []string{"Error", "Is", "Unwrap", "String", "Read", "Write", "Close", "Len", "Less", "Swap", "Push", "Pop", "ServeHTTP", "MarshalJSON", "UnmarshalJSON", "MarshalText", "UnmarshalText", "LogValue"}

// What no file may hold: hosts from which packages come and paths of one
// machine. They are put together here so that this file does not hold them.
var foreign = []string{
	"proxy." + "golang.org", "sum." + "golang.org", "registry." + "npmjs.org", "registry-1." + "docker.io", "deb." + "debian.org", "files." + "pythonhosted.org",
	"/wo" + "rk/", "/ro" + "ot/", "/ho" + "me/", "/Us" + "ers/", "/tm" + "p/bash",
}

func TestHouse(t *testing.T) {
	t.Parallel()
	complaints, sources := inspect(t, os.DirFS("."))
	for _, c := range complaints {
		t.Error(c)
	}
	if sources < 50 {
		t.Errorf("only %d Go files were looked at", sources)
	}
	for _, name := range named {
		if _, err := os.Stat(name); err != nil {
			t.Errorf("a file that must exist: %v", err)
		}
	}
}

// source is one Go file of the house.
type source struct {
	name string
	room string
	test bool // its name ends in _test.go
	set  *token.FileSet
	file *ast.File
}

func (s source) at(n ast.Node) string {
	return fmt.Sprintf("%s:%d", s.name, s.set.Position(n.Pos()).Line)
}

// forTests reports whether the code runs in tests only.
func (s source) forTests() bool {
	return s.test || s.room == "internal/engine/enginetest" || s.room == "internal/testservers"
}

// inspect returns everything in the tree that breaks a rule of the house, and
// how many Go files it looked at.
func inspect(t *testing.T, tree fs.FS) (complaints []string, sources int) {
	t.Helper()
	complain := func(where, format string, args ...any) {
		complaints = append(complaints, where+": "+fmt.Sprintf(format, args...))
	}
	commented := map[string]bool{} // folder -> some file has the package comment
	packages := map[string]string{}
	err := fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if slices.Contains(heaps, entry.Name()) {
				complain(name, "a folder must be named after what is in it")
			}
			if ignored(name) {
				return fs.SkipDir
			}
			return nil
		}
		if name == ".git" {
			return nil // of a linked working tree: it says where the repository is
		}
		text, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		if utf8.Valid(text) {
			for _, f := range foreign {
				if strings.Contains(string(text), f) {
					complain(name, "holds %q, which is no part of the project", f)
				}
			}
		}
		if path.Ext(name) != ".go" {
			return nil
		}
		sources++
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, name, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		s := source{name: name, room: roomOf(path.Dir(name)), test: strings.HasSuffix(name, "_test.go"), set: set, file: file}
		if !s.test {
			folder := path.Dir(name)
			packages[folder] = file.Name.Name
			commented[folder] = commented[folder] || file.Doc != nil
		}
		if strings.HasPrefix(name, "cmd/") && path.Base(name) != "main.go" && !s.test {
			complain(name, "a command is one file, so that it can be run by its name")
		}
		checkImports(s, complain)
		checkComments(s, complain)
		checkHabits(s, complain)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for folder := range packages {
		if !commented[folder] {
			complain(folder, "no package comment")
		}
	}
	slices.Sort(complaints)
	return complaints, sources
}

// ignored reports whether a folder is no part of the project: hidden ones but
// for .ci and .github, what programs make, and what npm fetched.
func ignored(name string) bool {
	base := path.Base(name)
	switch {
	case name == "." || base == ".ci" || base == ".github":
		return false
	case name == "data" || name == "bin" || name == "e2e/artefacts" || base == "node_modules":
		return true
	}
	return strings.HasPrefix(base, ".")
}

func roomOf(folder string) string {
	room := ""
	for _, r := range rooms {
		if within(folder, r.name) && len(r.name) > len(room) {
			room = r.name
		}
	}
	return room
}

func within(folder, room string) bool { return folder == room || strings.HasPrefix(folder, room+"/") }

func checkImports(s source, complain func(string, string, ...any)) {
	if s.room == "" && path.Dir(s.name) != "." {
		complain(s.name, "is in no room; a new room has its line in house_test.go")
		return
	}
	for _, spec := range s.file.Imports {
		target, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			complain(s.at(spec), "%v", err)
			continue
		}
		if target == "log" && s.room != "cmd" {
			complain(s.at(spec), "logs by log/slog")
		}
		if own, ok := strings.CutPrefix(target, "vote/"); ok {
			if !mayImport(s, roomOf(own)) {
				complain(s.at(spec), "%s may not import %s", s.room, own)
			}
			continue
		}
		if first, _, _ := strings.Cut(target, "/"); !strings.Contains(first, ".") {
			continue // the standard library
		}
		known, allowed := false, false
		for _, m := range modules {
			if !within(target, m.name) {
				continue
			}
			known = true
			for _, in := range m.in {
				allowed = allowed || within(s.room, in) || in == "test" && s.forTests()
			}
		}
		switch {
		case !known:
			complain(s.at(spec), "%s is not known; a new module has its line in house_test.go", target)
		case !allowed:
			complain(s.at(spec), "%s may not import %s", s.room, target)
		}
	}
}

func mayImport(s source, target string) bool {
	if target == s.room {
		return true
	}
	if target == "" || target == "cmd" || target == "loadtest" {
		return false
	}
	// Tests run against the real engines and the whole house.
	if s.test && s.room != "internal/domain" && !strings.HasPrefix(target, "internal/ops/") {
		return true
	}
	if target == "internal/ops/commandtest" {
		return s.test && strings.HasPrefix(s.room, "internal/ops/")
	}
	for _, r := range rooms {
		if r.name == s.room {
			return slices.Contains(r.may, target)
		}
	}
	return false
}

// checkComments asks for a comment on everything exported.
func checkComments(s source, complain func(string, string, ...any)) {
	if s.test {
		return
	}
	for _, d := range s.file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			method := d.Recv != nil
			if !d.Name.IsExported() || d.Doc != nil || method && !ast.IsExported(receiver(d)) || method && slices.Contains(selfEvident, d.Name.Name) {
				continue
			}
			complain(s.at(d), "%s has no comment", d.Name.Name)
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				var names []*ast.Ident
				doc := d.Doc != nil
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					// A comment on a group says nothing about one type of it.
					names, doc = []*ast.Ident{spec.Name}, spec.Doc != nil || doc && !d.Lparen.IsValid()
				case *ast.ValueSpec:
					names, doc = spec.Names, doc || spec.Doc != nil || spec.Comment != nil
				}
				for _, n := range names {
					if n.IsExported() && !doc {
						complain(s.at(n), "%s has no comment", n.Name)
					}
				}
			}
		}
	}
}

// receiver returns the name of a method's type.
func receiver(d *ast.FuncDecl) string {
	name := ""
	ast.Inspect(d.Recv.List[0].Type, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok && name == "" {
			name = id.Name
		}
		return name == ""
	})
	return name
}

// checkHabits looks into functions: the clock, the default metrics registry,
// skipped tests.
func checkHabits(s source, complain func(string, string, ...any)) {
	for _, d := range s.file.Decls {
		function := "package"
		if f, ok := d.(*ast.FuncDecl); ok {
			function = f.Name.Name
			if f.Recv != nil {
				function = receiver(f) + "." + function
			}
		}
		key := s.name + ": " + function
		measured, drawn := durations(d), draws(d)
		ast.Inspect(d, func(n ast.Node) bool {
			use, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			x, ok := use.X.(*ast.Ident)
			if !ok {
				return true
			}
			switch what := x.Name + "." + use.Sel.Name; {
			case what == "time.Now":
				if !s.forTests() && s.room != "loadtest" && !measured[use] && clocks[key] == "" {
					complain(s.at(use), "reads the machine's clock: take a domain.Clock, or give %q a reason in house_test.go", key)
				}
			case slices.Contains([]string{"prometheus.MustRegister", "prometheus.Register", "prometheus.Unregister", "prometheus.DefaultRegisterer", "prometheus.DefaultGatherer", "promhttp.Handler"}, what),
				x.Name == "promauto" && strings.HasPrefix(use.Sel.Name, "New"):
				complain(s.at(use), "%s uses the default registry: take a prometheus.Registerer", what)
			case slices.Contains([]string{"Skip", "Skipf", "SkipNow"}, use.Sel.Name) && slices.Contains([]string{"t", "b", "f", "tb"}, x.Name) && s.forTests():
				if skips[key] == "" && !drawn(use) {
					complain(s.at(use), "skips a test: give %q a reason in house_test.go", key)
				}
			}
			return true
		})
	}
}

// durations returns the uses of time.Now whose value only ends in time.Since or
// in a difference: they measure how long something took.
func durations(d ast.Decl) map[*ast.SelectorExpr]bool {
	calls := map[string][]*ast.SelectorExpr{} // variable -> time.Now that it was set from
	spent := map[string]int{}                 // variable -> uses that measure
	uses := map[string]int{}                  // variable -> all uses
	ast.Inspect(d, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			if len(n.Lhs) != 1 || len(n.Rhs) != 1 {
				return true
			}
			v, ok := n.Lhs[0].(*ast.Ident)
			if !ok {
				return true
			}
			if call, ok := n.Rhs[0].(*ast.CallExpr); ok {
				if now, ok := call.Fun.(*ast.SelectorExpr); ok && isNow(now) {
					calls[v.Name] = append(calls[v.Name], now)
					uses[v.Name]-- // the assignment itself is no use
				}
			}
		case *ast.CallExpr:
			f, ok := n.Fun.(*ast.SelectorExpr)
			if !ok || len(n.Args) != 1 {
				return true
			}
			x, isName := f.X.(*ast.Ident)
			if isName && f.Sel.Name == "Sub" {
				spent[x.Name]++
			}
			v, ok := n.Args[0].(*ast.Ident)
			if ok && (f.Sel.Name == "Sub" || isName && x.Name == "time" && f.Sel.Name == "Since") {
				spent[v.Name]++
			}
		case *ast.Ident:
			uses[n.Name]++
		}
		return true
	})
	measured := map[*ast.SelectorExpr]bool{}
	for v, nows := range calls {
		if uses[v] == spent[v] {
			for _, now := range nows {
				measured[now] = true
			}
		}
	}
	return measured
}

// draws tells what lies in a function that takes a *rapid.T: there, skipping
// drops a draw and not a test.
func draws(d ast.Decl) func(ast.Node) bool {
	var spans []ast.Node
	ast.Inspect(d, func(n ast.Node) bool {
		var params *ast.FieldList
		switch n := n.(type) {
		case *ast.FuncDecl:
			params = n.Type.Params
		case *ast.FuncLit:
			params = n.Type.Params
		default:
			return true
		}
		for _, p := range params.List {
			if star, ok := p.Type.(*ast.StarExpr); ok {
				if t, ok := star.X.(*ast.SelectorExpr); ok && t.Sel.Name == "T" {
					if x, ok := t.X.(*ast.Ident); ok && x.Name == "rapid" {
						spans = append(spans, n)
					}
				}
			}
		}
		return true
	})
	return func(n ast.Node) bool {
		return slices.ContainsFunc(spans, func(s ast.Node) bool { return s.Pos() <= n.Pos() && n.End() <= s.End() })
	}
}

func isNow(f *ast.SelectorExpr) bool {
	x, ok := f.X.(*ast.Ident)
	return ok && x.Name == "time" && f.Sel.Name == "Now"
}

// Every rule must be able to fail: each tree breaks one.
func TestHouseCatches(t *testing.T) {
	t.Parallel()
	const head = "// Package p does something.\npackage p\n\n"
	for _, c := range []struct {
		name, file, text string
		want             string // the one complaint; none when empty
	}{
		{"a good file", "internal/voting/a.go", head + `import ("fmt"; "vote/internal/domain"; "github.com/prometheus/client_golang/prometheus")`, ""},
		{"a service imports a service", "internal/feed/a.go", head + `import "vote/internal/live"`, "internal/feed/a.go:4: internal/feed may not import internal/live"},
		{"a service imports an engine", "internal/feed/deep/a.go", head + `import "vote/internal/engine/sqlite"`, "internal/feed/deep/a.go:4: internal/feed may not import internal/engine/sqlite"},
		{"an engine imports an engine", "internal/engine/redis/a.go", head + `import "vote/internal/engine/memory"`, "internal/engine/redis/a.go:4: internal/engine/redis may not import internal/engine/memory"},
		{"app imports the contract suite", "internal/app/a.go", head + `import "vote/internal/engine/enginetest"`, "internal/app/a.go:4: internal/app may not import internal/engine/enginetest"},
		{"app imports ops", "internal/app/a.go", head + `import "vote/internal/ops/check"`, "internal/app/a.go:4: internal/app may not import internal/ops/check"},
		{"a command imports the api", "cmd/server/main.go", head + `import "vote/internal/api"`, "cmd/server/main.go:4: cmd may not import internal/api"},
		{"domain imports ours", "internal/domain/a.go", head + `import "vote/config"`, "internal/domain/a.go:4: internal/domain may not import config"},
		{"domain imports x/text", "internal/domain/a.go", head + `import "golang.org/x/text/cases"`, ""},
		{"domain imports metrics", "internal/domain/a.go", head + `import "github.com/prometheus/client_golang/prometheus"`, "internal/domain/a.go:4: internal/domain may not import github.com/prometheus/client_golang/prometheus"},
		{"domain's tests import an engine", "internal/domain/a_test.go", "package p_test\nimport \"vote/internal/engine/sqlite\"", "internal/domain/a_test.go:2: internal/domain may not import internal/engine/sqlite"},
		{"code imports the servers of tests", "internal/app/a.go", head + `import "vote/internal/testservers"`, "internal/app/a.go:4: internal/app may not import internal/testservers"},
		{"a test with real servers", "internal/engine/redis/a_test.go", "package p_test\nimport \"vote/internal/testservers\"", ""},
		{"a driver outside its room", "internal/voting/a.go", head + `import _ "modernc.org/sqlite"`, "internal/voting/a.go:4: internal/voting may not import modernc.org/sqlite"},
		{"a driver in its room", "internal/engine/sqlite/a.go", head + `import _ "modernc.org/sqlite/lib"`, ""},
		{"a driver in a test of another room", "internal/voting/a_test.go", "package p_test\nimport _ \"modernc.org/sqlite\"", "internal/voting/a_test.go:2: internal/voting may not import modernc.org/sqlite"},
		{"Gin outside the api", "internal/app/a.go", head + `import "github.com/gin-gonic/gin"`, "internal/app/a.go:4: internal/app may not import github.com/gin-gonic/gin"},
		{"a module by a similar name", "internal/api/a.go", head + `import "github.com/gin-gonic/ginger"`, "internal/api/a.go:4: github.com/gin-gonic/ginger is not known; a new module has its line in house_test.go"},
		{"an unknown module", "config/a.go", head + `import "example.org/left/pad"`, "config/a.go:4: example.org/left/pad is not known; a new module has its line in house_test.go"},
		{"a tool of tests in code", "internal/voting/a.go", head + `import "pgregory.net/rapid"`, "internal/voting/a.go:4: internal/voting may not import pgregory.net/rapid"},
		{"a tool of tests in tests", "internal/voting/a_test.go", "package p\nimport \"pgregory.net/rapid\"", ""},
		{"a test with the whole house", "internal/voting/a_test.go", "package p_test\nimport (\"vote/internal/app\"; \"vote/internal/engine/enginetest\")", ""},
		{"a test with what operators use", "internal/voting/a_test.go", "package p\nimport \"vote/internal/ops/replay\"", "internal/voting/a_test.go:2: internal/voting may not import internal/ops/replay"},
		{"the old log", "internal/voting/a.go", head + `import "log"`, "internal/voting/a.go:4: logs by log/slog"},
		{"a new room", "internal/extra/a.go", head, "internal/extra/a.go: is in no room; a new room has its line in house_test.go"},
		{"a heap", "internal/feed/utils/a.go", head, "internal/feed/utils: a folder must be named after what is in it"},
		{"a second file of a command", "cmd/server/flags.go", head, "cmd/server/flags.go: a command is one file, so that it can be run by its name"},

		{"no package comment", "internal/feed/a.go", "package p", "internal/feed: no package comment"},
		{"a function without comment", "internal/feed/a.go", head + "func F() {}", "internal/feed/a.go:4: F has no comment"},
		{"a method without comment", "internal/feed/a.go", head + "// T is.\ntype T[X any] struct{}\nfunc (t *T[X]) M() {}", "internal/feed/a.go:6: M has no comment"},
		{"a method of something private", "internal/feed/a.go", head + "type t struct{}\nfunc (t) M() {}", ""},
		{"a method that explains itself", "internal/feed/a.go", head + "// T is.\ntype T struct{}\nfunc (T) String() string { return \"\" }", ""},
		{"a type without comment", "internal/feed/a.go", head + "type T int", "internal/feed/a.go:4: T has no comment"},
		{"a type of a group", "internal/feed/a.go", head + "// All.\ntype (\n\tT int\n)", "internal/feed/a.go:6: T has no comment"},
		{"a constant without comment", "internal/feed/a.go", head + "const C, d = 1, 2", "internal/feed/a.go:4: C has no comment"},
		{"constants of a group", "internal/feed/a.go", head + "// All.\nconst (\n\tC = 1\n\tD = 2\n)", ""},

		{"the clock", "internal/feed/a.go", head + "import \"time\"\nfunc f() time.Time { return time.Now() }", `internal/feed/a.go:5: reads the machine's clock: take a domain.Clock, or give "internal/feed/a.go: f" a reason in house_test.go`},
		{"the clock in a variable", "internal/feed/a.go", head + "import \"time\"\nvar now = time.Now", `internal/feed/a.go:5: reads the machine's clock: take a domain.Clock, or give "internal/feed/a.go: package" a reason in house_test.go`},
		{"the clock, partly to measure", "internal/feed/a.go", head + "import \"time\"\nfunc f() time.Time { s := time.Now(); _ = time.Since(s); return s }", `internal/feed/a.go:5: reads the machine's clock: take a domain.Clock, or give "internal/feed/a.go: f" a reason in house_test.go`},
		{"the clock, to measure", "internal/feed/a.go", head + "import \"time\"\nfunc f() time.Duration { s := time.Now(); return time.Since(s) }", ""},
		{"the clock, for a difference", "internal/feed/a.go", head + "import \"time\"\nfunc f(t time.Time) time.Duration { now := time.Now(); return now.Sub(t) }", ""},
		{"the clock in a test", "internal/feed/a_test.go", "package p\nimport \"time\"\nvar now = time.Now", ""},
		{"the clock itself", "internal/domain/ports.go", head + "import \"time\"\n// SystemClock is.\ntype SystemClock struct{}\n// Now is.\nfunc (SystemClock) Now() time.Time { return time.Now() }", ""},
		{"the default registry", "internal/feed/a.go", head + "import \"github.com/prometheus/client_golang/prometheus\"\nfunc f() { prometheus.MustRegister(nil) }", "internal/feed/a.go:5: prometheus.MustRegister uses the default registry: take a prometheus.Registerer"},
		{"the default registry by promauto", "internal/feed/a.go", head + "import \"github.com/prometheus/client_golang/prometheus/promauto\"\nvar n = promauto.NewCounter(nil)", "internal/feed/a.go:5: promauto.NewCounter uses the default registry: take a prometheus.Registerer"},
		{"promauto with a registry", "internal/feed/a.go", head + "import \"github.com/prometheus/client_golang/prometheus/promauto\"\nvar n = promauto.With(nil).NewCounter(nil)", ""},
		{"a skipped test", "internal/feed/a_test.go", "package p\nimport \"testing\"\nfunc TestF(t *testing.T) { t.Skip() }", `internal/feed/a_test.go:3: skips a test: give "internal/feed/a_test.go: TestF" a reason in house_test.go`},
		{"a skipped draw", "internal/feed/a_test.go", "package p\nimport \"pgregory.net/rapid\"\nvar f = func(t *rapid.T) { t.Skip() }", ""},
		{"a skip beside a draw", "internal/feed/a_test.go", "package p\nimport (\"testing\"; \"pgregory.net/rapid\")\nfunc TestF(t *testing.T) {\n\trapid.Check(t, func(t *rapid.T) {})\n\tt.SkipNow()\n}", `internal/feed/a_test.go:5: skips a test: give "internal/feed/a_test.go: TestF" a reason in house_test.go`},
		{"a skip in the contract suite", "internal/engine/enginetest/a.go", head + "import \"testing\"\nfunc f(t *testing.T) { t.Skipf(\"\") }", `internal/engine/enginetest/a.go:5: skips a test: give "internal/engine/enginetest/a.go: f" a reason in house_test.go`},

		{"a registry's host", "docs/install.md", "from " + foreign[0], `docs/install.md: holds "` + foreign[0] + `", which is no part of the project`},
		{"a path of a machine", "Makefile", "cd " + foreign[6] + "main", `Makefile: holds "` + foreign[6] + `", which is no part of the project`},
		{"a path of a machine in what CI runs", ".ci/run", "cd " + foreign[7], `.ci/run: holds "` + foreign[7] + `", which is no part of the project`},
		{"a registry's host in a lock", "e2e/package-lock.json", `{"resolved": "https://` + foreign[2] + `/preact"}`, `e2e/package-lock.json: holds "` + foreign[2] + `", which is no part of the project`},
		{"what is ignored", ".tools/a.go", "not Go at all", ""},
		{"what npm fetched", "e2e/node_modules/a/utils.go", "not Go at all", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			want := []string{}
			if c.want != "" {
				want = append(want, c.want)
			}
			got, _ := inspect(t, fstest.MapFS{c.file: &fstest.MapFile{Data: []byte(c.text)}})
			if !slices.Equal(got, want) {
				t.Errorf("complaints: %q\nwant: %q", got, want)
			}
		})
	}
}
