package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/config"
)

// completionTime is how long somebody who pressed Tab is kept waiting.
const completionTime = time.Second

// completeTenants completes the names of tenants. Whatever goes wrong, it stays
// silent: an error message in the middle of a command line helps nobody.
func completeTenants(f *factory) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
		f.cmd = cmd
		ctx, cancel := context.WithTimeout(cmd.Context(), completionTime)
		defer cancel()
		// --tenant takes several, separated by commas.
		before := ""
		if i := strings.LastIndexByte(prefix, ','); i >= 0 {
			before, prefix = prefix[:i+1], prefix[i+1:]
		}
		slugs, err := f.slugsOf(ctx, prefix)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var words []cobra.Completion
		for _, slug := range slugs {
			if !slices.Contains(args, slug) && cli.Visible(slug) == slug {
				words = append(words, before+slug)
			}
		}
		return words, cobra.ShellCompDirectiveNoFileComp
	}
}

// slugsOf returns the names of tenants that begin with prefix.
func (f *factory) slugsOf(ctx context.Context, prefix string) ([]string, error) {
	conn, err := f.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer closeConn(ctx, conn)
	return f.registry().Slugs(ctx, conn, prefix, completionLimit)
}

func registerGlobalCompletions(f *factory, root *cobra.Command) {
	cli.RegisterCompletion(root, "output", cli.CompleteWords(config.Outputs()...))
	cli.RegisterCompletion(root, "color", cli.CompleteWords(config.Colors()...))
	cli.RegisterCompletion(root, "database-url", cli.CompleteWords())
	cli.RegisterCompletion(root, "timeout", cli.CompleteWords())
	cli.RegisterCompletion(root, "profile", completeProfiles(f))
	cli.RegisterCompletion(root, "confirm-profile", completeProfiles(f))
}

// completeProfiles completes the name of a profile.
func completeProfiles(f *factory) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		f.cmd = cmd
		cfg, err := f.config()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return cfg.Profiles(), cobra.ShellCompDirectiveNoFileComp
	}
}
