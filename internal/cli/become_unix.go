//go:build unix

package cli

import (
	"fmt"
	"os/signal"
	"syscall"
)

// Become replaces this process by another program: the terminal, signals and the exit
// code are its own then. It returns only when that fails.
func Become(program string, args, env []string, _ *Streams) error {
	signal.Reset(syscall.SIGPIPE) // what is ignored here would be there
	return fmt.Errorf("%s: %w", program, syscall.Exec(program, args, env))
}
