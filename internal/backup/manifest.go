package backup

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/crmctl/crmctl/internal/registry"
)

// FormatVersion is the version of the container that this package writes. It
// reads that one and every older.
const FormatVersion = 1

// Kind is what a container holds.
type Kind string

// Kinds of containers.
const (
	KindTenant   Kind = "tenant"
	KindRegistry Kind = "registry"
)

// Manifest says what a container holds. At the head of a file its counts and
// checksums are empty, since they are known at the end, where it stands again.
type Manifest struct {
	Kind Kind `json:"kind"`
	// Tenant is the registry's row, nil in a backup of the registry.
	Tenant *Tenant `json:"tenant,omitempty"`
	// SchemaVersion is the newest of Versions, which are the migrations that the
	// schema had, in the order in which they were applied.
	SchemaVersion int64     `json:"schema_version"`
	Versions      []Version `json:"versions"`
	Server        Server    `json:"server"`
	Program       string    `json:"program"` // "crmctl 1.2.0"
	By            *Origin   `json:"by,omitempty"`
	TakenAt       time.Time `json:"taken_at"`
	LSN           string    `json:"lsn"` // of the log, just before the snapshot
	// Tables are in the order of the data: a table comes after those that its
	// foreign keys refer to.
	Tables    []Table    `json:"tables"`
	Sequences []Sequence `json:"sequences"`
	// Structure says what structure the rows need; nil in a file that does not tell.
	Structure *Structure `json:"structure,omitempty"`
	// Unfilled are the materialized views that had not been filled.
	Unfilled []string `json:"unfilled,omitempty"`
	// Comment is what somebody has said of the schema, which no migration makes.
	Comment string `json:"schema_comment,omitempty"`
	// Accepted is in what the tenant is not what its migrations make, on purpose.
	Accepted []Accepted `json:"accepted,omitempty"`
	// Imports are what was imported, the newest first.
	Imports []registry.SavedImport `json:"imports,omitempty"`
	// LeftOut is what belongs to the tenant and is not in the file.
	LeftOut []string `json:"left_out,omitempty"`
}

// Tenant is a row of the registry.
type Tenant struct {
	ID          string          `json:"id"`
	Slug        string          `json:"slug"`
	DisplayName string          `json:"display_name"`
	Schema      string          `json:"schema"`
	Status      string          `json:"status"`
	Role        string          `json:"role,omitempty"`
	Settings    json.RawMessage `json:"settings"`
	CreatedAt   time.Time       `json:"created_at"`
}

// Accepted is an object in which a tenant differs from its migrations, with the definition
// that is wanted, as the registry keeps it.
type Accepted struct {
	Change string    `json:"change"` // missing, extra or different
	Kind   string    `json:"kind"`
	Parent string    `json:"parent,omitempty"`
	Name   string    `json:"name"`
	Found  string    `json:"found,omitempty"`
	Reason string    `json:"reason"`
	Actor  string    `json:"actor"`
	At     time.Time `json:"accepted_at"`
}

// Version is a row of goose_db_version.
type Version struct {
	Version   int64  `json:"version"`
	Applied   bool   `json:"applied"`
	AppliedAt string `json:"applied_at"` // without a zone, as goose keeps it
}

// Server is where a backup was taken.
type Server struct {
	Version  string `json:"version"`  // "15.18"
	Number   int    `json:"number"`   // 150018
	Encoding string `json:"encoding"` // of the database; the container is UTF-8
	Database string `json:"database"`
}

// Table is a table and its data.
type Table struct {
	Name    string   `json:"name"`
	Columns []Column `json:"columns"`
	// Root is the partitioned table that the table is a part of, and Bound which part.
	Root  string `json:"root,omitempty"`
	Bound string `json:"bound,omitempty"`

	Rows   int64  `json:"rows"`
	Bytes  int64  `json:"bytes"`  // of the COPY stream, uncompressed
	SHA256 string `json:"sha256"` // of the COPY stream, in hexadecimal
}

// Column is a column that COPY carries. Generated ones are left out.
type Column struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// Sequence is where a sequence stands.
type Sequence struct {
	Name      string `json:"name"`
	LastValue int64  `json:"last_value"`
	IsCalled  bool   `json:"is_called"`
}

// Rows returns the number of rows of all tables.
func (m *Manifest) Rows() (n int64) {
	for i := range m.Tables {
		n += m.Tables[i].Rows
	}
	return n
}

// Bytes returns the size of the data, uncompressed.
func (m *Manifest) Bytes() (n int64) {
	for i := range m.Tables {
		n += m.Tables[i].Bytes
	}
	return n
}

// Applied returns the versions of the migrations that the schema had.
func (m *Manifest) Applied() []int64 {
	var out []int64
	for _, v := range m.Versions {
		if v.Applied && v.Version > 0 {
			out = append(out, v.Version)
		}
	}
	return out
}

// check refuses a manifest that this package would not have written: whatever
// stands in a file may come from anybody.
func (m *Manifest) check() error {
	switch m.Kind {
	case KindTenant:
		if m.Tenant == nil {
			return corrupt("the manifest names no tenant")
		}
		if err := m.Tenant.check(); err != nil {
			return err
		}
	case KindRegistry:
		if m.Tenant != nil {
			return corrupt("a registry's manifest names a tenant")
		}
	default:
		return corrupt("a container of the unknown kind %q", m.Kind)
	}
	if err := m.checkVersions(); err != nil {
		return err
	}
	if m.Structure != nil {
		if err := m.Structure.check(); err != nil {
			return err
		}
	}
	if err := m.checkImports(); err != nil {
		return err
	}
	seen := make(map[string]bool, len(m.Tables)+len(m.Sequences))
	for _, t := range m.Tables {
		if err := checkName(t.Name, seen); err != nil {
			return err
		}
		columns := make(map[string]bool, len(t.Columns))
		for _, c := range t.Columns {
			if err := checkName(c.Name, columns); err != nil {
				return err
			}
		}
	}
	for _, s := range m.Sequences {
		if err := checkName(s.Name, seen); err != nil {
			return err
		}
	}
	return nil
}

func (t *Tenant) check() error {
	if err := checkSlug(t.Slug); err != nil {
		return err
	}
	if err := checkPlace(t.Schema); err != nil {
		return err
	}
	if !slices.Contains(states(), t.Status) {
		return corrupt("%q is no state of a tenant", t.Status)
	}
	for what, text := range map[string]string{"display name": t.DisplayName, "role": t.Role, "id": t.ID} {
		if !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
			return corrupt("the tenant's %s is no text: %q", what, text)
		}
	}
	var settings map[string]any
	if err := json.Unmarshal(t.Settings, &settings); err != nil || settings == nil {
		return corrupt("the tenant's settings are no object")
	}
	return nil
}

// checkSlug refuses what is no tenant's name, most of all what would lead out of a
// directory.
func checkSlug(slug string) error {
	const longest = 100
	if slug == "" || len(slug) > longest || !utf8.ValidString(slug) || strings.HasPrefix(slug, "-") {
		return corrupt("%q is no name of a tenant", slug)
	}
	for _, r := range slug {
		if r != '-' && !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r) {
			return corrupt("%q is no name of a tenant", slug)
		}
	}
	return nil
}

// checkName refuses what is no identifier, or one for the second time.
func checkName(name string, seen map[string]bool) error {
	const longest = 63
	if name == "" || len(name) > longest || !utf8.ValidString(name) || strings.ContainsRune(name, 0) {
		return corrupt("%q is no name of a table, column or sequence", name)
	}
	if seen[name] {
		return corrupt("%q stands twice in the manifest", name)
	}
	seen[name] = true
	return nil
}

// corrupt returns an error that wraps ErrCorrupt.
func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, args...))
}
