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
func (c *console) confirmName(ctx context.Context, q confirmation) error {
	if q.given != "" {
		if q.given != q.name {
			return usagef("%s %s does not match %q; nothing was done", q.flag, q.given, q.name)
		}
		return nil
	}
	if !c.canAsk() {
		return withHint(usagef("this has to be confirmed by %s, and there is no terminal to type it", q.what), "add", q.flag+" "+q.name)
	}
	if q.stakes != "" {
		fmt.Fprintln(c.io.Err, cli.VisibleLines(q.stakes))
	}
	answer, err := c.ask(ctx, fmt.Sprintf("Type %s (%s) to go on: ", q.what, cli.Visible(q.name)))
	if err != nil {
		return err
	}
	if answer != q.name {
		return withCode(fmt.Errorf("%q is not %q; nothing was done", answer, q.name), exitFailure)
	}
	return nil
}

// confirmYes asks a milder question; --yes answers it.
func (c *console) confirmYes(ctx context.Context, question string) error {
	if c.switches.yes {
		return nil
	}
	if !c.canAsk() {
		return withHint(usagef("this has to be confirmed, and there is no terminal to ask"), "add", "--yes")
	}
	answer, err := c.ask(ctx, question+" [y/N] ")
	if err != nil {
		return err
	}
	if a := strings.ToLower(answer); a != "y" && a != "yes" {
		return withCode(errors.New("not confirmed; nothing was done"), exitFailure)
	}
	return nil
}

// canAsk tells whether somebody can see a question and answer it.
func (c *console) canAsk() bool { return c.io.InTerminal && c.io.ErrTerminal }

// ask prints a question on stderr and reads one line. A signal, or the end of
// the input, while waiting is an interruption.
func (c *console) ask(ctx context.Context, question string) (string, error) {
	fmt.Fprint(c.io.Err, cli.Visible(question))
	type reply struct {
		text string
		err  error
	}
	replies := make(chan reply, 1)
	go func() {
		text, err := bufio.NewReader(c.io.In).ReadString('\n')
		replies <- reply{text, err}
	}()
	select {
	case <-ctx.Done():
		fmt.Fprintln(c.io.Err)
		return "", context.Cause(ctx)
	case r := <-replies:
		switch {
		case errors.Is(r.err, errInterrupted), errors.Is(r.err, errTimedOut):
			fmt.Fprintln(c.io.Err)
			return "", r.err
		case errors.Is(r.err, io.EOF) && r.text == "":
			fmt.Fprintln(c.io.Err)
			return "", errInterrupted
		case r.err != nil && !errors.Is(r.err, io.EOF):
			return "", fmt.Errorf("read the answer: %w", r.err)
		}
		return strings.TrimRight(r.text, "\r\n"), nil
	}
}
