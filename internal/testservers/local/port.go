//go:build linux

package local

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// port is a TCP port of 127.0.0.1, kept for its holder while its server is down,
// too.
type port struct {
	number int
	hold   net.Listener
}

// takePort finds a free port. It looks below those that the kernel gives to
// outgoing connections, so that none of them takes it, and a socket named after
// the port, which goes with the process, keeps other test servers away.
func takePort() (*port, error) {
	const from, to = 20000, 32000
	var listen net.ListenConfig
	var last error
	for range 1000 {
		n := from + rand.IntN(to-from)
		hold, err := listen.Listen(context.Background(), "unix", fmt.Sprintf("@%sport-%d", prefix, n))
		if err != nil {
			last = err
			continue
		}
		try, err := listen.Listen(context.Background(), "tcp", "127.0.0.1:"+strconv.Itoa(n))
		if err != nil {
			last = err
			_ = hold.Close()
			continue
		}
		return &port{number: n, hold: hold}, try.Close()
	}
	return nil, fmt.Errorf("no free port between %d and %d: %w", from, to, last)
}

func (p *port) address() string { return "127.0.0.1:" + p.String() }

func (p *port) String() string { return strconv.Itoa(p.number) }

func (p *port) release() { _ = p.hold.Close() }
