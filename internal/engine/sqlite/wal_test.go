package sqlite

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"
	"zombiezen.com/go/sqlite"
)

// TestLogHoldsWhatIsCommitted copies the files as a crash would leave them after
// random transactions, and reads the copy by SQLite's own VFS: it must hold what
// was committed, and nothing else.
func TestLogHoldsWhatIsCommitted(tt *testing.T) {
	tt.Parallel()
	rapid.Check(tt, func(t *rapid.T) {
		folder := tt.TempDir()
		defer func() { must(t, os.RemoveAll(folder)) }()
		path := filepath.Join(folder, "log.db")
		must(t, createFile(path))
		c, err := openConn(path)
		must(t, err)
		defer func() { must(t, c.Close()) }()
		// A small cache spills pages into the log before the commit.
		must(t, c.pragma("cache_size", "10"))
		must(t, c.run(`CREATE TABLE rows (id INTEGER PRIMARY KEY, body BLOB NOT NULL)`))
		committed := map[int64][]byte{}
		open := map[int64][]byte{}
		for range rapid.IntRange(1, 4).Draw(t, "transactions") {
			must(t, c.run(`BEGIN IMMEDIATE`))
			clear(open)
			for range rapid.IntRange(0, 15).Draw(t, "rows") {
				id := rapid.Int64Range(1, 20).Draw(t, "id")
				// Up to three times what is gathered at most.
				size := rapid.SampledFrom([]int{0, 1, 100, 1900, 4000, 60_000, 3 * gatherLimit}).Draw(t, "size")
				open[id] = bytes.Repeat([]byte{byte(id), byte(size)}, size/2+1)
				must(t, c.run(`INSERT OR REPLACE INTO rows (id, body) VALUES (?, ?)`, id, open[id]))
				if rapid.IntRange(0, 9).Draw(t, "read") == 0 {
					compareRows(t, c, committed, open)
				}
			}
			if rapid.Bool().Draw(t, "commit") {
				must(t, c.run(`COMMIT`))
				maps.Copy(committed, open)
			} else {
				must(t, c.rollback())
			}
			clear(open)
			if rapid.IntRange(0, 4).Draw(t, "checkpoint") == 0 {
				must(t, c.row(`PRAGMA wal_checkpoint(PASSIVE)`, func(*sqlite.Stmt) error { return nil }))
			}
			copied := filepath.Join(folder, "copy.db")
			for _, suffix := range []string{"", "-wal"} {
				b, err := os.ReadFile(path + suffix)
				must(t, err)
				must(t, os.WriteFile(copied+suffix, b, 0o600))
			}
			raw, err := sqlite.OpenConn(copied, sqlite.OpenReadWrite)
			must(t, err)
			compareRows(t, &conn{raw}, committed, nil)
			must(t, raw.Close())
		}
	})
}

// compareRows fails unless the connection sees the rows, later ones first.
func compareRows(t *rapid.T, c *conn, rows, later map[int64][]byte) {
	want := map[int64][]byte{}
	for _, some := range []map[int64][]byte{rows, later} {
		maps.Copy(want, some)
	}
	n := 0
	must(t, c.rows(`SELECT id, body FROM rows`, func(r *sqlite.Stmt) error {
		n++
		if id := r.ColumnInt64(0); !bytes.Equal(blob(r, 1), want[id]) {
			return fmt.Errorf("row %d is not what was written", id)
		}
		return nil
	}))
	if n != len(want) {
		t.Fatalf("%d rows, want %d", n, len(want))
	}
	must(t, c.row(`PRAGMA integrity_check`, func(r *sqlite.Stmt) error {
		if r.ColumnText(0) != "ok" {
			return fmt.Errorf("integrity: %s", r.ColumnText(0))
		}
		return nil
	}))
}
