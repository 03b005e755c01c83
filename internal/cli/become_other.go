//go:build !unix

package cli

import (
	"errors"
	"io"
	"os/exec"
)

// Become runs another program in place of this one, where a process cannot be
// replaced. The program's exit code becomes this one's.
func Become(program string, args, env []string, s *Streams) error {
	cmd := exec.Command(program, args[1:]...)
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = env, direct(s.In), unguarded(s.Out), unguarded(s.Err)
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return ExitWith(exit.ExitCode())
	}
	return err
}

// direct returns the stream itself, for another program to read.
func direct(r io.Reader) io.Reader {
	if in, ok := r.(*input); ok {
		return in.in
	}
	return r
}

// unguarded returns the stream itself, for another program to write to.
func unguarded(w io.Writer) io.Writer {
	if g, ok := w.(*guard); ok {
		return g.w
	}
	return w
}
