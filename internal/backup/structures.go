package backup

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/catalog"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

// Where the structure of a tenant comes from when it is restored.
const (
	// FromMigrations says that the tenant was what the files of its versions make.
	FromMigrations = "migrations"
	// FromFile says that it was not, and that its own structure is in the file.
	FromFile = "file"
)

// Structure says what structure the rows of a backup need, and where it comes from.
type Structure struct {
	From        string `json:"from"`        // FromMigrations or FromFile
	Fingerprint string `json:"fingerprint"` // of package catalog, in hexadecimal, of the server's major version
	// Differs are the first differences from what the migrations make.
	Differs []string `json:"differs,omitempty"`
	// Code is what of it somebody wrote who is not the migrations and that is run by
	// whoever uses the tables. Such a file is restored only where it is trusted.
	Code []string `json:"code,omitempty"`
	// Unproven says why it is not known whether the structure can be made.
	Unproven string `json:"unproven,omitempty"`
	// Shape is the structure itself, with FromFile.
	Shape *catalog.Shape `json:"shape,omitempty"`
}

// Origin says who made a file.
type Origin struct {
	Role string `json:"role"`           // of the database session
	Host string `json:"host,omitempty"` // where the program ran
	User string `json:"user,omitempty"` // of that system
}

// ErrNotRestorable says that a tenant could not be restored from a backup, so that none
// is made.
var ErrNotRestorable = errors.New("it could not be restored from a backup")

// rights are the kinds that no backup holds: roles belong to the cluster, and no file
// says who may do what.
func rights() []catalog.Kind {
	return []catalog.Kind{catalog.KindGrant, catalog.KindDefaultPrivileges, catalog.KindOwner}
}

// Structures knows what migrations make, and whether what they do not make can be made
// from the catalog. It is shared by all tenants of a run, and asks about each set of
// versions, and about each structure, once.
type Structures struct {
	// Connect opens a connection that may write: what is tried is rolled back.
	Connect func(ctx context.Context) (*pgx.Conn, error)
	// NewTenant has what makes a schema of versions.
	NewTenant

	mu     sync.Mutex
	made   map[string]*madeShape
	proven map[catalog.Fingerprint]*Structure
}

// madeShape is what migrations make, or why that is not known.
type madeShape struct {
	shape *catalog.Shape
	sum   catalog.Fingerprint
	err   error
}

// expected returns what the files of versions make. The caller holds mu.
func (st *Structures) expected(ctx context.Context, versions []int64) *madeShape {
	k := fmt.Sprint(versions)
	if known := st.made[k]; known != nil {
		return known
	}
	found := &madeShape{}
	script, err := st.Build(versions)
	if err == nil {
		found.shape, err = st.build(ctx, script)
	}
	if err != nil {
		found.err = err
		if ctx.Err() != nil || db.Retryable(err) || db.ConnectionLost(err) {
			return found
		}
	} else {
		found.sum = found.shape.Fingerprint()
	}
	if st.made == nil {
		st.made = map[string]*madeShape{}
	}
	st.made[k] = found
	return found
}

func (st *Structures) build(ctx context.Context, script []db.Statement) (*catalog.Shape, error) {
	conn, err := st.Connect(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	return catalog.Build(ctx, conn, script, catalog.Options{Registry: st.Registry, LockTimeout: st.LockTimeout,
		Direct: st.Direct})
}

// readStructure says in the manifest what structure the rows need. The error wraps
// ErrNotRestorable where that cannot be had again.
func (s *snapshot) readStructure(ctx context.Context, st *Structures) error {
	if st == nil {
		return nil
	}
	st.mu.Lock()
	want := st.expected(ctx, s.manifest.Applied())
	st.mu.Unlock()
	target := catalog.Target{Schema: s.schema, Role: s.manifest.Tenant.Role,
		Tablespace: registry.TablespaceOf(s.manifest.Tenant.Settings)}
	if want.err == nil {
		sum, err := catalog.FingerprintWithin(ctx, s.conn, target, catalog.Options{})
		if err != nil {
			return err
		}
		if sum == want.sum {
			s.manifest.Structure = &Structure{From: FromMigrations, Fingerprint: hex.EncodeToString(sum[:])}
			return nil
		}
	}
	got, err := catalog.ReadWithin(ctx, s.conn, target, catalog.Options{})
	if err != nil {
		return err
	}
	own := got.Without(rights()...)
	sum := own.Fingerprint()
	out := &Structure{From: FromFile, Fingerprint: hex.EncodeToString(sum[:]), Shape: own}
	s.manifest.Structure = out
	if want.err != nil {
		for _, o := range got.Objects {
			if slices.Contains(rights(), o.Kind) {
				s.leaveOut(o.Subject())
			}
		}
		out.Unproven = "it is not known what the migrations make: " + db.Text(want.err)
		return restorable(own)
	}
	const told = 5
	for _, d := range catalog.Diff(want.shape, got) {
		if slices.Contains(rights(), d.Object.Kind) && d.Change != catalog.Missing {
			s.leaveOut(d.Subject())
		}
	}
	trusted := want.shape.Without(rights()...)
	if trusted.Fingerprint() == sum {
		out.From, out.Shape = FromMigrations, nil
		return nil
	}
	out.Differs = catalog.Subjects(catalog.Diff(trusted, own), told)
	if err := restorable(own); err != nil {
		return err
	}
	return st.try(ctx, out, want.shape, &s.manifest)
}

// leaveOut says that something of the tenant is not in the file.
func (s *snapshot) leaveOut(what string) {
	if !slices.Contains(s.manifest.LeftOut, what) {
		s.manifest.LeftOut = append(s.manifest.LeftOut, what)
	}
}

func restorable(own *catalog.Shape) error {
	if _, err := own.DDL(); err != nil {
		return fmt.Errorf("%w: it is not what its migrations make, and %w", ErrNotRestorable, err)
	}
	return nil
}

// try makes the structure in a schema that is rolled back. Of tenants that differ in
// the same way one is tried.
func (st *Structures) try(ctx context.Context, out *Structure, trusted *catalog.Shape, m *Manifest) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	sum := out.Shape.Fingerprint()
	if known := st.proven[sum]; known != nil {
		out.Code, out.Unproven = known.Code, known.Unproven
		return nil
	}
	conn, err := st.Connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	t, err := newTrial(conn, m, trusted)
	if err != nil {
		return err
	}
	err = errors.Join(t.tryStructure(ctx, m, st.NewTenant), t.undo(ctx))
	switch {
	case errors.Is(err, ErrNoRole), errors.Is(err, ErrSpread):
		out.Unproven = db.Text(err)
	case err != nil:
		return fmt.Errorf("%w: %w", ErrNotRestorable, err)
	}
	out.Code = t.code
	if st.proven == nil {
		st.proven = map[catalog.Fingerprint]*Structure{}
	}
	st.proven[sum] = &Structure{Code: out.Code, Unproven: out.Unproven}
	return nil
}
