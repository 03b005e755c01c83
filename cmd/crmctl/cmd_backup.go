package main

import (
	"errors"
	"fmt"
	"time"

	"filippo.io/age"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/backup"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/tablespace"
	"github.com/crmctl/crmctl/internal/tenant"
)

func newBackupCmd(f *factory) *cobra.Command {
	cmd := cli.NewGroup("backup", "a file per tenant, checked from end to end, and the way back",
		newBackupCreateCmd(f),
		newBackupVerifyCmd(f),
		newBackupListCmd(f),
		newBackupRestoreCmd(f),
		newBackupPruneCmd(f),
	)
	cmd.Long = `Backups of single tenants. A backup is one file: a consistent snapshot of the tenant's data
in COPY format, compressed, with a checksum for each table and for the whole file. Its cost
does not grow with the fleet. The schema comes from the migrations, at the version of the
backup. If a tenant differs from what its migrations make, the file holds its own structure.

A backup on the same disk as the database does not help when the disk fails: copy the files
to another machine.`
	cmd.Example = `crmctl backup create acme-corp --dir backups
crmctl backup create --all --registry --dir backups --encrypt-to age1...
crmctl backup verify backups/*.crmctl
crmctl backup restore backups/acme-corp-20261124T091500Z-v4.crmctl --as acme-2`
	return cmd
}

// programName names this program and its version, for the files it writes.
func programName() string { return "crmctl " + buildVersion() }

// roleOptions say whether a tenant that is made out of data gets a role.
type roleOptions struct{ role, roleGiven bool }

func (o *roleOptions) addFlag(fs *pflag.FlagSet) {
	fs.BoolVar(&o.role, "role", false, "give it a database role of its own; --role=false: none (default: where the "+
		"data's tenant had one, or tenant_roles)")
}

// choice returns what the flag says.
func (o *roleOptions) choice() app.Role {
	switch {
	case !o.roleGiven:
		return app.RoleDefault
	case o.role:
		return app.RoleYes
	}
	return app.RoleNo
}

// addIdentityFlag adds --identity.
func addIdentityFlag(fs *pflag.FlagSet, target *[]string) {
	fs.StringArrayVar(target, "identity", nil, "secret keys of age, or an SSH key, in `FILE`, for encrypted backups; "+
		"may be given more than once")
}

// addTrustCodeFlag adds --trust-code.
func addTrustCodeFlag(fs *pflag.FlagSet, target *bool) {
	fs.BoolVar(target, "trust-code", false, "make functions, triggers and other code of the file too that no migration "+
		"makes: whoever wrote it can then do what you can")
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
		got, err := cli.Await(f.Console, read)
		if err == nil {
			err = got.err
		}
		if err != nil {
			return nil, cli.InputError(fmt.Errorf("--identity: %w", err))
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
		return cli.WithHint(err, "do without a role", "--role=false")
	case errors.As(err, new(*tablespace.UnknownError)):
		return cli.WithHint(err, "make its tables elsewhere", "--tablespace NAME")
	case errors.Is(err, backup.ErrEncrypted):
		return cli.WithHint(err, "add", "--identity FILE")
	case errors.Is(err, backup.ErrNewerFormat):
		return cli.WithHint(err, "take", "a newer crmctl")
	case errors.Is(err, backup.ErrCode):
		return cli.WithHint(err, "read it, and where you trust whoever wrote the file add", "--trust-code")
	case errors.Is(err, backup.ErrNotRestorable):
		return cli.WithHint(err, "see what was changed by hand", "crmctl migrate drift")
	case errors.Is(err, backup.ErrMismatch):
		return cli.WithHint(err, "see what was changed by hand, where the tenant still is", "crmctl migrate drift")
	}
	return err
}

// backupRecord is a backup in JSON and YAML.
type backupRecord struct {
	Result    string
	Tenant    string // "" for the registry
	File      string
	Version   int64
	TakenAt   time.Time
	SizeBytes int64
	Rows      *int64 // null where the file does not tell
	DataBytes *int64 // uncompressed
	Tables    *int
	Format    string
	Encrypted bool
	Structure string   // migrations, or file
	Differs   []string // from what the migrations make
	LeftOut   []string
	MadeBy    string
	Seconds   float64
	Reason    string
	Wanted    bool // Reason is what was asked for, and no news
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
			{Name: "result", Value: func(r backupRecord) any {
				return cli.Styled{Value: r.Result, Color: backupColor(r.Result)}
			}},
			{Name: "tenant", Key: true, Value: func(r backupRecord) any {
				if r.Tenant == "" {
					return cli.Styled{Value: cli.Either{Human: "the registry", Machine: ""}, Color: cli.Dim}
				}
				return r.Tenant
			}},
			{Name: "taken_at", Title: "TAKEN", Value: func(r backupRecord) any { return r.TakenAt }},
			{Name: "schema_version", Title: "VERSION", Spare: true, Right: true, Value: func(r backupRecord) any {
				return cli.Serial(r.Version)
			}},
			{Name: "rows", Spare: true, Right: true, Value: func(r backupRecord) any {
				if r.Rows == nil {
					return nil
				}
				return *r.Rows
			}},
			{Name: "size_bytes", Title: "SIZE", Right: true, Value: func(r backupRecord) any {
				return cli.ByteSize(r.SizeBytes)
			}},
			{Name: "structure", Wide: true, Optional: true, Value: func(r backupRecord) any { return r.Structure }},
			{Name: "seconds", Right: true, Wide: true, Optional: true, Value: func(r backupRecord) any {
				if r.Seconds == 0 {
					return nil
				}
				return time.Duration(r.Seconds * float64(time.Second))
			}},
			{Name: "file", Copied: true, Value: func(r backupRecord) any { return r.File }},
			{Name: "reason", Title: "WHY", Copied: true, Text: true, Optional: true, Value: func(r backupRecord) any {
				if r.Wanted {
					return cli.Either{Human: "", Machine: r.Reason}
				}
				return r.Reason
			}},
			{Name: "data_bytes", Document: true, Value: func(r backupRecord) any { return r.DataBytes }},
			{Name: "tables", Document: true, Value: func(r backupRecord) any { return r.Tables }},
			{Name: "format", Document: true, Value: func(r backupRecord) any { return r.Format }},
			{Name: "encrypted", Document: true, Value: func(r backupRecord) any { return r.Encrypted }},
			{Name: "differs", Document: true, Optional: true, Value: func(r backupRecord) any { return r.Differs }},
			{Name: "left_out", Document: true, Optional: true, Value: func(r backupRecord) any { return r.LeftOut }},
			{Name: "made_by", Document: true, Optional: true, Value: func(r backupRecord) any { return r.MadeBy }},
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
