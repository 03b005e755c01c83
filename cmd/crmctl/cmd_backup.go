package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strings"
	"time"

	"filippo.io/age"
	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/crmctl/crmctl/internal/backup"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/config"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/tenant"
	"github.com/crmctl/crmctl/migrations"
)

func newBackupCmd(f *factory) *cobra.Command {
	cmd := newGroup("backup", "a file per tenant, checked from end to end, and the way back",
		newBackupCreateCmd(f, nil),
		newBackupVerifyCmd(f, nil),
		newBackupListCmd(f, nil),
		newBackupRestoreCmd(f, nil),
		newBackupPruneCmd(f, nil),
	)
	cmd.Long = `Backups of single tenants. A backup is one file: one moment of the tenant, its data as COPY
gives it, compressed, with checksums over every table and over the whole. What it costs does
not grow with the fleet. The schema comes from the migrations, at the version of the backup;
of a tenant that is not what its migrations make its own structure is in the file.

A backup on the disk of the database is none: copy the files elsewhere.`
	cmd.Example = `crmctl backup create acme-corp --dir backups
crmctl backup create --all --registry --dir backups --encrypt-to age1...
crmctl backup verify backups/*.crmctl
crmctl backup restore backups/acme-corp-20261124T091500Z-v4.crmctl --as acme-again`
	return cmd
}

// audit returns how the audit is told of what was done with a backup.
func (f *factory) audit(action string) func(p *db.Pipeline, e backup.Event) error {
	return func(p *db.Pipeline, e backup.Event) error {
		return f.registry().QueueEvent(p, registry.Event{
			TenantID: e.TenantID, Slug: e.Slug, Action: action, Actor: f.actor(), Program: programName(), After: e.After, Detail: e.Detail,
		})
	}
}

// programName names this program and its version, for the files it writes.
func programName() string { return "crmctl " + buildVersion() }

// roleOptions say whether a tenant that is made out of data gets a role.
type roleOptions struct{ role, roleGiven bool }

func (o *roleOptions) addFlag(fs *pflag.FlagSet) {
	fs.BoolVar(&o.role, "role", false, "give it a database role of its own; --role=false: none (default: where the data's tenant had one, or tenant_roles)")
}

// choice goes by the flag, then by the configuration, then by the data.
func (o *roleOptions) choice(f *factory) (backup.RoleChoice, error) {
	cfg, err := f.config()
	switch {
	case err != nil:
		return backup.RoleNever, err
	case o.roleGiven && !o.role:
		return backup.RoleNever, nil
	case o.roleGiven, cfg.TenantRoles:
		return backup.RoleAlways, nil
	}
	return backup.RoleAsSource, nil
}

// newTenantFrom returns what making a tenant out of data needs of the migrations.
func (f *factory) newTenantFrom(ctx context.Context, conn *pgx.Conn, action string, l backup.Limits, r roleOptions) (backup.NewTenant, *migrate.Plan, error) {
	role, err := r.choice(f)
	if err != nil {
		return backup.NewTenant{}, nil, err
	}
	plan, err := f.tenantPlan(ctx)
	if err != nil {
		return backup.NewTenant{}, nil, err
	}
	if plan, err = f.useExtensions(ctx, conn, plan, false); err != nil {
		return backup.NewTenant{}, nil, err
	}
	return backup.NewTenant{
		Limits: l,
		Judge:  judgeTenant,
		Audit:  f.audit(action),
		Role:   role,
		Roles:  tenant.Roles{},
		Direct: f.connectDirect,
		Build: func(versions []int64) ([]db.Statement, error) {
			only, err := planOf(plan, versions)
			if err != nil {
				return nil, err
			}
			// Older versions are not asked for twice, so their final shape is not
			// worth finding out.
			template, why, err := f.template(ctx, conn, only, templateOptions{fromHistory: only.Checksum() != plan.Checksum(), lockTimeout: l.LockTimeout})
			f.noteHistory(why)
			return template.Script, err
		},
		Versions: versionsOf(plan),
	}, plan, nil
}

// versionsOf returns what makes the version table of some of a plan's versions.
func versionsOf(plan *migrate.Plan) func(versions []int64) ([]db.Statement, error) {
	return func(versions []int64) ([]db.Statement, error) {
		only, err := planOf(plan, versions)
		if err != nil {
			return nil, err
		}
		return only.Versions(), nil
	}
}

// structures returns what tells of tenants whether they are what their migrations make.
// Where the files cannot be read, that is what it tells.
func (f *factory) structures(ctx context.Context, l backup.Limits) *backup.Structures {
	plan, err := f.tenantPlan(ctx)
	n := backup.NewTenant{Limits: l, Judge: judgeTenant, Role: backup.RoleNever, Direct: f.connectDirect}
	n.Build = func(versions []int64) ([]db.Statement, error) {
		if err != nil {
			return nil, err
		}
		only, err := planOf(plan, versions)
		if err != nil {
			return nil, err
		}
		return only.Build()
	}
	n.Versions = func(versions []int64) ([]db.Statement, error) {
		if err != nil {
			return nil, err
		}
		return versionsOf(plan)(versions)
	}
	return &backup.Structures{Connect: f.connect, NewTenant: n}
}

// writeOptions returns how backups of tenants are written.
func (f *factory) writeOptions(ctx context.Context, l backup.Limits) backup.WriteOptions {
	o := backup.WriteOptions{Limits: l, Program: programName(), Structures: f.structures(ctx, l), Judge: judgeTenant}
	o.Host, _ = os.Hostname()
	if who, err := user.Current(); err == nil {
		o.User = who.Username
	}
	return o
}

// planOf returns the plan that consists of the given versions.
func planOf(plan *migrate.Plan, versions []int64) (*migrate.Plan, error) {
	only := plan.Only(versions)
	for _, v := range versions {
		if slices.ContainsFunc(only.Migrations, func(m *migrate.Migration) bool { return m.Version == v }) {
			continue
		}
		if v > plan.Head() {
			return nil, withHint(fmt.Errorf("the data is at version %d, but the newest migration file is %d", slices.Max(versions), plan.Head()),
				"give the files of that version", "--migrations-dir DIR")
		}
		return nil, withHint(fmt.Errorf("the data has migration %d, which there is no file for", v), "give the files", "--migrations-dir DIR")
	}
	return only, nil
}

// registryTables returns the names of the tables that the registry's migrations
// make. Which of them were applied stands in a backup's version.
func registryTables(ctx context.Context) ([]string, error) {
	plan, err := migrate.Compile(ctx, migrations.Public())
	if err != nil {
		return nil, err
	}
	var tables []string
	for _, m := range plan.Migrations {
		for _, s := range m.Up {
			words := strings.Fields(strings.ToLower(s.SQL))
			if len(words) > 2 && words[0] == "create" && words[1] == "table" {
				tables = append(tables, strings.TrimRight(strings.TrimPrefix(words[2], "public."), "("))
			}
			if len(words) > 2 && words[0] == "drop" && words[1] == "table" {
				tables = slices.DeleteFunc(tables, func(t string) bool { return t == strings.TrimRight(words[2], ";") })
			}
		}
	}
	return tables, nil
}

// savedTables returns those of the registry's tables that a backup holds. What can be
// made again at any time, and the schemas of the pool, or under construction, that only
// this database has, stay out: a final shape is SQL, which no file may bring.
func savedTables(ctx context.Context) ([]string, error) {
	tables, err := registryTables(ctx)
	return slices.DeleteFunc(tables, func(t string) bool { return t == "tenant_shapes" || t == "tenant_pool" || t == "tenant_builds" }), err
}

// judgeTenant refuses a tenant out of a file that no user could have made: its name,
// display name and settings are held to the rules of tenant create and tenant set.
func judgeTenant(t backup.Tenant) error {
	if slug, err := registry.Slug(t.Slug); err != nil {
		return err
	} else if slug != t.Slug {
		return fmt.Errorf("%q is no name of a tenant", t.Slug)
	}
	settings := map[string]json.RawMessage{}
	if len(t.Settings) > 0 {
		if err := json.Unmarshal(t.Settings, &settings); err != nil {
			return fmt.Errorf("its settings: %w", err)
		}
	}
	for key, value := range settings {
		if key == "" || strings.ContainsFunc(key, cli.Hazardous) {
			return fmt.Errorf("%q is no name of a setting", key)
		}
		if key != settingRetention {
			continue
		}
		var text string
		if err := json.Unmarshal(value, &text); err != nil {
			return fmt.Errorf("its setting %s is no text", key)
		}
		if _, err := config.ParseDuration(text); err != nil {
			return fmt.Errorf("its setting %s: %w", key, err)
		}
	}
	return nil
}

// addIdentityFlag adds --identity.
func addIdentityFlag(fs *pflag.FlagSet, target *[]string) {
	fs.StringArrayVar(target, "identity", nil, "secret keys of age, or an SSH key, in `FILE`, for encrypted backups; may be given more than once")
}

// addTrustCodeFlag adds --trust-code.
func addTrustCodeFlag(fs *pflag.FlagSet, target *bool) {
	fs.BoolVar(target, "trust-code", false, "make functions, triggers and other code of the file too that no migration makes: whoever wrote it can then do what you can")
}

// identities reads the files of --identity. One may be a pipe whose writer takes its time.
func (f *factory) identities(files []string) ([]age.Identity, error) {
	type keys struct {
		list []age.Identity
		err  error
	}
	var out []age.Identity
	for _, file := range files {
		read := make(chan keys, 1)
		go func() {
			list, err := backup.ReadIdentities(file)
			read <- keys{list, err}
		}()
		got, err := await(f, read)
		if err == nil {
			err = got.err
		}
		if err != nil {
			return nil, inputError(fmt.Errorf("--identity: %w", err))
		}
		list := got.list
		out = append(out, list...)
	}
	return out, nil
}

// backupHint adds the next step to an error about a file, or what is made of it.
func backupHint(err error) error {
	var exists *tenant.RoleExistsError
	switch {
	case errors.As(err, &exists):
		return withHint(err, "do without a role", "--role=false")
	case errors.Is(err, backup.ErrEncrypted):
		return withHint(err, "add", "--identity FILE")
	case errors.Is(err, backup.ErrNewerFormat):
		return withHint(err, "take", "a newer crmctl")
	case errors.Is(err, backup.ErrCode):
		return withHint(err, "read it, and where you trust whoever wrote the file add", "--trust-code")
	case errors.Is(err, backup.ErrNotRestorable):
		return withHint(err, "see what was changed by hand", "crmctl migrate drift")
	case errors.Is(err, backup.ErrMismatch):
		return withHint(err, "see what was changed by hand, where the tenant still is", "crmctl migrate drift")
	}
	return err
}

// backupRecord is a backup in JSON and YAML.
type backupRecord struct {
	Result    string    `json:"result"`
	Tenant    string    `json:"tenant"` // "" for the registry
	File      string    `json:"file"`
	Version   int64     `json:"schema_version"`
	TakenAt   time.Time `json:"taken_at"`
	SizeBytes int64     `json:"size_bytes"`
	Rows      *int64    `json:"rows"`       // null where the file does not tell
	DataBytes *int64    `json:"data_bytes"` // uncompressed
	Tables    *int      `json:"tables"`
	Format    string    `json:"format"`
	Encrypted bool      `json:"encrypted"`
	Structure string    `json:"structure,omitempty"` // migrations, or file
	Differs   []string  `json:"differs,omitempty"`   // from what the migrations make
	LeftOut   []string  `json:"left_out,omitempty"`
	MadeBy    string    `json:"made_by,omitempty"`
	Seconds   float64   `json:"seconds,omitempty"`
	Reason    string    `json:"reason,omitempty"`
}

// recordOfBackup returns what a file's name and its manifest, if it is known, say.
func recordOfBackup(result, file string, name backup.Name, size int64, m *backup.Manifest) backupRecord {
	r := backupRecord{
		Result: result, Tenant: name.Slug, File: file, Version: name.Version, TakenAt: name.TakenAt.UTC(), SizeBytes: size,
		Format: string(name.Format), Encrypted: name.Encrypted,
	}
	if m == nil {
		return r
	}
	rows, bytes, tables := m.Rows(), m.Bytes(), len(m.Tables)
	r.Rows, r.DataBytes, r.Tables = &rows, &bytes, &tables
	r.Version, r.TakenAt = m.SchemaVersion, m.TakenAt.UTC()
	if m.Tenant != nil {
		r.Tenant = m.Tenant.Slug
	}
	r.LeftOut, r.MadeBy = m.LeftOut, origin(m)
	if m.Structure != nil {
		r.Structure, r.Differs = m.Structure.From, m.Structure.Differs
	}
	return r
}

// backupList shows backups; empty is said when there are none.
func backupList(empty string) cli.List[backupRecord] {
	return cli.List[backupRecord]{
		Plural: "backups",
		Columns: []cli.Column[backupRecord]{
			{Name: "result", Value: func(r backupRecord) any { return cli.Styled{Value: r.Result, Color: backupColor(r.Result)} }},
			{Name: "tenant", Value: func(r backupRecord) any {
				if r.Tenant == "" {
					return cli.Styled{Value: cli.Either{Human: "the registry", Machine: ""}, Color: cli.Dim}
				}
				return r.Tenant
			}},
			{Name: "taken_at", Title: "TAKEN", Value: func(r backupRecord) any { return r.TakenAt }},
			{Name: "version", Right: true, Value: func(r backupRecord) any { return r.Version }},
			{Name: "rows", Right: true, Value: func(r backupRecord) any {
				if r.Rows == nil {
					return nil
				}
				return *r.Rows
			}},
			{Name: "size", Right: true, Value: func(r backupRecord) any { return cli.ByteSize(r.SizeBytes) }},
			{Name: "structure", Wide: true, Value: func(r backupRecord) any { return r.Structure }},
			{Name: "seconds", Right: true, Wide: true, Value: func(r backupRecord) any {
				if r.Seconds == 0 {
					return nil
				}
				return time.Duration(r.Seconds * float64(time.Second))
			}},
			{Name: "file", Value: func(r backupRecord) any { return r.File }},
			{Name: "reason", Blank: true, Value: func(r backupRecord) any { return r.Reason }},
		},
		Name:  func(r backupRecord) string { return r.File },
		Empty: empty,
	}
}

// badResult names what is wrong with a file: it is damaged, or it could not be read,
// or nothing tells.
func badResult(err error) string {
	if errors.Is(err, backup.ErrCorrupt) || errors.Is(err, backup.ErrNotBackup) {
		return "damaged"
	}
	return "not read"
}

func backupColor(result string) cli.Color {
	switch result {
	case "saved", "whole", "restores":
		return cli.Green
	case "damaged", "does not restore":
		return cli.Red
	case "kept", "there":
		return cli.Dim
	}
	return cli.Plain
}
