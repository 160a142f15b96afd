package app

import "testing"

func TestConnectionsLeaveDescriptors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ configured, descriptors, want int }{
		{10000, 0, 10000}, {0, 0, 0}, {10000, 1 << 20, 10000}, {10000, 1024, 768}, {0, 1024, 768}, {100, 1024, 100}, {10000, 256, 128},
	} {
		if got := connections(c.configured, c.descriptors); got != c.want {
			t.Errorf("%d configured, %d descriptors: %d, want %d", c.configured, c.descriptors, got, c.want)
		}
	}
}
