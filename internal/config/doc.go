// Package config turns flags, environment, files and defaults into one typed
// Config, and knows of every value where it came from.
//
// From the strongest to the weakest:
//
//	a flag
//	CRMCTL_* in the environment
//	DATABASE_URL, then PGHOST, PGDATABASE, PGSERVICE; NO_COLOR, CLICOLOR_FORCE
//	./crmctl.yaml, then $XDG_CONFIG_HOME/crmctl/crmctl.yaml, then
//	/etc/crmctl/crmctl.yaml; or the one file of --config
//	the default
//
// A profile is a named set of values in a file. Its values count as if they
// had been given where the profile was chosen: --profile prod is a flag and so
// beats DATABASE_URL, CRMCTL_PROFILE=prod does as well, "profile: prod" in a
// file does not.
//
// Nothing is guessed: a value that does not parse, an unknown key and an
// unknown profile are errors that name the value, its place and what is
// accepted. A file that others could have written is refused. Passwords are
// never shown: see DSN and Redact.
//
// This is the only package that imports viper. cmd/crmctl alone imports it.
package config
