package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

// ErrDiffers says that two copies of a tenant are not the same.
var ErrDiffers = errors.New("the copy is not what the tenant is")

// TransferOptions say how a tenant is copied into another registry.
type TransferOptions struct {
	NewTenant // there

	From       registry.Registry
	Structures *Structures // of where it comes from
}

// Transfer copies a tenant into another registry, under its own name and id, in the status
// Incoming. The rows go from a snapshot on one connection into a transaction on the other as they
// come; the copy is whole or absent. Errors are those of Clone.
func Transfer(ctx context.Context, from, to *pgx.Conn, src Source, o TransferOptions) (*Made, error) {
	var made *Made
	err := inSnapshot(ctx, from, src.Schema, nil, o.Limits, func(ctx context.Context, s *snapshot) error {
		if err := s.readTenant(ctx, o.From, src); err != nil {
			return err
		}
		if err := s.readStructure(ctx, o.Structures); err != nil {
			return err
		}
		m := &s.manifest
		t, err := newTarget(to, *m.Tenant, "")
		if err != nil {
			return err
		}
		t.row.Status = string(registry.Incoming)
		if err := s.transferInto(ctx, t, o); err != nil {
			return errors.Join(err, t.undo(ctx))
		}
		made = &Made{Tenant: t.row, Version: m.SchemaVersion, Rows: m.Rows(), Bytes: m.Bytes(), Manifest: m}
		return nil
	})
	return made, err
}

func (s *snapshot) transferInto(ctx context.Context, t *target, o TransferOptions) error {
	m := &s.manifest
	if err := t.create(ctx, m, o.NewTenant); err != nil {
		return err
	}
	if t.ghost || t.row.ID != m.Tenant.ID {
		return &registry.ExistsError{Slug: t.row.Slug, Schema: t.schema, Registered: true}
	}
	if err := t.prepare(ctx, m); err != nil {
		return err
	}
	if err := s.bareNames(ctx); err != nil {
		return err
	}
	for i := range m.Tables {
		err := s.pass(ctx, t, &m.Tables[i], o.Progress, func(w io.Writer) io.Writer { return w })
		if err != nil {
			return err
		}
	}
	if err := t.complete(ctx, m, o.NewTenant); err != nil {
		return err
	}
	return t.commit(ctx, o.NewTenant, map[string]any{"step": "copy", "schema": t.row.Schema, "version": m.SchemaVersion,
		"rows": m.Rows()})
}

// Compare reads the same tenant in two databases and compares every row by its hash, and
// the sequences. It returns how many rows there are. The error wraps ErrDiffers and
// names what differs.
func Compare(ctx context.Context, one, other *pgx.Conn, schema db.Schema, l Limits,
	progress func(n int64)) (rows int64, err error) {
	var sums [2]map[string]*rowsum
	var at [2][]Sequence
	group, ctx := errgroup.WithContext(ctx)
	for i, conn := range []*pgx.Conn{one, other} {
		group.Go(func() error {
			return inSnapshot(ctx, conn, schema, nil, l, func(ctx context.Context, s *snapshot) (err error) {
				at[i] = s.manifest.Sequences
				sums[i], err = s.sums(ctx, progress)
				return err
			})
		})
	}
	if err := group.Wait(); err != nil {
		return 0, err
	}
	var wrong []string
	for name, here := range sums[0] {
		there, ok := sums[1][name]
		switch rows += here.rows; {
		case !ok && here.rows == 0: // a partition that nobody wrote to
		case !ok:
			wrong = append(wrong, fmt.Sprintf("no table %q", name))
		case here.rows != there.rows:
			wrong = append(wrong, fmt.Sprintf("table %q has %d rows, not %d", name, there.rows, here.rows))
		case here.total.Cmp(&there.total) != 0:
			wrong = append(wrong, fmt.Sprintf("rows of table %q differ", name))
		}
	}
	for name, there := range sums[1] {
		if _, ok := sums[0][name]; !ok && there.rows > 0 {
			wrong = append(wrong, fmt.Sprintf("table %q is too much", name))
		}
	}
	for _, q := range at[0] {
		if k := slices.IndexFunc(at[1], func(x Sequence) bool { return x.Name == q.Name }); k >= 0 && at[1][k] != q {
			wrong = append(wrong, fmt.Sprintf("sequence %q is at another value", q.Name))
		}
	}
	if len(wrong) > 0 {
		slices.Sort(wrong)
		return rows, fmt.Errorf("%w: %s", ErrDiffers, few(wrong))
	}
	return rows, nil
}

// sums returns the sum of the rows of each table, those of partitions under the name of
// the table that they are parts of: which rows lie in which may differ.
func (s *snapshot) sums(ctx context.Context, progress func(n int64)) (map[string]*rowsum, error) {
	out := map[string]*rowsum{}
	if err := s.bareNames(ctx); err != nil {
		return nil, err
	}
	for i := range s.manifest.Tables {
		t := &s.manifest.Tables[i]
		name := t.Name
		if t.Root != "" {
			name = t.Root
		}
		if out[name] == nil {
			out[name] = &rowsum{}
		}
		sum := out[name]
		sum.order = byName(t.Columns)
		var w io.Writer = sum
		if progress != nil {
			w = &countingWriter{w, progress}
		}
		if _, err := s.copyOut(ctx, t, w); err != nil {
			return nil, err
		}
		if err := sum.end(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// byName returns the places of columns in the order of their names.
func byName(columns []Column) []int {
	out := make([]int, len(columns))
	for i := range out {
		out[i] = i
	}
	slices.SortFunc(out, func(a, b int) int { return strings.Compare(columns[a].Name, columns[b].Name) })
	return out
}
