package sqlite

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"zombiezen.com/go/sqlite"
)

// A name or address that was taken away must not stay readable in the files.
// Three places keep it beyond the row:
//
//   - Pages that SQLite frees, and cells within pages. The writer overwrites
//     them with zeros: cells always (secure_delete=FAST costs nothing), whole
//     pages in a transaction that takes something away ([writer.takeAway]).
//   - The gap between the pointers and the cells of a B-tree page. When SQLite
//     moves cells between pages it leaves copies there, of people who have
//     nothing to do with the change, and no setting makes it clear them. So
//     [Store.wipe] looks at every page of the users' trees.
//   - The log, which is written over from its beginning and never cut. So a wipe
//     ends by cutting it.
//
// A transaction that takes something away raises the mark in table traces; a
// wipe that began after it and finished takes the mark away. So what a process
// that died has left is wiped by the next. A wipe runs every wipeEvery while
// there is a mark, and when the Store is closed.

const (
	wipeEvery = 15 * time.Second
	// wipeBusy bounds how long a wipe keeps the writer waiting for readers of
	// an old state; when they stay, the next wipe tries again.
	wipeBusy = 50 * time.Millisecond
	// wipePages is how many pages are looked at, and written, at once.
	wipePages = 256
)

// takeAway runs change, which overwrites or deletes names or addresses.
func (w *writer) takeAway(change func() error) (err error) {
	if err := w.pragma("secure_delete", "ON"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.pragma("secure_delete", "FAST")) }()
	err = w.run(`INSERT INTO traces (one, mark) VALUES (1, 1) ON CONFLICT DO UPDATE SET mark = mark + 1`)
	if err != nil {
		return err
	}
	return change()
}

// mark returns the mark in table traces, 0 when there is none.
func (c *conn) mark() (int64, error) {
	var mark int64
	err := c.row(`SELECT mark FROM traces`, func(r *sqlite.Stmt) error {
		mark = r.ColumnInt64(0)
		return nil
	})
	if errors.Is(err, errNoRow) {
		err = nil
	}
	return mark, err
}

// wipe clears what is left of names and addresses that were taken away before
// it began. c may be the writer's own connection; hold runs a function while
// nobody else writes. done is false when others were in the way.
//
// Pages that join the users' trees meanwhile need no look: SQLite clears a page
// before it uses it, and moves nothing but cells of people who are still there.
func (s *Store) wipe(c *conn, hold func(func(*writer) error) error) (done bool, err error) {
	mark, err := c.mark()
	if err != nil || mark == 0 {
		return err == nil, err
	}
	pages, err := c.pagesOfUsers()
	if err != nil {
		return false, err
	}
	done = true
	for numbers := range slices.Chunk(pages, wipePages) {
		dirty, err := c.dirtyPages(numbers)
		if err != nil {
			return false, err
		}
		if len(dirty) == 0 {
			continue
		}
		err = hold(func(w *writer) error {
			same, err := w.clearPages(dirty)
			done = done && same
			return err
		})
		if err != nil {
			return false, err
		}
	}
	if !done {
		return false, nil
	}
	err = hold(func(w *writer) error {
		c.SetBusyTimeout(wipeBusy)
		defer c.SetBusyTimeout(busyTimeout)
		err := c.row(`PRAGMA wal_checkpoint(TRUNCATE)`, func(r *sqlite.Stmt) error {
			done = !r.ColumnBool(0)
			return nil
		})
		if err != nil || !done {
			return err
		}
		s.written.Store(0)
		return w.run(`DELETE FROM traces WHERE mark = ?`, mark)
	})
	return done && err == nil, err
}

// wipeNow wipes while no other connection is open.
func (s *Store) wipeNow(w *writer) error {
	_, err := s.wipe(w.conn, func(f func(*writer) error) error { return f(w) })
	return err
}

// wipeBeside wipes by a connection of its own, beside everything else.
func (s *Store) wipeBeside(ctx context.Context, c *conn) error {
	began := s.traces.Load()
	done, err := s.wipe(c, func(f func(*writer) error) error {
		select {
		case w := <-s.writer:
			defer func() { s.writer <- w }()
			return f(w)
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	if done && err == nil {
		s.traces.Add(-began)
	}
	return err
}

// pagesOfUsers returns the numbers of the pages of table users and its indexes.
func (c *conn) pagesOfUsers() ([]int64, error) {
	var pages []int64
	err := c.rows(`SELECT s.pageno FROM sqlite_schema t JOIN dbstat s ON s.name = t.name
		WHERE t.tbl_name = 'users' AND s.pagetype <> 'overflow'`,
		func(r *sqlite.Stmt) error {
			pages = append(pages, r.ColumnInt64(0))
			return nil
		})
	return pages, err
}

// dirtyPages returns those of the pages that have something in their gap, with
// all their bytes.
func (c *conn) dirtyPages(numbers []int64) (map[int64][]byte, error) {
	dirty := make(map[int64][]byte)
	var page []byte
	for _, n := range numbers {
		err := c.rows(`SELECT data FROM sqlite_dbpage WHERE pgno = ?`, func(r *sqlite.Stmt) error {
			page = appendColumn(r, 0, page)
			return nil
		}, n)
		if err != nil {
			return nil, err
		}
		if was := bytes.Clone(page); clearGap(page) {
			dirty[n] = was
		}
	}
	return dirty, nil
}

// clearPages clears the gaps of pages and reports whether all of them still had
// these bytes: a page that has changed may have come to hold anything else, and
// is left alone.
func (w *writer) clearPages(dirty map[int64][]byte) (same bool, err error) {
	if err := w.run(`BEGIN IMMEDIATE`); err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, w.rollback()) }()
	same = true
	for number, was := range dirty {
		unchanged := false
		err := w.rows(`SELECT data FROM sqlite_dbpage WHERE pgno = ?`, func(r *sqlite.Stmt) error {
			unchanged = bytes.Equal(blob(r, 0), was)
			return nil
		}, number)
		if err != nil {
			return false, err
		}
		if !unchanged {
			same = false
			continue
		}
		clearGap(was)
		if err := w.run(`UPDATE sqlite_dbpage SET data = ?2 WHERE pgno = ?1`, number, was); err != nil {
			return false, err
		}
	}
	return same, w.run(`COMMIT`)
}

// clearGap overwrites with zeros what no cell of a B-tree page uses: the gap
// between the cell pointers and the cells, and the content of free blocks. It
// reports whether there was anything. A page that is not laid out as the file
// format says stays as it is.
func clearGap(page []byte) bool {
	const leaf, header = 8, 8
	if len(page) < 512 || (page[0] != 2 && page[0] != 5 && page[0] != 10 && page[0] != 13) {
		return false
	}
	number := func(at int) int { return int(binary.BigEndian.Uint16(page[at:])) }
	pointers := header
	if page[0]&leaf == 0 {
		pointers += 4 // the rightmost child
	}
	pointers += 2 * number(3)
	cells := number(5)
	if cells == 0 {
		cells = 1 << 16
	}
	if cells > len(page) || pointers > cells {
		return false
	}
	found := wipeBytes(page[pointers:cells])
	for at := number(1); at != 0; {
		if at < cells || at+4 > len(page) {
			return found
		}
		next, size := number(at), number(at+2)
		if size < 4 || at+size > len(page) || (next != 0 && next < at+size) {
			return found
		}
		found = wipeBytes(page[at+4:at+size]) || found
		at = next
	}
	return found
}

// wipeBytes overwrites with zeros and reports whether there was anything else.
func wipeBytes(b []byte) bool {
	for i, x := range b {
		if x != 0 {
			clear(b[i:])
			return true
		}
	}
	return false
}
