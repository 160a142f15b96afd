//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"

	"vote/internal/testservers"
	"vote/internal/testservers/local"
)

// install sees to it that the programs of the servers, and those that tests run
// themselves, are there: root installs the packages that are missing.
func install(ctx context.Context, missing []server, browser bool) error {
	var variables []string
	packages := slices.Concat(local.Missing("HAProxy"), local.Missing("tools"))
	if browser {
		packages = append(packages, local.Missing("Node.js")...)
		if lacking := local.Missing("Chromium"); len(lacking) > 0 && os.Getenv(testservers.Chromium) == "" {
			packages = append(packages, lacking...)
			variables = append(variables, testservers.Chromium)
		}
	}
	for _, m := range missing {
		if lacking := local.Missing(m.name); len(lacking) > 0 {
			packages = append(packages, lacking...)
			variables = append(variables, m.variables...)
		}
	}
	if len(packages) == 0 {
		return nil
	}
	slices.Sort(packages)
	names := strings.Join(slices.Compact(packages), " ")
	remedy := fmt.Sprintf("install the Debian packages %s (apt-get install %s)", names, names)
	if len(variables) > 0 {
		remedy += fmt.Sprintf(", or let %s say where they are", strings.Join(variables, ", "))
	}
	apt, err := exec.LookPath("apt-get")
	if err != nil || os.Geteuid() != 0 {
		return errors.New("programs are missing, and only root installs them, by apt-get: " + remedy)
	}
	say("installing %s", names)
	if err := aptGet(ctx, apt, strings.Fields(names)); err != nil {
		return fmt.Errorf("%w\n%s", err, remedy)
	}
	return nil
}

// policy tells Debian's packages not to start their servers.
const policy = "/usr/sbin/policy-rc.d"

// aptGet installs packages without starting what is in them.
func aptGet(ctx context.Context, apt string, packages []string) (err error) {
	file, err := os.OpenFile(policy, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	switch {
	case err == nil:
		defer func() { err = errors.Join(err, os.Remove(policy)) }()
		_, err := file.WriteString("#!/bin/sh\nexit 101\n")
		if err := errors.Join(err, file.Close()); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrExist): // one that is there knows what it wants
		return err
	}
	try := func(words ...string) error {
		c := exec.CommandContext(ctx, apt, words...)
		c.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if text, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("apt-get %s: %w\n%s", strings.Join(words, " "), err, text)
		}
		return nil
	}
	words := append([]string{"install", "--yes", "--no-install-recommends"}, packages...)
	if try(words...) == nil {
		return nil
	}
	// A fresh machine has no lists yet.
	if err := try("update"); err != nil {
		return err
	}
	return try(words...)
}
