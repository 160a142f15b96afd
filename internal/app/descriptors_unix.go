//go:build unix

package app

import (
	"math"
	"syscall"
)

// descriptors returns how many files the process may open; 0 when that is not
// known or not bounded.
func descriptors() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Cur > math.MaxInt32 {
		return 0
	}
	return int(limit.Cur)
}
