package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"filippo.io/age"
	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/owner"
	"github.com/crmctl/crmctl/internal/planted"
	"github.com/crmctl/crmctl/internal/registry"
)

// WriteOptions say how a backup is taken.
type WriteOptions struct {
	Limits

	Registry registry.Registry
	Program  string // "crmctl 1.2.0"
	Host     string // where it runs
	User     string // of that system
	// Structures knows what the migrations make; nil says nothing of the structure.
	Structures *Structures
	// Prove wants to know that the file restores, and gives none where it does not: the
	// tenant is what its migrations make, or what is written is restored at the same
	// time, compared row by row, and rolled back.
	Prove bool
	// Judge refuses a tenant that a restore would refuse, as NewTenant.Judge does.
	Judge    func(t Tenant) error
	Progress func(n int64) // is told how many bytes of COPY text came; may be nil
}

// Write takes a backup of one tenant on a connection and writes it to out. The
// connection is read only meanwhile.
func Write(ctx context.Context, conn *pgx.Conn, src Source, out io.Writer, o WriteOptions) (*Manifest, error) {
	var m *Manifest
	err := inSnapshot(ctx, conn, src.Schema, nil, o.Limits, func(ctx context.Context, s *snapshot) error {
		if err := s.readTenant(ctx, o.Registry, src); err != nil {
			return err
		}
		if o.Judge != nil {
			if err := o.Judge(*s.manifest.Tenant); err != nil {
				return fmt.Errorf("%w: %w", ErrNotRestorable, err)
			}
		}
		if err := s.readStructure(ctx, o.Structures); err != nil {
			return err
		}
		m = &s.manifest
		m.Accepted = src.Accepted
		if o.Prove {
			return s.prove(ctx, out, o)
		}
		return s.write(ctx, out, o)
	})
	return m, err
}

// WriteRegistry takes a backup of the given tables of public.
func WriteRegistry(ctx context.Context, conn *pgx.Conn, tables []string, version int64, out io.Writer,
	o WriteOptions) (*Manifest, error) {
	var m *Manifest
	err := inSnapshot(ctx, conn, o.Registry.Schema(), tables, o.Limits, func(ctx context.Context, s *snapshot) error {
		m = &s.manifest
		m.Kind, m.SchemaVersion, m.Versions = KindRegistry, version, []Version{}
		return s.write(ctx, out, o)
	})
	return m, err
}

func (s *snapshot) write(ctx context.Context, out io.Writer, o WriteOptions) error {
	s.manifest.Program = o.Program
	s.manifest.By = &Origin{Role: s.role, Host: o.Host, User: o.User}
	w, err := newWriter(out, &s.manifest)
	if err != nil {
		return err
	}
	if err := s.bareNames(ctx); err != nil {
		return err
	}
	for i := range s.manifest.Tables {
		t := &s.manifest.Tables[i]
		err := w.table(func(data io.Writer) (int64, error) {
			if o.Progress != nil {
				data = &countingWriter{data, o.Progress}
			}
			return s.copyOut(ctx, t, data)
		})
		if err != nil {
			return err
		}
	}
	if err := w.finish(); err != nil {
		return fmt.Errorf("end the backup: %w", err)
	}
	return nil
}

type countingWriter struct {
	out  io.Writer
	tell func(n int64)
}

// Write implements io.Writer.
func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.out.Write(p)
	c.tell(int64(n))
	return n, err
}

// CreateOptions say how backups are put into a directory.
type CreateOptions struct {
	WriteOptions

	Recipients []age.Recipient // who may open the files; none = not encrypted
	// Dump, if not nil, writes the data in the format of pg_dump instead, on a
	// connection of its own.
	Dump func(ctx context.Context, src Source, out io.Writer) error
	// Audit adds a row of the audit to a pipeline. It is called when the file is
	// there; a standby cannot take the row, and has none.
	Audit func(p *db.Pipeline, e registry.Event) error
}

// Written is a backup that was put into a directory.
type Written struct {
	File     string // its name in the directory
	Size     int64
	Manifest *Manifest // nil where Dump wrote it
	// Unaudited tells that the server is a standby, which keeps no audit.
	Unaudited bool
}

// Create puts a backup of one tenant into a directory: the whole file under its
// name, flushed to the disk, or nothing. The audit follows in a transaction of its
// own.
func (d *Dir) Create(ctx context.Context, conn *pgx.Conn, src Source, o CreateOptions) (Written, error) {
	out, err := d.create(ctx, conn, src, o)
	if err != nil {
		return out, err
	}
	err = d.audit(ctx, conn, src, &out, o)
	return out, err
}

func (d *Dir) create(ctx context.Context, conn *pgx.Conn, src Source, o CreateOptions) (out Written, err error) {
	name := Name{Slug: src.Slug, Format: FormatContainer, Encrypted: len(o.Recipients) > 0}
	if o.Dump != nil {
		name.Format = FormatPgDump
	}
	out.File, out.Size, err = d.write(&name, o.Recipients, func(w io.Writer) error {
		if o.Dump != nil {
			roles, err := owner.Read(ctx, conn, []db.Schema{src.Schema})
			if err != nil {
				return err
			}
			src.role = roles.Of(src.Schema).Reads()
			version, at, err := readVersion(ctx, conn, src)
			if err != nil {
				return err
			}
			name.TakenAt, name.Version = at, version
			return o.Dump(ctx, src, w)
		}
		m, err := Write(ctx, conn, src, w, o.WriteOptions)
		if err != nil {
			return err
		}
		out.Manifest, name.TakenAt, name.Version = m, m.TakenAt, m.SchemaVersion
		return nil
	})
	return out, err
}

// CreateRegistry puts a backup of the registry into a directory.
func (d *Dir) CreateRegistry(ctx context.Context, conn *pgx.Conn, tables []string, version int64,
	o CreateOptions) (out Written, err error) {
	name := Name{Version: version, Format: FormatContainer, Encrypted: len(o.Recipients) > 0}
	out.File, out.Size, err = d.write(&name, o.Recipients, func(w io.Writer) error {
		m, err := WriteRegistry(ctx, conn, tables, version, w, o.WriteOptions)
		if err != nil {
			return err
		}
		out.Manifest, name.TakenAt = m, m.TakenAt
		return nil
	})
	return out, err
}

// readVersion returns the newest version of a tenant's schema and the time of the
// server.
func readVersion(ctx context.Context, conn *pgx.Conn, src Source) (version int64, at time.Time, err error) {
	err = db.InTx(ctx, conn, db.Locals{}, func(ctx context.Context, q db.Querier) error {
		var p db.Pipeline
		planted.QueueReadAs(&p, []planted.Table{{Schema: src.Schema.String(), Name: versionTable,
			Columns: []string{"version_id", "is_applied"}}}, src.role)
		p.Become(src.role)
		p.QueryRow([]any{&version, &at}, "select coalesce(max(version_id), 0), pg_catalog.now() from "+
			qualified(src.Schema, versionTable)+" where is_applied")
		return p.Run(ctx, q)
	})
	if err != nil {
		return 0, at, fmt.Errorf("read the version of tenant %q: %w", src.Slug, db.Plain(err))
	}
	return version, at, nil
}

// audit tells the registry of a backup.
func (d *Dir) audit(ctx context.Context, conn *pgx.Conn, src Source, out *Written, o CreateOptions) error {
	detail := map[string]any{"file": out.File, "bytes": out.Size}
	if m := out.Manifest; m != nil {
		detail["version"], detail["rows"], detail["lsn"] = m.SchemaVersion, m.Rows(), m.LSN
	}
	var p db.Pipeline
	p.Begin(db.Locals{LockTimeout: o.LockTimeout})
	err := o.Audit(&p, registry.Event{TenantID: src.ID, Slug: src.Slug, Detail: detail})
	if err == nil {
		err = db.Plain(p.Run(ctx, conn))
	}
	if err != nil {
		err = errors.Join(err, db.Rollback(ctx, conn))
	} else {
		err = db.Commit(ctx, conn)
	}
	if db.SQLState(err) == db.CodeReadOnlyTransaction {
		out.Unaudited = true
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s is there, but the audit could not be told: %w", d.Path(out.File), err)
	}
	return nil
}

// CreateMany takes backups of many tenants over several connections. A result
// belongs to the source at the same index. The error says why the run ended before its
// sources did, as fleet.Run returns it.
func (d *Dir) CreateMany(ctx context.Context, connect func(context.Context) (*pgx.Conn, error), sources []Source,
	o CreateOptions,
	run fleet.Options,
) ([]Written, []fleet.Result, error) {
	written := make([]Written, len(sources))
	results, err := fleet.Run(ctx, connect, len(sources), run, func(ctx context.Context, conn *pgx.Conn,
		i int) (err error) {
		if written[i].File != "" {
			return d.audit(ctx, conn, sources[i], &written[i], o) // only that failed before
		}
		written[i], err = d.Create(ctx, conn, sources[i], o)
		return err
	})
	return written, results, err
}
