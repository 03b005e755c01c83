package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/crmctl/crmctl/internal/cli"
)

// announceTarget says on stderr what a change is about to work on: host,
// database, role and profile.
func (f *factory) announceTarget() error {
	text, err := f.targetText()
	f.changes.Store(true)
	if err == nil {
		f.note("target    %s", text)
	}
	return err
}

// targetText returns "crm_prod on db1:5432 as migrator (profile prod)".
func (f *factory) targetText() (string, error) {
	target, err := f.target()
	if err != nil {
		return "", err
	}
	cfg, err := f.config()
	if err != nil {
		return "", err
	}
	text := cli.Visible(target.String())
	if cfg.DatabaseFromProfile() {
		text += " (profile " + cli.Visible(cfg.Profile) + ")"
	} else if cfg.DatabaseFromProject() {
		text += " (./crmctl.yaml)"
	}
	return text, nil
}

// beforeChange is the first step of every command that changes something: it
// says what will be changed and, for a protected profile, has its name typed.
// It does not connect. A dry run asks nothing.
func (f *factory) beforeChange(ctx context.Context, dryRun bool) error {
	if err := f.announceTarget(); err != nil {
		return err
	}
	cfg, err := f.config()
	if err != nil || !cfg.Protected || dryRun {
		return err
	}
	return f.confirmName(ctx, confirmation{
		name:  cfg.Profile,
		given: f.flags.confirmProfile,
		flag:  "--confirm-profile",
		what:  "the protected profile's name",
	})
}

// confirmation is a question that is answered by typing a name.
type confirmation struct {
	stakes string // lines that say what will be lost; "" for none
	name   string // to be typed exactly
	given  string // value of the flag, "" when it was not given
	flag   string // "--confirm"
	what   string // "the tenant's name"
}

// confirmName returns nil when the name was given by the flag or typed. Without
// a terminal it fails at once and names the flag. --yes does not count: it is
// for the milder questions.
func (f *factory) confirmName(ctx context.Context, c confirmation) error {
	if c.given != "" {
		if c.given != c.name {
			return usagef("%s %s does not match %q; nothing was done", c.flag, c.given, c.name)
		}
		return nil
	}
	if !f.canAsk() {
		return withHint(usagef("this has to be confirmed by %s, and there is no terminal to type it", c.what), "add", c.flag+" "+c.name)
	}
	if c.stakes != "" {
		fmt.Fprintln(f.io.Err, cli.VisibleLines(c.stakes))
	}
	answer, err := f.ask(ctx, fmt.Sprintf("Type %s (%s) to go on: ", c.what, cli.Visible(c.name)))
	if err != nil {
		return err
	}
	if answer != c.name {
		return withCode(fmt.Errorf("%q is not %q; nothing was done", answer, c.name), exitFailure)
	}
	return nil
}

// confirmYes asks a milder question; --yes answers it.
func (f *factory) confirmYes(ctx context.Context, question string) error {
	if f.flags.yes {
		return nil
	}
	if !f.canAsk() {
		return withHint(usagef("this has to be confirmed, and there is no terminal to ask"), "add", "--yes")
	}
	answer, err := f.ask(ctx, question+" [y/N] ")
	if err != nil {
		return err
	}
	if a := strings.ToLower(answer); a != "y" && a != "yes" {
		return withCode(errors.New("not confirmed; nothing was done"), exitFailure)
	}
	return nil
}

// canAsk tells whether somebody can see a question and answer it.
func (f *factory) canAsk() bool { return f.io.InTerminal && f.io.ErrTerminal }

// ask prints a question on stderr and reads one line. A signal, or the end of
// the input, while waiting is an interruption.
func (f *factory) ask(ctx context.Context, question string) (string, error) {
	fmt.Fprint(f.io.Err, cli.Visible(question))
	type reply struct {
		text string
		err  error
	}
	replies := make(chan reply, 1)
	go func() {
		text, err := bufio.NewReader(f.io.In).ReadString('\n')
		replies <- reply{text, err}
	}()
	select {
	case <-ctx.Done():
		fmt.Fprintln(f.io.Err)
		return "", context.Cause(ctx)
	case r := <-replies:
		switch {
		case errors.Is(r.err, errInterrupted), errors.Is(r.err, errTimedOut):
			fmt.Fprintln(f.io.Err)
			return "", r.err
		case errors.Is(r.err, io.EOF) && r.text == "":
			fmt.Fprintln(f.io.Err)
			return "", errInterrupted
		case r.err != nil && !errors.Is(r.err, io.EOF):
			return "", fmt.Errorf("read the answer: %w", r.err)
		}
		return strings.TrimRight(r.text, "\r\n"), nil
	}
}
