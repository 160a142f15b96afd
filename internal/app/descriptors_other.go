//go:build !unix

package app

// descriptors returns how many files the process may open; 0 when that is not
// known or not bounded.
func descriptors() int { return 0 }
