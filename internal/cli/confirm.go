package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Confirmation is a question that is answered by typing a name.
type Confirmation struct {
	Impact string // lines that say what will be lost; "" for none
	Name   string // to be typed exactly
	Given  string // value of the flag, "" when it was not given
	Flag   string // "--confirm"
	What   string // "the tenant's name"
}

// ConfirmName returns nil when the name was given by the flag or typed. Without
// a terminal it fails at once and names the flag. --yes does not count: it is
// for the milder questions.
func (c *Console) ConfirmName(ctx context.Context, q Confirmation) error {
	if q.Given != "" {
		if q.Given != q.Name {
			return Usagef("%s %s does not match %q; nothing was done", q.Flag, q.Given, q.Name)
		}
		return nil
	}
	if !c.CanAsk() {
		return WithHint(Usagef("this has to be confirmed by %s, and there is no terminal to type it", q.What), "add",
			q.Flag+" "+q.Name)
	}
	if q.Impact != "" {
		fmt.Fprintln(c.IO.Err, c.Fit(VisibleLines(q.Impact)))
	}
	answer, err := c.ask(ctx, fmt.Sprintf("Type %s (%s) to go on: ", q.What, Visible(q.Name)))
	if err != nil {
		return err
	}
	if answer != q.Name {
		return WithCode(fmt.Errorf("%q is not %q; nothing was done", answer, q.Name), ExitFailure)
	}
	return nil
}

// ConfirmYes asks a milder question; --yes answers it.
func (c *Console) ConfirmYes(ctx context.Context, question string) error {
	if c.switches.Yes {
		return nil
	}
	if !c.CanAsk() {
		return WithHint(Usagef("this has to be confirmed, and there is no terminal to ask"), "add", "--yes")
	}
	answer, err := c.ask(ctx, question+" [y/N] ")
	if err != nil {
		return err
	}
	if a := strings.ToLower(answer); a != "y" && a != "yes" {
		return WithCode(errors.New("not confirmed; nothing was done"), ExitFailure)
	}
	return nil
}

// CanAsk reports whether somebody can see a question and answer it.
func (c *Console) CanAsk() bool { return c.IO.InTerminal && c.IO.ErrTerminal }

// ask prints a question on stderr and reads one line. A signal, or the end of
// the input, while waiting is an interruption.
func (c *Console) ask(ctx context.Context, question string) (string, error) {
	fmt.Fprint(c.IO.Err, c.Fit(Visible(question)))
	type reply struct {
		text string
		err  error
	}
	replies := make(chan reply, 1)
	go func() {
		text, err := bufio.NewReader(c.IO.In).ReadString('\n')
		replies <- reply{text, err}
	}()
	select {
	case <-ctx.Done():
		fmt.Fprintln(c.IO.Err)
		return "", context.Cause(ctx)
	case r := <-replies:
		switch {
		case errors.Is(r.err, ErrInterrupted), errors.Is(r.err, ErrTimedOut):
			fmt.Fprintln(c.IO.Err)
			return "", r.err
		case errors.Is(r.err, io.EOF) && r.text == "":
			fmt.Fprintln(c.IO.Err)
			return "", ErrInterrupted
		case r.err != nil && !errors.Is(r.err, io.EOF):
			return "", fmt.Errorf("read the answer: %w", r.err)
		}
		return strings.TrimRight(r.text, "\r\n"), nil
	}
}
