package backup

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/anonymize"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

// CloneOptions say how a tenant is copied.
type CloneOptions struct {
	NewTenant

	Slug        string // of the copy
	DisplayName string // "" = that of the source, or the slug where it is anonymized
	SchemaOnly  bool   // no rows but those that the migrations put in
	// Anonymizer, if not nil, replaces what is personal. The settings, which may hold
	// anything, are left out then.
	Anonymizer *Anonymizer
	// Structures, if not nil, lets the copy have what the source has beside its migrations,
	// as a backup has it. With nil such a source is refused.
	Structures *Structures
	// Keep, if not nil, is called last within the transaction that makes the copy, whose id it
	// is given: what the registry has about the source goes along.
	Keep func(ctx context.Context, q db.Querier, id string) error
}

// errStopped ends the reading of a table whose rows nobody takes any more.
var errStopped = errors.New("the copy was stopped")

// Clone copies a tenant to a new one: the schema from its migrations, the rows by
// COPY from a snapshot on one connection into a transaction on the other, as they
// come. The copy is whole, with its registry row and audit, or absent.
//
// The error wraps registry.ErrExists where the new tenant or its schema is there, and
// ErrMismatch where the migrations do not make what the rows need.
func Clone(ctx context.Context, from, to *pgx.Conn, src Source, o CloneOptions) (*Made, error) {
	var made *Made
	src.Imports = src.Imports && o.Anonymizer == nil && !o.SchemaOnly
	err := inSnapshot(ctx, from, src.Schema, nil, o.Limits, func(ctx context.Context, s *snapshot) (err error) {
		if err := s.readTenant(ctx, o.Registry, src); err != nil {
			return err
		}
		if err := s.readStructure(ctx, o.Structures); err != nil {
			return err
		}
		made, err = s.clone(ctx, to, o)
		return err
	})
	return made, err
}

func (s *snapshot) clone(ctx context.Context, to *pgx.Conn, o CloneOptions) (*Made, error) {
	m := &s.manifest
	row := *m.Tenant
	if o.Anonymizer != nil {
		var err error
		if row.Settings, err = registry.WithTablespace(nil, registry.TablespaceOf(row.Settings)); err != nil {
			return nil, err
		}
		row.DisplayName = o.Slug
	}
	if o.DisplayName != "" {
		row.DisplayName = o.DisplayName
	}
	if o.Slug == m.Tenant.Slug {
		return nil, &registry.ExistsError{Slug: o.Slug, Schema: s.schema, Registered: true}
	}
	t, err := newTarget(to, row, o.Slug)
	if err != nil {
		return nil, err
	}
	t.row.Status = "active"
	if err := s.cloneInto(ctx, t, o); err != nil {
		return nil, errors.Join(err, t.undo(ctx))
	}
	return &Made{Tenant: t.row, Version: m.SchemaVersion, Rows: m.Rows(), Bytes: m.Bytes(), Manifest: m}, nil
}

func (s *snapshot) cloneInto(ctx context.Context, t *target, o CloneOptions) error {
	m := &s.manifest
	m.Comment = "" // it is about the other tenant
	var rules map[string][]anonymize.Rule
	if o.Anonymizer != nil && !o.SchemaOnly {
		var err error
		if rules, err = o.Anonymizer.rules(&s.there); err != nil {
			return err
		}
	}
	if err := t.create(ctx, m, o.NewTenant); err != nil {
		return err
	}
	if o.SchemaOnly {
		m.Tables, m.Sequences = nil, nil
	} else if err := t.prepare(ctx, m); err != nil {
		return err
	}
	if err := s.bareNames(ctx); err != nil {
		return err
	}
	for i := range m.Tables {
		table := &m.Tables[i]
		err := s.pass(ctx, t, table, o.Progress, func(w io.Writer) io.Writer {
			if rules[table.Name] == nil {
				return w
			}
			return &anonymizingWriter{out: w, d: o.Anonymizer.values, rules: rules[table.Name]}
		})
		if err != nil {
			return err
		}
	}
	if err := t.complete(ctx, m, o.NewTenant); err != nil {
		return err
	}
	if err := t.keepImports(ctx, m, o.NewTenant); err != nil {
		return err
	}
	if o.Keep != nil {
		if err := o.Keep(ctx, t.conn, t.row.ID); err != nil {
			return err
		}
	}
	return t.commit(ctx, o.NewTenant, map[string]any{
		"from": m.Tenant.Slug, "schema": t.row.Schema, "version": m.SchemaVersion, "rows": m.Rows(),
		"schema_only": o.SchemaOnly, "anonymized": o.Anonymizer != nil,
	})
}

// pass copies the rows of one table, a buffer at a time: whoever is slower sets the
// pace. through may change them on the way.
func (s *snapshot) pass(ctx context.Context, t *target, table *Table, progress func(int64),
	through func(io.Writer) io.Writer) error {
	const buffer = 256 << 10
	out, in := io.Pipe()
	type result struct {
		rows, bytes int64
		err         error
	}
	read := make(chan result, 1)
	go func() {
		buffered := bufio.NewWriterSize(in, buffer)
		bytes := int64(0)
		w := &countingWriter{through(buffered), func(n int64) { bytes += n }}
		rows, err := s.copyOut(ctx, table, w)
		if err == nil {
			err = buffered.Flush()
		}
		_ = in.CloseWithError(err) // never fails
		read <- result{rows, bytes, err}
	}()
	var data io.Reader = out
	if progress != nil {
		data = &countingReader{out, progress}
	}
	rows, err := t.fill(ctx, table, data)
	_ = out.CloseWithError(errStopped) // never fails
	source := <-read
	switch {
	case source.err != nil && !errors.Is(source.err, errStopped):
		return source.err
	case err != nil:
		return err
	case rows != source.rows:
		return fmt.Errorf("table %q: %d rows were read, %d written", table.Name, source.rows, rows)
	}
	table.Rows, table.Bytes = rows, table.Bytes+source.bytes
	return nil
}
