package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/config"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

// errorRecord is an error under -o json and -o ndjson: a line of its own on stderr.
type errorRecord struct {
	Code     int    `json:"code"` // as the exit codes; 130 where the command was interrupted
	Message  string `json:"message"`
	Tenant   string `json:"tenant,omitempty"`
	SQLState string `json:"sqlstate,omitempty"`
	Next     string `json:"next,omitempty"` // a command, to be pasted
	Hint     string `json:"hint,omitempty"` // what to do where that is no command
}

func (f *factory) errorRecordOf(err error) errorRecord {
	r := errorRecord{
		Code: exitCode(err), Message: textOf(err), SQLState: db.SQLState(err),
		Tenant: cmp.Or(tenantOf(err), f.onlyTenant()),
	}
	if errors.Is(err, config.ErrNoDatabase) {
		r.Message, r.Next, r.Hint = "no database configured", "crmctl local start",
			"or use your own: export DATABASE_URL=postgres://user@host/db"
		if f.hasProfile(app.LocalProfile("")) {
			r.Next = "export CRMCTL_PROFILE=local"
		}
		return r
	}
	for _, h := range append(cli.HintsOf(err), f.explain(err)...) {
		switch {
		case r.Next == "" && strings.HasPrefix(h.Command, "crmctl "):
			r.Next = h.Command
		case r.Hint == "":
			r.Hint = h.Label + ": " + h.Command
		}
	}
	return r
}

// printRecord prints an error, each of its texts without secrets: in JSON they could
// not be found any more.
func (f *factory) printRecord(r errorRecord) {
	f.recorded = true
	for _, text := range []*string{&r.Message, &r.Next, &r.Hint} {
		*text = f.redact(*text)
	}
	line, err := cli.EncodeJSON(r, "", "")
	if err != nil {
		line = fmt.Appendf(nil, `{"code":%d}`, r.Code)
	}
	f.Write(string(line) + "\n")
}

// sayTenant says what failed for one tenant of several.
func (f *factory) sayTenant(slug string, err error) {
	err = f.withTarget(err)
	if !f.structured() {
		var naming registry.Naming
		if errors.As(err, &naming) && naming.Named() == slug {
			f.Say("crmctl: %s", cli.Visible(textOf(err)))
		} else {
			f.Say("crmctl: tenant %s: %s", cli.Visible(slug), cli.Visible(textOf(err)))
		}
		return
	}
	r := f.errorRecordOf(err)
	r.Tenant = slug
	f.printRecord(r)
}

// tenantOf returns the tenant that an error is about, "" where it does not tell.
func tenantOf(err error) string {
	if e, ok := errors.AsType[*registry.NotFoundError](err); ok {
		return e.Slug
	}
	if e, ok := errors.AsType[*registry.StateError](err); ok {
		return e.Slug
	}
	if e, ok := errors.AsType[*registry.ExistsError](err); ok {
		return e.Slug
	}
	for e := err; e != nil; {
		var ce *cli.Error
		if !errors.As(e, &ce) {
			break
		}
		if ce.Subject != "" {
			return ce.Subject
		}
		e = ce.Err
	}
	return ""
}

// onlyTenant returns the tenant that the command was given where it was given one.
func (f *factory) onlyTenant() string {
	if f.cmd == nil || !f.started {
		return ""
	}
	name := ""
	fs := f.cmd.Flags()
	if count := fs.Lookup("count"); count != nil && count.Changed {
		return ""
	}
	words := strings.Fields(f.cmd.Use)
	switch flag := fs.Lookup("tenant"); {
	case flag != nil && flag.Changed:
		name = strings.Trim(flag.Value.String(), "[]")
	case len(words) > 1 && (strings.HasPrefix(strings.Trim(words[1], "[]."), "TENANT") || f.cmd.Parent() != nil &&
		f.cmd.Parent().Name() == "tenant" && strings.HasPrefix(words[1], "NAME")):
		if name = fs.Arg(0); strings.HasSuffix(words[1], "...") || strings.HasSuffix(words[1], "...]") {
			name = strings.Join(fs.Args(), ",")
		}
	}
	if strings.ContainsAny(name, ",*?[") {
		return ""
	}
	slug, err := registry.Slug(name)
	if err != nil {
		return ""
	}
	return slug
}

// structured reports whether errors are for programs. It is asked before the flags were
// read, too: an error of usage has to come in the form that was asked for.
func (f *factory) structured() bool {
	format := f.flags.output
	if f.cmd == nil || !f.started {
		format = cmp.Or(typedOutput(f.args), f.configuredOutput())
	}
	return slices.Contains([]string{"json", "ndjson"}, format)
}

// configuredOutput returns the format of environment and files.
func (f *factory) configuredOutput() string {
	if cfg, err := f.config(); err == nil {
		return cfg.Output
	}
	return f.IO.Getenv("CRMCTL_OUTPUT")
}

// typedOutput finds --output among words that were not understood.
func typedOutput(args []string) string {
	format := ""
	for i, word := range args {
		value, long := strings.CutPrefix(word, "--output")
		if word == "--" {
			break
		}
		if !long {
			var short bool
			if value, short = strings.CutPrefix(word, "-o"); !short {
				continue
			}
		}
		switch {
		case value != "":
			format = strings.TrimPrefix(value, "=")
		case i+1 < len(args):
			format = args[i+1]
		}
	}
	return format
}
