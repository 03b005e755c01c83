package backup

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/catalog"
	"github.com/crmctl/crmctl/internal/db"
)

// newTrial is a target that is rolled back, in a schema whose name nobody can guess.
// trusted is what the migrations make; nil where that is still to be found out.
func newTrial(conn *pgx.Conn, m *Manifest, trusted *catalog.Shape) (*target, error) {
	schema, err := db.RegisteredSchema(ownPrefix + "trial_" + strings.ToLower(rand.Text()))
	if err != nil {
		return nil, err
	}
	row := *m.Tenant
	row.Role, row.Schema = "", schema.String()
	t := &target{conn: conn, schema: schema, row: row, trial: true}
	t.own.trusted = trusted
	return t, nil
}

// Try restores a backup of a tenant into a schema of its own, compares the rows of
// every table with those of the file, and rolls everything back. nil says that the file
// restores with these migrations. The registry is not looked at: the tenant may be
// there.
func Try(ctx context.Context, conn *pgx.Conn, in io.Reader, o NewTenant) (*Manifest, error) {
	r, err := NewReader(in)
	if err != nil {
		return nil, err
	}
	m := r.Manifest()
	if m.Kind != KindTenant {
		return nil, fmt.Errorf("%w: the registry, not a tenant", ErrOtherKind)
	}
	t, err := newTrial(conn, m, nil)
	if err != nil {
		return nil, err
	}
	return m, errors.Join(t.try(ctx, r, o), t.undo(ctx))
}

func (t *target) try(ctx context.Context, r *Reader, o NewTenant) error {
	m := r.Manifest()
	if err := t.create(ctx, m, o); err != nil {
		return err
	}
	if err := t.prepare(ctx, m); err != nil {
		return err
	}
	want := map[string]*rowsum{}
	err := fillAll(ctx, r, o.Progress, func(ctx context.Context, table *Table, data io.Reader) (int64, error) {
		into := t.into(table)
		if want[into] == nil {
			want[into] = &rowsum{}
		}
		s := want[into]
		s.order = t.order(table)
		rows, err := t.fill(ctx, table, io.TeeReader(data, s))
		return rows, errors.Join(err, s.end())
	})
	if err != nil {
		return err
	}
	if err := t.checkRecord(ctx, m); err != nil {
		return err
	}
	if err := t.compareRows(ctx, m, want); err != nil {
		return err
	}
	return t.complete(ctx, m, o)
}

// order says where each column of a table of the file is among those of the table that
// its rows go into.
func (t *target) order(table *Table) []int {
	into := t.columnsInto(table)
	out := make([]int, len(into))
	for i, name := range into {
		out[i] = slices.IndexFunc(table.Columns, func(c Column) bool { return c.Name == name })
	}
	return out
}

// columnsInto returns the columns of the table that the rows go into.
func (t *target) columnsInto(table *Table) []string {
	into := t.into(table)
	if into == table.Name {
		out := make([]string, len(table.Columns))
		for i, c := range table.Columns {
			out[i] = c.Name
		}
		return out
	}
	for _, r := range t.there.relations {
		if r.Name == into {
			return r.Columns
		}
	}
	return nil
}

// compareRows reads the tables back.
func (t *target) compareRows(ctx context.Context, m *Manifest, want map[string]*rowsum) error {
	done := map[string]bool{}
	for i := range m.Tables {
		table := &m.Tables[i]
		into := t.into(table)
		if done[into] {
			continue
		}
		done[into] = true
		columns := t.columnsInto(table)
		from := Table{Name: into}
		for _, c := range columns {
			from.Columns = append(from.Columns, Column{Name: c})
		}
		got := &rowsum{}
		read := "copy " + copyTarget(t.schema, &from, t.bare) + " to stdout"
		if into != table.Name { // the rows lie in partitions
			read = "copy (select " + columnList(&from) + " from " + tableName(t.schema, into, t.bare) + ") to stdout"
		}
		if _, err := t.conn.PgConn().CopyTo(ctx, got, read); err != nil {
			return fmt.Errorf("read table %q back: %w", into, err)
		}
		if err := got.end(); err != nil {
			return err
		}
		if got.rows != want[into].rows || got.total.Cmp(&want[into].total) != 0 {
			return fmt.Errorf("%w: the rows of table %q come back as others", ErrMismatch, table.Name)
		}
	}
	return nil
}

// rowsum is a sum over the rows of COPY text in any order: equal sums are equal rows.
type rowsum struct {
	order []int // of the fields, nil as they come
	rows  int64
	total big.Int
	rest  []byte
}

// Write implements io.Writer.
func (s *rowsum) Write(p []byte) (int, error) {
	n := len(p)
	for {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			s.rest = append(s.rest, p...)
			return n, nil
		}
		line := p[:i]
		if len(s.rest) > 0 {
			s.rest = append(s.rest, line...)
			line = s.rest
		}
		s.add(line)
		s.rest, p = s.rest[:0], p[i+1:]
	}
}

func (s *rowsum) add(line []byte) {
	if s.order != nil && !slices.IsSorted(s.order) {
		fields := bytes.Split(line, []byte{'\t'})
		if len(fields) == len(s.order) {
			sorted := make([][]byte, len(fields))
			for i, at := range s.order {
				sorted[i] = fields[max(at, 0)]
			}
			line = bytes.Join(sorted, []byte{'\t'})
		}
	}
	sum := sha256.Sum256(line)
	s.total.Add(&s.total, new(big.Int).SetBytes(sum[:]))
	s.rows++
}

func (s *rowsum) end() error {
	if len(s.rest) > 0 {
		return corrupt("a table ends within a row")
	}
	return nil
}

// prove writes a backup that is known to restore, or none.
func (s *snapshot) prove(ctx context.Context, out io.Writer, o WriteOptions) error {
	at := s.manifest.Structure
	switch {
	case at == nil:
		return fmt.Errorf("%w: what its migrations make was not asked", ErrNotRestorable)
	case at.From == FromMigrations:
		return s.write(ctx, out, o)
	case at.Unproven != "":
		return fmt.Errorf("%w for sure: %s", ErrNotRestorable, at.Unproven)
	case len(at.Code) > 0:
		return fmt.Errorf("%w without trust in it: %w", ErrNotRestorable, &CodeError{Objects: at.Code})
	}
	st := o.Structures
	conn, err := st.Connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	read, copied := io.Pipe()
	tried := make(chan error, 1)
	go func() {
		_, err := Try(ctx, conn, read, st.NewTenant)
		// The writer goes on to its end whatever becomes of the trial.
		_, drained := io.Copy(io.Discard, read)
		tried <- errors.Join(err, drained)
	}()
	err = s.write(ctx, io.MultiWriter(out, copied), o)
	_ = copied.CloseWithError(err) // never fails
	if failed := <-tried; err == nil && failed != nil {
		return fmt.Errorf("%w: %w", ErrNotRestorable, failed)
	}
	return err
}
