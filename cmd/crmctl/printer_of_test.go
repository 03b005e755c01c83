package main

import (
	"errors"
	"testing"

	"github.com/crmctl/crmctl/internal/cli"
)

func TestColorIsJudgedForEachStream(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		env      string
		args     []string
		out, err bool // terminals
		wantOut  bool
		wantErr  bool
	}{
		{name: "terminals", out: true, err: true, wantOut: true, wantErr: true},
		{name: "stdout piped", err: true, wantErr: true},
		{name: "stderr piped", out: true, wantOut: true},
		{name: "dumb", env: "TERM=dumb", out: true, err: true},
		{name: "NO_COLOR", env: "NO_COLOR=1", out: true, err: true},
		{name: "CLICOLOR_FORCE", env: "CLICOLOR_FORCE=1", wantOut: true, wantErr: true},
		{name: "--color always beats NO_COLOR", env: "NO_COLOR=1", args: []string{"--color", "always"}, wantOut: true,
			wantErr: true},
		{name: "--no-color beats CLICOLOR_FORCE", env: "CLICOLOR_FORCE=1", args: []string{"--no-color"},
			out: true, err: true},
	}
	for _, tt := range tests {
		b := newBench(t).setenv(tt.env)
		b.OutTerminal, b.ErrTerminal = tt.out, tt.err
		var f *factory
		b.parse(t, probeFactory(&f), append([]string{"probe"}, tt.args...)...)
		if f.outPainter().On != tt.wantOut || f.errPainter().On != tt.wantErr {
			t.Errorf("%s: stdout %v, stderr %v", tt.name, f.outPainter().On, f.errPainter().On)
		}
	}
}

// The arguments of a message are escaped without anybody thinking of it.
func TestNotesEscapeTheirArguments(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	f := b.factory(t)
	f.Say("%s %v %d %s", "x\x1b[31m\n", errors.New("e\x1b[0m"), 7, cli.Lines("one\ntwo\x1b[2m"))
	equal(t, "stderr", b.err.String(), `x\x1b[31m\n e\x1b[0m 7 one`+"\n"+`two\x1b[2m`+"\n")
}
