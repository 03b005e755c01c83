//go:build !unix

package main

import (
	"errors"
	"os/exec"
)

// become runs another program in place of this one, where a process cannot be
// replaced. The program's exit code becomes this one's.
func become(program string, args, env []string, s *streams) error {
	cmd := exec.Command(program, args[1:]...)
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = env, s.In, unguarded(s.Out), unguarded(s.Err)
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exitWith(exit.ExitCode())
	}
	return err
}
