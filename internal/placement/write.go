package placement

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/crmctl/crmctl/internal/registry"
)

// Format is how a placement is written.
type Format string

// JSON and CSV are for an application, PgDog is the part of a pgdog.toml that says which
// schema is on which shard.
const (
	JSON  Format = "json"
	CSV   Format = "csv"
	PgDog Format = "pgdog"
)

// Formats returns all.
func Formats() []Format { return []Format{JSON, CSV, PgDog} }

// SocketError says that a router cannot reach a database.
type SocketError struct{ Side registry.Side }

// Error says why.
func (e *SocketError) Error() string {
	return fmt.Sprintf("%s is reached through a socket, which a router cannot", Name(e.Side))
}

// Write writes the placement. name is what clients of a router call the database, for PgDog
// alone. The errors of that are a *SocketError, and a *TwiceError where a schema stands in two
// databases: before anything is written.
func Write(w io.Writer, p Placement, format Format, name string) error {
	switch format {
	case JSON:
		return writeJSON(w, p)
	case CSV:
		return writeCSV(w, p)
	case PgDog:
		return writePgDog(w, p, name)
	}
	return errors.New("placement: unknown format " + string(format))
}

type jsonDatabase struct {
	Database       string `json:"database"`
	Host           string `json:"host"`
	Port           int    `json:"port"`
	Profile        string `json:"profile"`
	RegistrySchema string `json:"registry_schema"`
}

type jsonTenant struct {
	Tenant        string `json:"tenant"`
	ID            string `json:"id"`
	Status        string `json:"status"`
	Schema        string `json:"schema"`
	SchemaVersion int64  `json:"schema_version"`
	Role          string `json:"role,omitempty"`
	Profile       string `json:"profile"`
	Host          string `json:"host"`
	Port          int    `json:"port"`
	Database      string `json:"database"`
}

func writeJSON(w io.Writer, p Placement) error {
	out := struct {
		Version   int            `json:"version"`
		Databases []jsonDatabase `json:"databases"`
		Tenants   []jsonTenant   `json:"tenants"`
	}{1, []jsonDatabase{}, []jsonTenant{}}
	for _, d := range p.Databases {
		out.Databases = append(out.Databases, jsonDatabase{d.Database, d.Host, d.Port, d.Profile, d.Registry})
	}
	for _, t := range p.Tenants {
		d := p.Databases[t.Database]
		out.Tenants = append(out.Tenants, jsonTenant{t.Slug, t.ID, string(t.Status), t.Schema.String(), t.Version, t.Role,
			d.Profile, d.Host, d.Port, d.Database})
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(out)
}

func writeCSV(w io.Writer, p Placement) error {
	out := csv.NewWriter(w)
	rows := [][]string{{"tenant", "id", "status", "schema", "schema_version", "role", "profile", "host", "port",
		"database"}}
	for _, t := range p.Tenants {
		d := p.Databases[t.Database]
		rows = append(rows, []string{t.Slug, t.ID, string(t.Status), t.Schema.String(), strconv.FormatInt(t.Version, 10),
			t.Role, d.Profile, d.Host, strconv.Itoa(d.Port), d.Database})
	}
	return out.WriteAll(rows)
}

func writePgDog(w io.Writer, p Placement, name string) error {
	schemas := map[string]int{}
	for _, t := range p.Tenants {
		if other, twice := schemas[t.Schema.String()]; twice {
			return p.twice("schema", t.Schema.String(), other, t.Database)
		}
		schemas[t.Schema.String()] = t.Database
	}
	var text strings.Builder
	text.WriteString("# Where each tenant lives, for pgdog.toml, by crmctl placement export.\n" +
		"# Users and passwords belong into users.toml.\n")
	for i, d := range p.Databases {
		if local(d.Host) {
			return &SocketError{d}
		}
		text.WriteString("\n[[databases]]\nname = " + tomlString(name) + "\nhost = " + tomlString(d.Host) + "\nport = " +
			strconv.Itoa(d.Port) + "\ndatabase_name = " + tomlString(d.Database) + "\nshard = " + strconv.Itoa(i) + "\n")
	}
	for _, t := range p.Tenants {
		text.WriteString("\n[[sharded_schemas]]\ndatabase = " + tomlString(name) + "\nname = " +
			tomlString(t.Schema.String()) + "\nshard = " + strconv.Itoa(t.Database) + "\n")
	}
	_, err := io.WriteString(w, text.String())
	return err
}

// tomlString returns a text as a basic string of TOML.
func tomlString(text string) string {
	var out strings.Builder
	out.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			out.WriteRune('\\')
			out.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&out, `\u%04X`, r)
		default:
			out.WriteRune(r)
		}
	}
	out.WriteByte('"')
	return out.String()
}
