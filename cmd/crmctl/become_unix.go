//go:build unix

package main

import (
	"fmt"
	"os/signal"
	"syscall"

	"github.com/crmctl/crmctl/internal/cli"
)

// become replaces this process by another program: the terminal, signals and the exit
// code are its own then. It returns only when that fails.
func become(program string, args, env []string, _ *cli.Streams) error {
	signal.Reset(syscall.SIGPIPE) // what is ignored here would be there
	return fmt.Errorf("%s: %w", program, syscall.Exec(program, args, env))
}
