package main

import (
	"slices"
	"strings"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/config"
)

// ofFirst returns the keys whose flags and variables speak of the first database alone.
func ofFirst() []string {
	return []string{config.KeyDatabaseURL, config.KeyDirectURL, config.KeyProfile, config.KeyExpectDatabase,
		config.KeyRegistrySchema, config.KeyTenantOwner, config.KeyTenantsQuery}
}

// loadOther reads the configuration of the profile of a second database. What was said of
// the first, by flags or variables, is not meant for it. One that does not say which database
// it is comes along with the error.
func (f *factory) loadOther() (*config.Config, error) {
	env := slices.DeleteFunc(slices.Clone(f.IO.Env), func(pair string) bool {
		name, _, _ := strings.Cut(pair, "=")
		return name == "DATABASE_URL" || slices.ContainsFunc(ofFirst(), func(key string) bool {
			return name == "CRMCTL_"+strings.ToUpper(key)
		})
	})
	cfg, err := config.Load(config.Sources{
		Env: env, Dir: f.IO.Dir, SystemDir: f.IO.SystemDir,
		Flag: func(name string) (string, bool) {
			switch key := strings.ReplaceAll(name, "-", "_"); {
			case key == config.KeyProfile:
				return f.other, true
			case slices.Contains(ofFirst(), key):
				return "", false
			}
			return f.flagValue(name)
		},
	})
	if err == nil && !cfg.DatabaseFromProfile() {
		return cfg, cli.Usagef("the profile %s does not say which database it is", cli.Visible(f.other))
	}
	return cfg, err
}
