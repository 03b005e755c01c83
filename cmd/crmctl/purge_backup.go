package main

import (
	"github.com/spf13/pflag"

	"github.com/crmctl/crmctl/internal/cli"
)

// purgeBackupOptions say where a tenant is saved before it is destroyed.
type purgeBackupOptions struct {
	dir       string
	encryptTo []string
	none      bool
}

func (o *purgeBackupOptions) addFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.dir, "backup-dir", "", "save each tenant into `DIR` before it is destroyed")
	fs.StringArrayVar(&o.encryptTo, "encrypt-to", nil,
		"encrypt these backups to the public `KEY` age1... or ssh-ed25519 ...; may be given more than once")
	fs.BoolVar(&o.none, "no-backup", false, "destroy without a backup")
}

func (o *purgeBackupOptions) validate() error {
	switch {
	case o.none && o.dir != "":
		return cli.Usagef("--no-backup and --backup-dir exclude each other")
	case o.none && len(o.encryptTo) > 0:
		return cli.Usagef("--no-backup and --encrypt-to exclude each other")
	case !o.none && o.dir == "":
		return cli.WithHint(cli.Usagef("a tenant is saved before it is destroyed: say where"), "add",
			"--backup-dir DIR, or --no-backup")
	}
	return nil
}
