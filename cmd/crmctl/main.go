package main

import (
	"context"
	"os"
	"runtime/debug"

	"github.com/crmctl/crmctl/internal/cli"
)

// garbagePercent is how much garbage may pile up beside what is in use: the list of a large
// fleet would take twice its memory with Go's own 100, and work here is the server's.
const garbagePercent = 50

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbagePercent)
	}
	os.Exit(run(context.Background(), os.Args[1:], cli.SystemStreams()))
}
