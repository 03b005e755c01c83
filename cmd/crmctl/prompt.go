package main

import (
	"context"

	"github.com/crmctl/crmctl/internal/cli"
)

// mostAsked is how many things a question is asked about by name.
const mostAsked = 20

// announceTarget says on stderr what a change is about to work on: host,
// database, role and profile.
func (f *factory) announceTarget() error {
	text, err := f.targetText()
	f.Changes.Store(true)
	if err == nil {
		f.Note("target    %s", text)
	}
	return err
}

// targetText returns "crm_prod on db1:5432 as migrator (profile prod)".
func (f *factory) targetText() (string, error) {
	target, err := f.target()
	if err != nil {
		return "", err
	}
	cfg, err := f.config()
	if err != nil {
		return "", err
	}
	text := cli.Visible(target.String())
	if cfg.DatabaseFromProfile() {
		text += " (profile " + cli.Visible(cfg.Profile) + ")"
	} else if cfg.DatabaseFromProject() {
		text += " (./crmctl.yaml)"
	}
	return text, nil
}

// beforeChange is the first step of every command that changes something: it
// says what will be changed and, for a protected profile, has its name typed.
// It does not connect. A dry run asks nothing.
func (f *factory) beforeChange(ctx context.Context, dryRun bool) error {
	if err := f.announceTarget(); err != nil {
		return err
	}
	cfg, err := f.config()
	if err != nil || !cfg.Protected || dryRun {
		return err
	}
	return f.ConfirmName(ctx, cli.Confirmation{
		Name:  cfg.Profile,
		Given: f.flags.confirmProfile,
		Flag:  "--confirm-profile",
		What:  "the protected profile's name",
	})
}
