package main

import (
	"fmt"
	"strings"

	"github.com/crmctl/crmctl/internal/backup"
	"github.com/crmctl/crmctl/internal/cli"
)

// noteStructure says what is to be known of a tenant that was saved.
func noteStructure(f *factory, m *backup.Manifest) {
	if m == nil || m.Tenant == nil {
		return
	}
	name := cli.Visible(m.Tenant.Slug)
	if s := m.Structure; s != nil && s.From == backup.FromFile {
		differs := "with its own structure"
		if len(s.Differs) > 0 {
			differs = "as it is, which is not what its migrations make: " + cli.Visible(strings.Join(s.Differs, ", "))
		}
		f.Note("crmctl: tenant %s is saved %s", name, differs)
		if len(s.Code) > 0 {
			f.Note("crmctl: warning: tenant %s: a restore needs --trust-code, for %s", name,
				cli.Visible(strings.Join(s.Code, ", ")))
		}
		if s.Unproven != "" {
			f.Note("crmctl: warning: tenant %s: it was not tried whether this restores: %s", name, cli.Visible(s.Unproven))
		}
	}
	if len(m.LeftOut) > 0 {
		f.Note("crmctl: tenant %s: not in the backup: %s", name, cli.Visible(strings.Join(m.LeftOut, ", ")))
	}
}

// noteRestored says that a tenant is not what its migrations make, and was not before.
func noteRestored(f *factory, made *backup.Made) {
	if s := made.Manifest.Structure; s != nil && s.From == backup.FromFile {
		f.Note("crmctl: tenant %s is restored as it was, with its own structure: crmctl migrate drift shows in what it "+
			"differs", cli.Visible(made.Tenant.Slug))
	}
	if left := made.Manifest.LeftOut; len(left) > 0 {
		f.Note("crmctl: tenant %s: was not in the backup: %s", cli.Visible(made.Tenant.Slug),
			cli.Visible(strings.Join(left, ", ")))
	}
}

// origin says in words who made a file.
func origin(m *backup.Manifest) string {
	if m.By == nil {
		return m.Program
	}
	who := m.By.Role
	if m.By.User != "" || m.By.Host != "" {
		who += fmt.Sprintf(" (%s@%s)", m.By.User, m.By.Host)
	}
	return m.Program + ", " + who
}
