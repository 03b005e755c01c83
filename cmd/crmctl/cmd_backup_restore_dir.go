package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/registry"
)

// directory restores the newest whole backup of each chosen tenant of a directory.
func (j *restoreJob) directory(ctx context.Context) error {
	chosen, err := selectTenants(j.opts.tenants, nil)
	if err != nil {
		return err
	}
	if j.p, err = j.f.printer(); err != nil {
		return err
	}
	failures := newFailureLog(nil)
	var failed []tenantError
	done, err := j.app.RestoreDir(ctx, app.RestoreDirOptions{
		RestoreOptions: j.options(), Dir: j.opts.file, Chosen: chosen, Identities: j.keys, DryRun: j.opts.dryRun,
		Confirm: func(ctx context.Context, slugs []string) error {
			names := make([]registry.Tenant, len(slugs))
			for i, slug := range slugs {
				names[i].Slug = slug
			}
			return j.f.ConfirmYes(ctx, fmt.Sprintf("Restore %s: %s?", cli.Plural(len(names), "tenant"), firstNames(names)))
		},
		Failed: func(slug string, err error) {
			failures.say(j.f, slug, j.explain(err))
			failed = append(failed, tenantError{slug, j.explain(err)})
		},
	})
	if err != nil {
		return explainRestoreDir(err)
	}
	s := done.Summary
	for i := range s.Errors {
		s.Errors[i] = j.explain(s.Errors[i])
	}
	if s.Items == 1 && s.Failed == 1 && len(done.Tenants) == 0 && !j.f.WasInterrupted() {
		return s.First()
	}
	if !j.f.structured() {
		j.f.sayFailed(failed, true)
	}
	if err := j.report(done.Tenants); err != nil {
		return err
	}
	return j.f.end(runEnd{Summary: s, did: "restored"})
}

// explainRestoreDir adds what to do about a directory of which nothing is restored.
func explainRestoreDir(err error) error {
	var (
		none    *app.NoBackupError
		several *app.SeveralError
		first   *app.RegistryFirstError
	)
	switch {
	case errors.As(err, &several):
		return cli.Usagef("--as names one tenant, and there are %d in %s: add --tenant NAME", several.Count, several.Dir)
	case errors.As(err, &first):
		return cli.WithHint(err, "then again", restoreCommand(first.File))
	case errors.As(err, &none) && none.Slug != "":
		return cli.WithCode(err, exitNoTenant)
	case errors.As(err, &none) && none.Registry != "":
		return cli.WithHint(err, "restore it", restoreCommand(none.Registry))
	}
	return err
}

// restoreCommand returns the command that restores a file, to be pasted.
func restoreCommand(path string) string {
	return "crmctl backup restore " + cli.Visible(cli.ShellWords([]string{path}))
}

func (j *restoreJob) report(tenants []app.RestoredTenant) error {
	const none = "no tenant to restore"
	if j.opts.dryRun {
		rows := make([]backupRecord, len(tenants))
		for i, t := range tenants {
			rows[i] = wouldRow(t.Path, t.Would)
		}
		return cli.PrintList(j.p, backupList(none), rows)
	}
	rows := make([]madeRow, len(tenants))
	for i, t := range tenants {
		rows[i] = restoredRow(t.Made)
	}
	list := madeList()
	list.Empty = none
	if err := cli.PrintList(j.p, list, rows); err != nil {
		return err
	}
	for _, row := range rows {
		j.notes(row)
	}
	return nil
}
