package main

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/registry"
)

// yetOrWhere ends "there is no registry": with the schema where it was looked for, unless
// that is the usual one.
func (f *factory) yetOrWhere() string {
	if reg := f.registry(); reg != registry.Default() {
		return " in schema " + cli.Visible(reg.Place())
	}
	return " yet"
}

// explainRegistry says how to come to a registry, after an error that says there is none
// that can be used: where another one stands, the same command with that; otherwise how one
// is made, in a place that is free. err may be nil.
func (f *factory) explainRegistry(err error) []cli.Hint {
	way := []cli.Hint{{Label: "create it", Command: "crmctl migrate public" + f.sameTarget()}}
	if errors.Is(err, registry.ErrOldRegistry) {
		way[0].Label = "upgrade it"
	}
	ctx, cancel := context.WithTimeout(context.Background(), explainTimeout)
	defer cancel()
	conn, dialErr := f.dialUnchecked(ctx)
	if dialErr != nil {
		return way
	}
	defer closeConn(ctx, conn)
	cfg, cfgErr := f.config()
	if cfgErr != nil {
		return way
	}
	standing, lookErr := f.registry().LookToMake(ctx, conn, cfg.TrustedOwners)
	if lookErr != nil {
		return way
	}
	taken := standing.Taken() != nil || standing.Refusal() != nil
	if hints := f.wayOn(ctx, conn, standing, taken); hints != nil {
		return hints
	}
	return way
}

// wayOn returns how to go on where the registry stands elsewhere, or its place is taken;
// nil where it can be made where it is.
func (f *factory) wayOn(ctx context.Context, conn *pgx.Conn, standing registry.Standing, taken bool) []cli.Hint {
	if standing.Made && !taken {
		return nil
	}
	others, err := registry.Registries(ctx, conn)
	if err != nil {
		return nil
	}
	others = slices.DeleteFunc(others, func(r registry.Registry) bool { return r == standing.Registry })
	if !standing.Made && len(others) > 0 {
		return []cli.Hint{{Label: "a registry stands in schema " + cli.Visible(others[0].Schema().String()),
			Command: f.atPlace(others[0])}}
	}
	if !taken {
		return nil
	}
	free, err := registry.FreePlace(ctx, conn)
	if err != nil {
		return nil
	}
	command := "crmctl migrate public" + f.given("profile", "database-url", "config") + " --registry-schema " +
		schemaWord(free.Registry)
	label := "make it beside that"
	if standing.Made {
		label, command = "move it out of there", "crmctl registry move"+f.sameTarget()+" --to-schema "+
			schemaWord(free.Registry)
	}
	hints := []cli.Hint{{Label: label, Command: command}}
	if !free.Makeable {
		hints = append([]cli.Hint{{Label: "first, as the database's owner", Command: "create schema " +
			free.Registry.Place() + " authorization " + pgx.Identifier{conn.Config().User}.Sanitize()}}, hints...)
	}
	return hints
}

// explainNeighbour says where a schema that is in the way belongs to another registry.
func (f *factory) explainNeighbour(e *registry.ExistsError) []cli.Hint {
	ctx, cancel := context.WithTimeout(context.Background(), explainTimeout)
	defer cancel()
	conn, err := f.connect(ctx)
	if err != nil {
		return nil
	}
	defer closeConn(ctx, conn)
	neighbours, err := f.registry().Neighbours(ctx, conn)
	if err != nil {
		return nil
	}
	theirs, err := neighbours.Of(ctx, conn, []string{e.Schema.String()})
	if err != nil || len(theirs) == 0 {
		return nil
	}
	return []cli.Hint{{Label: "it is a tenant's of another registry",
		Command: "leave it, and give this tenant another name"}}
}

// wayOfDoctor is wayOn as one command, for a finding.
func (f *factory) wayOfDoctor(ctx context.Context, conn *pgx.Conn, standing registry.Standing) string {
	var commands []string
	for _, h := range f.wayOn(ctx, conn, standing, true) {
		commands = append(commands, h.Command)
	}
	return strings.Join(commands, ", then ")
}

// atPlace returns what was typed, for another registry.
func (f *factory) atPlace(reg registry.Registry) string {
	var words []string
	for i := 0; i < len(f.args); i++ {
		switch word := f.args[i]; {
		case word == "--registry-schema":
			i++
		case strings.HasPrefix(word, registryFlag):
		default:
			words = append(words, word)
		}
	}
	at := slices.Index(words, "--")
	if at < 0 {
		at = len(words)
	}
	words = slices.Insert(words, at, "--registry-schema", reg.Schema().String())
	return f.withInput("crmctl " + cli.ShellWords(words))
}

const registryFlag = "--registry-schema="

// schemaWord returns the name of a registry's schema for a command line.
func schemaWord(reg registry.Registry) string {
	return cli.ShellWords([]string{reg.Schema().String()})
}
