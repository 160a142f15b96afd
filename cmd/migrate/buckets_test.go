//go:build integration

package main

import (
	"fmt"
	"strings"
	"testing"

	"vote/internal/testservers"
)

func TestBuckets(t *testing.T) {
	t.Parallel()
	run := configured(t, fmt.Sprintf("storage: {engine: postgres}\npostgres: {direct_dsn: %q}\njwt: {secret_key: %q}\n",
		testservers.Database(t), strings.Repeat("k", 40)))
	for _, step := range []struct {
		args      []string
		out, fail string
	}{
		{args: []string{"rebucket", "3"}, fail: "run migrate up"},
		{args: []string{"up"}, out: "00001_accounts.sql"},
		{args: []string{"rebucket", "3"}, out: "storage.buckets was 1 and is 3 now"},
		{args: []string{"rebucket", "3"}, out: "storage.buckets is 3 already: nothing was changed"},
		{args: []string{"distribute"}, fail: `no extension "citus"`},
		{args: []string{"rebucket", "1"}, out: "storage.buckets was 3 and is 1 now"},
	} {
		out, err := run(step.args...)
		if step.fail == "" && err != nil || step.fail != "" && (err == nil || !strings.Contains(err.Error(), step.fail)) {
			t.Errorf("%v: error %v, want %q", step.args, err, step.fail)
		}
		if !strings.Contains(out, step.out) {
			t.Errorf("%v: %q, want %q", step.args, out, step.out)
		}
	}
}
