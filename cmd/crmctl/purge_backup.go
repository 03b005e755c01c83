package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/spf13/pflag"

	"github.com/crmctl/crmctl/internal/backup"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/registry"
)

// purgeBackupOptions say where a tenant is saved before it is destroyed.
type purgeBackupOptions struct {
	dir       string
	encryptTo []string
	none      bool
}

func (o *purgeBackupOptions) addFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.dir, "backup-dir", "", "save each tenant into `DIR` before it is destroyed")
	fs.StringArrayVar(&o.encryptTo, "encrypt-to", nil, "encrypt these backups to the public `KEY` age1... or ssh-ed25519 ...; may be given more than once")
	fs.BoolVar(&o.none, "no-backup", false, "destroy without a backup")
}

func (o *purgeBackupOptions) validate() error {
	switch {
	case o.none && o.dir != "":
		return usagef("--no-backup and --backup-dir exclude each other")
	case o.none && len(o.encryptTo) > 0:
		return usagef("--no-backup and --encrypt-to exclude each other")
	case !o.none && o.dir == "":
		return withHint(usagef("a tenant is saved before it is destroyed: say where"), "add", "--backup-dir DIR, or --no-backup")
	}
	return nil
}

// open returns what saves a tenant, nil for --no-backup, and what ends it.
func (o *purgeBackupOptions) open(ctx context.Context, f *factory, lockTimeout time.Duration) (before func(context.Context, registry.Tenant) error, end func(), err error) {
	end = func() {}
	if o.none {
		return nil, end, nil
	}
	create := backup.CreateOptions{
		WriteOptions: f.writeOptions(ctx, backup.Limits{LockTimeout: lockTimeout}),
		Audit:        f.audit(registry.ActionBackup),
	}
	create.Prove = true
	for _, key := range o.encryptTo {
		r, err := backup.ParseRecipient(key)
		if err != nil {
			return nil, end, usagef("--encrypt-to: %w", err)
		}
		create.Recipients = append(create.Recipients, r)
	}
	dir, err := openBackups(f, o.dir, true)
	if err != nil {
		return nil, end, err
	}
	var made sync.Map // the file of each tenant that was saved, by its id
	before = func(ctx context.Context, t registry.Tenant) error {
		conn, err := f.connect(ctx)
		if err != nil {
			return err
		}
		defer closeConn(ctx, conn)
		written, err := dir.Create(ctx, conn, backup.Source{ID: t.ID, Slug: t.Slug, Schema: t.Schema}, create)
		if err == nil {
			f.verbose("saved %s", cli.Visible(dir.Path(written.File)))
			noteStructure(f, written.Manifest)
			// A purge that had to be tried again has saved the tenant again.
			if former, again := made.Swap(t.ID, written.File); again {
				err = dir.Remove(former.(string))
			}
		}
		if errors.Is(err, backup.ErrNotRestorable) {
			return withHint(err, "see what was changed by hand", "crmctl migrate drift")
		}
		return err
	}
	return before, func() { _ = dir.Close() }, nil
}
