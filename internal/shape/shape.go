package shape

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/catalog"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/mention"
	"github.com/crmctl/crmctl/internal/outside"
	"github.com/crmctl/crmctl/internal/staging"
)

// History is how a schema comes to be, migration by migration.
type History struct {
	// Checksum identifies it.
	Checksum string
	// Program is the version of this program: what one version found out, or could
	// not, says nothing about another.
	Program string
	// Version is the newest migration.
	Version int64
	// Length is the number of migrations.
	Length int
	// Script makes it, version table and version rows included.
	Script []db.Statement
	// Versions makes the version table and its rows alone.
	Versions []db.Statement
}

// Final is what is known of the schema at the end of a history.
type Final struct {
	// Script makes the same of an empty schema, but for the version table. It is
	// nil where Reason is not "".
	Script []db.Statement
	// Fingerprint is that of the schema, "" where Script is nil.
	Fingerprint string
	// Reason says why only the history makes it.
	Reason string
	// Known says that Reason was found out before, and whoever asked then was told.
	Known bool
	// Fixed says why such a schema, however it was made, cannot be made before it is
	// known what it is for, and renamed then; "" where it can.
	Fixed string
}

// Make replays a history twice and its own script once, in transactions that are
// rolled back; conn must not be in one. A history whose end cannot be reproduced
// exactly is no error: Final.Reason says why. An error wraps ErrHistory, or is
// one of the connection, or a lock that was not granted; it says nothing about
// another time.
//
// A history of several transactions goes by itself in any case: what its files leave
// to each other between them, no other script would. Only whether it can be renamed is
// found out, in a schema that is dropped.
func Make(ctx context.Context, conn *pgx.Conn, h History, o catalog.Options) (*Final, error) {
	if staging.Several(h.Script) {
		return makeStaged(ctx, conn, h, o)
	}
	first, err := replay(ctx, conn, h.Script, o, firstName, false)
	if err != nil {
		return nil, replayError(err)
	}
	// The name has nothing in common with the first one, not even its length.
	second, err := replay(ctx, conn, h.Script, o, secondName, true)
	if err != nil {
		return nil, replayError(err)
	}
	named, err := foreign(ctx, conn, o.Registry, h)
	if err != nil {
		return nil, err
	}
	final := &Final{Fixed: cmp.Or(first.outside, first.named(), byName(first, second), second.fixed)}
	if final.Reason = cmp.Or(firstDifference(first, second), named, judge(h.Script),
		first.suspicious()); final.Reason != "" {
		return final, nil
	}
	before, after, err := first.shape.Halves()
	if refused, ok := errors.AsType[*catalog.IrreproducibleError](err); ok {
		final.Reason = refused.Error()
		return final, nil
	}
	if err != nil {
		return nil, err
	}
	script := slices.Concat(before, first.inserts(), after, first.advances())
	third, err := replay(ctx, conn, slices.Concat(h.Versions, script), o, firstName, false)
	if err != nil {
		if !isOwnError(err) {
			return nil, fmt.Errorf("run the statements read from the catalog: %w", err)
		}
		final.Reason = "the statements read from the catalog do not run: " + db.Text(err)
		return final, nil
	}
	if final.Reason = differs(first, third); final.Reason == "" {
		final.Script, final.Fingerprint = script, third.fingerprint()
	}
	return final, nil
}

// ErrHistory says that the migrations do not run.
var ErrHistory = errors.New("the migrations do not run")

func replayError(err error) error {
	if isOwnError(err) {
		return fmt.Errorf("%w: %w", ErrHistory, err)
	}
	return fmt.Errorf("replay the migrations: %w", err)
}

// isOwnError reports whether the server refused a statement for what it says, and would
// again: a feature that is not supported, data, a constraint, a name or a right.
func isOwnError(err error) bool {
	state := db.SQLState(err)
	return len(state) == 5 && slices.Contains([]string{"0A", "21", "22", "23", "2B", "42", "44", "P0"}, state[:2]) &&
		!db.Retryable(err)
}

// firstDifference says why the result of a history is not worth keeping, from two replays.
func firstDifference(a, b *result) string {
	if a.outside != "" {
		return a.outside
	}
	if a.named() != "" {
		return a.named()
	}
	if a.fingerprint() != b.fingerprint() {
		return "the migrations make another schema each time"
	}
	if name := a.rows.firstDifference(b.rows); name != "" {
		return "rows of " + name + " are different each time the migrations run (a clock or a random number?)"
	}
	if name := a.sequences.firstDifference(b.sequences); name != "" {
		return "sequence " + name + " stands elsewhere each time the migrations run"
	}
	return a.tooMuch
}

// differs says in what a schema made by the script is not like the original.
func differs(want, got *result) string {
	what := cmp.Or(difference(want.shape, got.shape, "something"), firstDifferingLine(want.lines, got.lines))
	if what != "" {
		return "the statements read from the catalog make " + what + " another way"
	}
	if name := want.rows.firstDifference(got.rows); name != "" {
		return "rows of " + name + " come out different"
	}
	if name := want.sequences.firstDifference(got.sequences); name != "" {
		return "sequence " + name + " comes out different"
	}
	return ""
}

// difference names the first thing in which two shapes differ, "" for none, and
// something where that cannot be said.
func difference(a, b *catalog.Shape, something string) string {
	if a.Fingerprint() == b.Fingerprint() {
		return ""
	}
	if diff := catalog.Diff(a, b); len(diff) > 0 {
		return diff[0].Subject()
	}
	return something
}

// Two ways to make a name nobody can guess.
func firstName() string  { return "crmctl_shape_" + strings.ToLower(rand.Text()) }
func secondName() string { return "x" + strings.ToLower(rand.Text()[:11]) + "_replay" }

// replay runs a script in a schema of its own and reads what it made. With renamed
// it also looks whether the schema is the same under another name.
func replay(ctx context.Context, conn *pgx.Conn, script []db.Statement, o catalog.Options, name func() string,
	renamed bool) (r *result, err error) {
	schema, err := db.RegisteredSchema(name())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, takeBack(ctx, conn, script)) }()
	elsewhere, err := runAway(ctx, conn, schema, script, o)
	if err != nil {
		return nil, err
	}
	if r, err = read(ctx, conn, schema, o); err != nil {
		return nil, err
	}
	r.outside = elsewhereReason(elsewhere)
	if !renamed {
		return r, nil
	}
	err = r.rename(ctx, conn, schema, o)
	return r, err
}

// rename looks, in a transaction that will be rolled back, whether the schema is the same
// under another name.
func (r *result) rename(ctx context.Context, conn *pgx.Conn, schema db.Schema, o catalog.Options) error {
	other, err := db.RegisteredSchema(firstName())
	if err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, "alter schema "+schema.Quoted()+" rename to "+other.Quoted()); err != nil {
		return err
	}
	shape, err := catalog.Read(ctx, conn, catalog.Target{Schema: other}, o)
	if err != nil {
		return err
	}
	if what := difference(r.shape, shape, "a definition"); what != "" {
		r.fixed = what + " names its schema"
		return nil
	}
	mentions, err := mention.Find(ctx, conn, schema.String(), other)
	if len(mentions) > 0 {
		r.fixed = mentions[0].Object + " names its schema in " + mentions[0].Where
	}
	return err
}

// elsewhereReason says why the result of a script that did something outside its schema
// is not worth keeping alone: what it changed would be missing, what it read may be
// another thing tomorrow.
func elsewhereReason(done outside.Done) string {
	switch {
	case done.Made != "":
		return "the migrations make or alter something outside the tenant's schema: " + done.Made
	case done.Unknown:
		return "it cannot be known what the migrations do outside the tenant's schema: track_counts is off"
	case done.Changed != "":
		return "the migrations change rows outside the tenant's schema: " + done.Changed
	case done.Read != "":
		return "the migrations read rows outside the tenant's schema: " + done.Read
	}
	return ""
}
