package app

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/cluster"
	"github.com/crmctl/crmctl/internal/crm/importer"
	"github.com/crmctl/crmctl/internal/crm/phone"
	"github.com/crmctl/crmctl/internal/registry"
)

// SettingRegion is the setting of a tenant that says where its phone numbers are from.
const SettingRegion = "region"

// ParseRegion returns the country of two letters that a text names, in upper case.
// The error is an *InputError.
func ParseRegion(text string) (string, error) {
	if country := strings.ToUpper(text); phone.Known(country) {
		return country, nil
	}
	return "", inputErrorf("%q is no country; give its two letters, such as DE", text)
}

// regionOf returns the country of a tenant's phone numbers: as asked, or as the
// tenant's settings have it, or "".
func regionOf(asked string, t registry.Tenant) (string, error) {
	if asked != "" {
		return ParseRegion(asked)
	}
	var settings struct {
		Region any `json:"region"`
	}
	if json.Unmarshal(t.Settings, &settings) == nil {
		if text, ok := settings.Region.(string); ok && phone.Known(strings.ToUpper(text)) {
			return strings.ToUpper(text), nil
		}
	}
	return "", nil
}

// ContactFile is a file of contacts and how it is read.
type ContactFile struct {
	Path    string // "-" for stdin
	MapFile string // a mapping that SaveMapping has kept; "" for none
	// Read says how the file is read; what it says wins over MapFile.
	Read importer.Options
}

// options returns what the mapping that was kept and the options say together.
func (c ContactFile) options() (importer.Options, error) {
	out := c.Read
	if c.MapFile == "" {
		return out, nil
	}
	data, err := os.ReadFile(c.MapFile)
	if err != nil {
		return out, &InputError{err}
	}
	saved, err := importer.ParseSavedMapping(data)
	if err != nil {
		return out, inputErrorf("%s: %w", c.MapFile, err)
	}
	saved.Fill(&out)
	return out, nil
}

// InspectContacts says what an import would make of a file. There is an inspection where
// its plan has columns, even with an error: it stands on what was read until then.
// With the name of a tenant the file is looked at for its table; without one nothing is
// connected. Errors about the file are an *InputError or importer's and tabular's.
func (a *App) InspectContacts(ctx context.Context, c ContactFile, tenant string) (importer.Inspection, importer.Options,
	error) {
	o, err := c.options()
	if err != nil {
		return importer.Inspection{}, o, err
	}
	if o.Region != "" {
		if o.Region, err = ParseRegion(o.Region); err != nil {
			return importer.Inspection{}, o, err
		}
	}
	in, err := a.openInput(c.Path)
	if err != nil {
		return importer.Inspection{}, o, err
	}
	defer func() { _ = in.Close() }()
	if tenant != "" {
		if err := a.useTable(ctx, tenant, &o); err != nil {
			return importer.Inspection{}, o, err
		}
	}
	o.FileName = in.name
	found, err := importer.Inspect(in, o)
	return found, o, err
}

// useTable has an inspection know a tenant's table contacts and its region.
func (a *App) useTable(ctx context.Context, name string, o *importer.Options) error {
	slug, err := registry.Slug(name)
	if err != nil {
		return err
	}
	conn, err := a.Connect(ctx)
	if err != nil {
		return err
	}
	defer closeConn(ctx, conn)
	t, err := a.Registry.Get(ctx, conn, slug)
	if err != nil {
		return err
	}
	if o.Region, err = regionOf(o.Region, t); err != nil {
		return err
	}
	o.Table, err = importer.ReadTable(ctx, conn, t.Schema)
	return err
}

// SaveMapping writes a mapping to a file that only its owner can read: null words
// and headers may say something.
func SaveMapping(path string, s importer.SavedMapping) error {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("save the mapping: %w", err)
	}
	return nil
}

// ImportOptions say what is imported into a tenant. Of File.Read ImportContacts itself
// sets what it knows of the tenant: Schema, Tenant, Path, FileName, Trusted, Now and
// AfterLoad, and Region where none is asked for.
type ImportOptions struct {
	Tenant string // its name
	File   ContactFile
	// KeepRejects writes rejected rows beside the file, "leads.rejected.csv", where
	// File.Read has no place for them.
	KeepRejects bool
	// Restart begins an import in batches at the first row although an earlier one of the
	// same file has stopped in the middle.
	Restart bool
}

// ImportResult is what became of an import.
type ImportResult struct {
	importer.Result

	Tenant registry.Tenant
	Before *registry.Import // of the same file, nil where the tenant never had it
	ID     int64            // of the import in the registry's list; 0 for none
	Undo   bool             // it can be taken back
}

// ImportContacts imports a file into a tenant. Where the error is the import's own, the
// result tells what it had come to.
func (a *App) ImportContacts(ctx context.Context, o ImportOptions) (ImportResult, error) {
	var out ImportResult
	read, err := o.File.options()
	if err != nil {
		return out, err
	}
	in, err := a.openInput(o.File.Path)
	if err != nil {
		return out, err
	}
	defer func() { _ = in.Close() }()
	if err := fitsBatches(read); err != nil {
		return out, err
	}
	if o.KeepRejects && read.RejectTo == nil && read.RejectPath == "" {
		read.RejectPath = rejectPath(o.File.Path)
	}
	conn, t, err := a.changeTenant(ctx, o.Tenant, a.changeSchemas, read.DryRun)
	out.Tenant = t
	if err != nil {
		return out, err
	}
	defer closeConn(ctx, conn)
	if read.DryRun { // which loads and takes back
		if err := cluster.Healthy(ctx, conn); err != nil {
			return out, err
		}
	}
	read.Schema, read.Tenant, read.FileName = t.Schema, a.Registry.Row(t.ID), in.name
	read.Tablespace = t.Tablespace
	read.Trusted, read.OwnRole, read.Now = a.Config.TrustedOwners, a.ownRole(), a.Now
	if read.Path, err = a.TenantPath(ctx, conn, nil); err != nil {
		return out, err
	}
	if read.Region, err = regionOf(read.Region, t); err != nil {
		return out, err
	}
	run := &importRun{app: a, conn: conn, tenant: t, read: &read, fresh: o.Restart}
	if err := run.prepare(ctx, a.Config.ImportUndoKeep); err != nil {
		return out, err
	}
	out.Result, err = importer.Import(ctx, conn, in, read)
	out.Before, out.ID, out.Undo = run.before, run.row.ID, run.row.ID != 0 && run.row.UndoUntil != nil
	return out, err
}

// changeTenant connects, as connect does, to change what a tenant holds, which must be active. With
// an error there is no connection.
func (a *App) changeTenant(ctx context.Context, name string,
	connect func(ctx context.Context, dryRun bool) (*pgx.Conn, error), dryRun bool) (*pgx.Conn, registry.Tenant, error) {
	slug, err := registry.Slug(name)
	if err != nil {
		return nil, registry.Tenant{}, err
	}
	conn, err := connect(ctx, dryRun)
	if err != nil {
		return nil, registry.Tenant{}, err
	}
	t, err := a.Registry.Get(ctx, conn, slug)
	if err == nil && t.Status != registry.Active {
		err = &registry.StateError{Slug: slug, State: t.State()}
	}
	if err != nil {
		closeConn(ctx, conn)
		return nil, t, err
	}
	return conn, t, nil
}

// rejectPath returns where the rejected rows of a file are written.
func rejectPath(path string) string {
	if path == "-" {
		return "stdin.rejected.csv"
	}
	return strings.TrimSuffix(path, filepath.Ext(path)) + ".rejected.csv"
}

// mappingOf returns what became of each column, for the audit.
func mappingOf(p importer.Plan) map[string]string {
	fields := make(map[string]string, len(p.Columns))
	for _, c := range p.Columns {
		field := string(c.Field)
		if c.Field == importer.FieldMetadata {
			field += "." + c.Key
		}
		fields[c.Header] = field
	}
	return fields
}
