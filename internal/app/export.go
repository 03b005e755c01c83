package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/crm/exporter"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/registry"
)

// ExportOptions say what of which tenants is written, and where.
type ExportOptions struct {
	Selection *Selection
	Path      string    // of the file, "-" for Out; its ending says how it is compressed
	Out       io.Writer // stdout
	DryRun    bool      // rows are counted, and none is written

	// Write says what and how. Of it Export itself sets WithTenant, OwnRole and Trusted.
	Write exporter.Options
	// Anonymize replaces what is personal, the same in files of the same Seed, which is
	// random where it is "". The keys of the metadata and the columns that are kept stay.
	Anonymize   bool
	Seed        string
	KeepKeys    []string
	KeepColumns []string
}

// ExportResult is what became of an export.
type ExportResult struct {
	Tenants []registry.Tenant
	Rows    []int64 // of each tenant
	Results []fleet.Result
	Stopped error // why the run ended before its tenants did
	Columns []exporter.Column
	// Anonymized says what was done to the columns, nil where nothing was.
	Anonymized *exporter.Anonymized
	Bytes      int64 // written, as they stand in the file
	Written    bool  // there is a file, or something on stdout
	Elapsed    time.Duration
}

// Total returns the rows of all tenants.
func (r *ExportResult) Total() int64 {
	n := int64(0)
	for _, rows := range r.Rows {
		n += rows
	}
	return n
}

// errNothing says that no tenant could be read, and no file was made.
var errNothing = errors.New("nothing was written")

// Export writes the contacts, conversations or messages of tenants. A tenant that cannot be
// read is told in the result; an error says that there is no file, or none that is whole.
func (a *App) Export(ctx context.Context, o ExportOptions) (*ExportResult, error) {
	conn, err := a.Connect(ctx)
	if err != nil {
		return nil, err
	}
	defer closeConn(ctx, conn)
	tenants, invalid, err := a.Tenants(ctx, conn, o.Selection, registry.Active, registry.Suspended)
	if err != nil {
		return nil, err
	}
	if len(invalid) > 0 {
		a.Notify(InvalidRows{invalid})
	}
	run := &export{app: a, o: o, begun: a.Now()}
	run.result = &ExportResult{Tenants: tenants, Rows: make([]int64, len(tenants))}
	run.o.Write.WithTenant, run.o.Write.OwnRole = !o.Selection.One(), a.ownRole()
	run.o.Write.Trusted = a.Config.TrustedOwners
	if o.Anonymize {
		if o.Seed == "" {
			o.Seed = rand.Text()
		}
		run.o.Write.Anonymize = exporter.NewAnonymizer(o.Seed, o.KeepKeys, o.KeepColumns)
	}
	switch {
	case o.DryRun:
		err = run.measure(ctx, conn, io.Discard)
	case o.Path == "-":
		err = run.write(ctx, conn, o.Out)
	default:
		err = WriteFile(o.Path, 0o600, func(w io.Writer) error { return run.write(ctx, conn, w) })
	}
	run.result.Elapsed = a.Now().Sub(run.begun)
	if errors.Is(err, errNothing) {
		err = nil // the result says why
	}
	return run.result, err
}

// export is an Export under way.
type export struct {
	app    *App
	o      ExportOptions
	begun  time.Time
	result *ExportResult
	file   *exporter.Export
	out    *exportOutput
	fatal  error // that leaves no file
}

// exportOutput counts what is written, and keeps why it could not be.
type exportOutput struct {
	io.Writer

	n    int64
	told func(int64)
	err  error
}

func (w *exportOutput) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	w.n += int64(n)
	w.told(int64(n))
	if err != nil && w.err == nil {
		w.err = err
	}
	return n, err
}

// open looks at the tables of all tenants.
func (e *export) open(ctx context.Context, conn *pgx.Conn, w io.Writer) error {
	sources := make([]exporter.Source, len(e.result.Tenants))
	for i, t := range e.result.Tenants {
		sources[i] = exporter.Source{Slug: t.Slug, Schema: t.Schema}
	}
	var err error
	if e.file, err = exporter.New(ctx, conn, w, sources, e.o.Write); err != nil {
		return err
	}
	e.result.Columns, e.result.Anonymized = e.file.Columns(), e.file.Anonymized()
	return nil
}

// measure counts the rows, and looks whether the format can have them.
func (e *export) measure(ctx context.Context, conn *pgx.Conn, w io.Writer) error {
	if err := e.open(ctx, conn, w); err != nil {
		return err
	}
	return e.each(ctx, fleet.Reuse(conn, e.app.Connect), "count", e.file.Measure)
}

// write writes all tenants to w.
func (e *export) write(ctx context.Context, conn *pgx.Conn, w io.Writer) error {
	e.out = &exportOutput{Writer: w, told: func(int64) {}}
	packed, err := exporter.Compress(e.out, e.o.Path)
	if err != nil {
		return err
	}
	connect := fleet.Reuse(conn, e.app.Connect)
	if e.o.Write.Format == exporter.XLSX {
		if err := e.measure(ctx, conn, packed); err != nil {
			return err
		}
		connect = e.app.Connect
	} else if err := e.open(ctx, conn, packed); err != nil {
		return err
	}
	if err := e.each(ctx, connect, "export", e.file.Tenant); err != nil {
		return err
	}
	if len(e.result.Tenants) > 0 && !e.anyDone() {
		return errNothing
	}
	err = errors.Join(e.file.End(), packed.Close())
	e.result.Bytes, e.result.Written = e.out.n, err == nil
	return err
}

func (e *export) anyDone() bool {
	for _, r := range e.result.Results {
		if r.State == fleet.Done {
			return true
		}
	}
	return false
}

// each does something with one tenant after another. Its error leaves no file that is whole.
func (e *export) each(ctx context.Context, connect Connect, verb string,
	do func(context.Context, *pgx.Conn, exporter.Source) (int64, error)) error {
	names := make([]string, len(e.result.Tenants))
	for i, t := range e.result.Tenants {
		names[i] = t.Slug
	}
	observer, end := e.app.Watch(verb, names)
	if observer == nil && e.out != nil {
		e.out.told, end = e.app.Bytes(verb)
	}
	defer end()
	stop := make(chan struct{})
	results, stopped := fleet.Run(ctx, connect, len(names), fleet.Options{Concurrency: 1, Observer: observer, Drain: stop},
		func(ctx context.Context, conn *pgx.Conn, i int) error {
			t := e.result.Tenants[i]
			n, err := do(ctx, conn, exporter.Source{Slug: t.Slug, Schema: t.Schema})
			if err == nil {
				e.result.Rows[i] = n
			} else if e.fatal == nil && e.ends(err) {
				e.fatal = err
				close(stop)
			}
			return err
		})
	e.result.Results, e.result.Stopped = results, stopped
	switch {
	case e.out != nil && e.out.err != nil:
		return fmt.Errorf("write the file: %w", e.out.err)
	case e.fatal != nil:
		return e.fatal
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return nil
}

// ends reports whether an error is no matter of one tenant.
func (e *export) ends(err error) bool {
	_, cut := errors.AsType[*exporter.CutShortError](err)
	_, full := errors.AsType[*exporter.SheetError](err)
	return cut || full || e.out != nil && e.out.err != nil
}
