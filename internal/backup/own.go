package backup

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/crmctl/crmctl/internal/catalog"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/tablespace"
)

// ErrCode says that a file brings code that the migrations do not make.
var ErrCode = errors.New("the file holds code that no migration makes")

// CodeError names it.
type CodeError struct{ Objects []string }

// Error names a few.
func (e *CodeError) Error() string { return ErrCode.Error() + ": " + few(e.Objects) }

// Is makes errors.Is(err, ErrCode) true.
func (e *CodeError) Is(target error) bool { return target == ErrCode }

// few joins what is to be told, a few of it.
func few(list []string) string {
	const most = 5
	if len(list) > most {
		return strings.Join(list[:most], ", ") + fmt.Sprintf(", and %d more", len(list)-most)
	}
	return strings.Join(list, ", ")
}

// own is the structure of a file while it is made.
type own struct {
	sandbox *sandbox
	want    *catalog.Shape // without the keys below
	trusted *catalog.Shape // what the migrations make
	after   []db.Statement // what comes when the rows are there
	keys    []db.Statement // foreign keys out of the schema, as the migrations have them
}

// createOwn makes the structure that a file has, up to what comes after the rows.
//
// Whatever stands in the file is run as a role that has no right but to create in this
// schema. Then the server's own catalog is asked what was made. Code that is not that
// of the migrations is refused before a row is written, since from then on it would be
// run by whoever writes.
func (t *target) createOwn(ctx context.Context, m *Manifest, o NewTenant) error {
	versions, err := o.Versions(m.Applied())
	if err != nil {
		return err
	}
	if t.own.trusted == nil {
		script, err := o.Build(m.Applied())
		if err != nil {
			return err
		}
		if t.own.trusted, err = catalog.Build(ctx, t.conn, script, catalog.Options{Registry: o.Registry,
			LockTimeout: o.LockTimeout, Direct: o.Direct}); err != nil {
			return err
		}
	}
	shape := m.Structure.Shape.Without(rights()...)
	t.own.want, t.own.keys = shape.SplitOutside(t.own.trusted)
	before, after, err := t.own.want.Halves()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrMismatch, err)
	}
	t.own.after = after
	var p db.Pipeline
	if err := t.begin(ctx, &p, m.Applied(), o); err != nil {
		return err
	}
	p.Script(versions)
	if t.tablespace() != "" { // in which the sandbox may make nothing
		p.Exec("set local default_tablespace = ''")
	}
	if t.row.Role != "" {
		o.Roles.QueueLimits(&p, t.schema, t.row.Role, t.row.Status == "active")
	}
	queueDialect(&p)
	if err := t.run(ctx, &p, o); err != nil {
		return err
	}
	if t.own.sandbox, err = openSandbox(ctx, t.conn, t.schema); err != nil {
		return err
	}
	t.own.sandbox.path = o.path()
	if err := t.own.sandbox.run(ctx, before); err != nil {
		return err
	}
	if err := t.judgeCode(ctx, o); err != nil {
		return err
	}
	if err := t.settle(ctx); err != nil { // as long as the tables are empty
		return err
	}
	p = db.Pipeline{}
	p.CheckSchema(t.schema)
	p.OwnPath()
	t.there.queue(&p, t.schema, nil)
	p.StandIn(t.schema, o.path())
	if err := p.Run(ctx, t.conn); err != nil {
		return fmt.Errorf("look at schema %s: %w", t.schema, db.Plain(err))
	}
	t.there.members()
	t.trusting = o.TrustCode && len(t.code) > 0
	return nil
}

// settle brings what the sandbox has made to the tenant's tablespace.
func (t *target) settle(ctx context.Context) error {
	name := t.tablespace()
	if name == "" {
		return nil
	}
	if _, err := t.conn.Exec(ctx, "savepoint crmctl_place"); err != nil {
		return err
	}
	found, _, err := tablespace.Elsewhere(ctx, t.conn, t.schema, name)
	if err == nil {
		err = tablespace.Refuse(found)
	}
	if err != nil {
		return err
	}
	var p db.Pipeline
	p.Exec("rollback to savepoint crmctl_place")
	p.Exec("release savepoint crmctl_place")
	for _, r := range found {
		if r.Usual { // what was to stand in a third one does
			tablespace.QueueMove(&p, t.schema, r, name)
		}
	}
	if err := p.Run(ctx, t.conn); err != nil {
		return fmt.Errorf("bring schema %s to tablespace %q: %w", t.schema, name, db.Plain(err))
	}
	return nil
}

// place returns the schema as package catalog reads it.
func (t *target) place() catalog.Target {
	return catalog.Target{Schema: t.schema, Tablespace: t.tablespace()}
}

// judgeCode looks for code in what was made so far.
func (t *target) judgeCode(ctx context.Context, o NewTenant) error {
	made, err := catalog.ReadWithin(ctx, t.conn, t.place(), catalog.Options{Ignore: rights()})
	if err != nil {
		return err
	}
	if t.code, err = catalog.Code(ctx, t.conn, t.schema, made, t.own.trusted); err != nil {
		return err
	}
	if len(t.code) > 0 && !o.TrustCode {
		return &CodeError{Objects: t.code}
	}
	return nil
}

// completeOwn makes what comes after the rows, gives everything to the session's role,
// and compares what stands there with what the file has.
func (t *target) completeOwn(ctx context.Context, m *Manifest, o NewTenant) error {
	w := t.own.sandbox
	after := slices.Clone(t.own.after)
	for _, v := range t.views(m) {
		after = append(after, db.Statement{SQL: v})
	}
	if err := w.run(ctx, after); err != nil {
		return err
	}
	if err := w.close(ctx); err != nil {
		return err
	}
	if err := t.settle(ctx); err != nil {
		return err
	}
	made, err := catalog.ReadWithin(ctx, t.conn, t.place(), catalog.Options{Ignore: rights()})
	if err != nil {
		return err
	}
	if differences := catalog.Diff(t.own.want, made); made.Fingerprint() != t.own.want.Fingerprint() {
		return fmt.Errorf("%w: the statements read from the catalog make it another way: %s", ErrMismatch,
			few(catalog.Subjects(differences, len(differences))))
	}
	if t.code, err = catalog.Code(ctx, t.conn, t.schema, made, t.own.trusted); err != nil {
		return err
	}
	if len(t.code) > 0 && !o.TrustCode {
		return &CodeError{Objects: t.code}
	}
	var p db.Pipeline
	p.Script(t.own.keys)
	if t.row.Role != "" {
		o.Roles.QueueTables(&p, t.schema, t.row.Role)
		o.Roles.QueueLimits(&p, t.schema, t.row.Role, t.row.Status == "active")
	}
	p.CheckSchema(t.schema)
	// What was set along the way does not outlive the transaction.
	p.Exec("reset all")
	if err := p.Run(ctx, t.conn); err != nil {
		return fmt.Errorf("complete schema %s: %w", t.schema, db.Plain(err))
	}
	return nil
}

// tryStructure makes the structure of a file without its rows. The caller rolls back.
func (t *target) tryStructure(ctx context.Context, m *Manifest, o NewTenant) error {
	o.TrustCode = true // nothing of it is run but behind the wall
	if err := t.createOwn(ctx, m, o); err != nil {
		return err
	}
	return t.completeOwn(ctx, m, o)
}

// check refuses what this package would not have written.
func (s *Structure) check() error {
	sum, err := hex.DecodeString(s.Fingerprint)
	switch {
	case err != nil || len(sum) != len(catalog.Fingerprint{}):
		return corrupt("the fingerprint of its structure is none")
	case s.From == FromMigrations && s.Shape == nil:
		return nil
	case s.From != FromFile || s.Shape == nil:
		return corrupt("its structure comes from %q", s.From)
	}
	if own := s.Shape.Fingerprint(); !slices.Equal(own[:], sum) {
		return corrupt("the structure in it is not that of its fingerprint")
	}
	return nil
}
