package config

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// The keys of a configuration file. Key k is also the flag of that name with
// hyphens, and the environment variable CRMCTL_ with the name in capitals.
const (
	KeyDatabaseURL      = "database_url"
	KeyDirectURL        = "direct_database_url"
	KeyProfile          = "profile"
	KeyExpectDatabase   = "expect_database"
	KeyMigrationsDir    = "migrations_dir"
	KeyConcurrency      = "concurrency"
	KeyLockTimeout      = "lock_timeout"
	KeyStatementTimeout = "statement_timeout"
	KeyTimeout          = "timeout"
	KeyRetention        = "retention"
	KeyImportUndoKeep   = "import_undo_keep"
	KeyErasureKeyFile   = "erasure_key_file"
	KeyTenantRoles      = "tenant_roles"
	KeyOutput           = "output"
	KeyColor            = "color"
	KeyUTC              = "utc"
	KeyDryRun           = "dry_run"
	KeyPGBin            = "pg_bin"
	KeyTenantOwner      = "tenant_owner"
	KeyTrustedOwners    = "trusted_owners"
	KeyExtensionSchema  = "extension_schema"
	KeySharedSchemas    = "shared_schemas"
	KeyRegistrySchema   = "registry_schema"
	KeyTenantsQuery     = "tenants_query"
	KeyTenantsWrites    = "tenants_query_writes"
	KeyTenantsFrom      = "tenants_query_from"
	KeyTenantsMap       = "tenants_query_map"
	KeyTenantsBaseline  = "tenants_query_baseline"
	keyConfig           = "config"
	keyProfiles         = "profiles"
	keyProtected        = "protected"
)

const (
	envPrefix      = "CRMCTL_"
	envTestPrefix  = "CRMCTL_TEST_"
	maxConcurrency = 256
)

// Outputs returns the output formats, the default first.
func Outputs() []string { return []string{"table", "wide", "json", "yaml", "csv", "ndjson"} }

// Colors returns the values of color, the default first.
func Colors() []string { return []string{"auto", "always", "never"} }

// ParseConcurrency reads a number of tenants to work on at once; "auto" is 0 and
// leaves it to the command.
func ParseConcurrency(v string) (int, error) {
	if v == "auto" {
		return 0, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 || n > maxConcurrency {
		return 0, fmt.Errorf("want auto or a whole number from 1 to %d", maxConcurrency)
	}
	return n, nil
}

// key describes one setting.
type key struct {
	name     string
	fallback string // the default
	// noProject keeps it out of the working directory's crmctl.yaml, which may be
	// anybody's.
	noProject bool
	list      bool   // a file may have it as a list
	usage     string // one line for `crmctl help environment`
	// parse puts a value into its field, or says what is accepted.
	parse func(c *Config, value string) error
}

// env returns the name of the key's environment variable.
func (k key) env() string { return envName(k.name) }

func envName(name string) string { return envPrefix + strings.ToUpper(name) }

// flag returns the name of the key's flag, without dashes.
func (k key) flag() string { return strings.ReplaceAll(k.name, "_", "-") }

// keys returns all settings in the order they are shown.
func keys() []key { //nolint:funlen // a table
	return []key{
		{name: KeyDatabaseURL, usage: "the database, as a URL or key=value pairs",
			parse: func(c *Config, v string) error {
				c.DatabaseURL = DSN(v)
				return nil
			}},
		{name: KeyDirectURL, usage: "the same database past a pooler, for files marked NO TRANSACTION",
			parse: func(c *Config, v string) error {
				c.DirectURL = DSN(v)
				return nil
			}},
		{name: KeyProfile, usage: "the profile of the configuration file to use",
			parse: func(*Config, string) error { return nil }},
		{name: KeyExpectDatabase, usage: "stop unless the database has this name",
			parse: func(c *Config, v string) error {
				c.ExpectDatabase = v
				return nil
			}},
		{name: KeyMigrationsDir, usage: "directory of migrations to use instead of the built-in ones",
			parse: func(c *Config, v string) error {
				c.MigrationsDir = v
				return nil
			}},
		{name: KeyConcurrency, fallback: "auto", usage: "tenants worked on at once, one connection each",
			parse: func(c *Config, v string) (err error) {
				c.Concurrency, err = ParseConcurrency(v)
				return err
			}},
		{name: KeyLockTimeout, fallback: "2s", usage: "how long a statement may wait for a lock",
			parse: durationInto(func(c *Config) *time.Duration { return &c.LockTimeout })},
		{name: KeyStatementTimeout, fallback: "0", usage: "how long a statement may run, 0 for no limit",
			parse: durationInto(func(c *Config) *time.Duration { return &c.StatementTimeout })},
		{name: KeyTimeout, fallback: "0", usage: "how long the whole command may take, 0 for no limit",
			parse: durationInto(func(c *Config) *time.Duration { return &c.Timeout })},
		{name: KeyRetention, fallback: "30d", usage: "how long a deleted tenant is kept before it may be purged",
			parse: durationInto(func(c *Config) *time.Duration { return &c.Retention })},
		{name: KeyImportUndoKeep, fallback: "30d", usage: "how long an import can be taken back, 0 for never",
			parse: durationInto(func(c *Config) *time.Duration { return &c.ImportUndoKeep })},
		{name: KeyErasureKeyFile, noProject: true, usage: "the key by which erased persons are known again",
			parse: func(c *Config, v string) error {
				c.ErasureKeyFile = v
				return nil
			}},
		{name: KeyTenantRoles, fallback: "false", usage: "give each new tenant a database role of its own",
			parse: func(c *Config, v string) (err error) {
				c.TenantRoles, err = parseBool(v)
				return err
			}},
		{name: KeyOutput, fallback: "table", usage: "output format: " + strings.Join(Outputs(), ", "),
			parse: func(c *Config, v string) error {
				c.Output = v
				return oneOf(v, Outputs())
			}},
		{name: KeyColor, fallback: "auto", usage: "colour: " + strings.Join(Colors(), ", "),
			parse: func(c *Config, v string) error {
				c.Color = v
				return oneOf(v, Colors())
			}},
		{name: KeyUTC, fallback: "false", usage: "show times in UTC", parse: func(c *Config, v string) (err error) {
			c.UTC, err = parseBool(v)
			return err
		}},
		{name: KeyDryRun, fallback: "false", usage: "change nothing, say what would happen",
			parse: func(c *Config, v string) (err error) {
				c.DryRun, err = parseBool(v)
				return err
			}},
		{name: KeyRegistrySchema, fallback: "public", usage: "the schema of crmctl's own tables",
			parse: func(c *Config, v string) error {
				c.RegistrySchema = v
				return RegistrySchema(v)
			}},
		{name: KeyExtensionSchema, fallback: "extensions", usage: "where extensions of migrations are made",
			parse: func(c *Config, v string) error {
				if !isSchema(v) {
					return errors.New("want the name of a schema")
				}
				c.ExtensionSchema = v
				return nil
			}},
		{name: KeySharedSchemas, list: true, usage: "schemas on the path behind the tenant's",
			parse: func(c *Config, v string) error {
				c.SharedSchemas = names(v)
				for i, name := range c.SharedSchemas {
					switch {
					case !isSchema(name), name == "information_schema":
						return fmt.Errorf("%q: want names of schemas, with commas between", name)
					case slices.Contains(c.SharedSchemas[:i], name):
						return fmt.Errorf("%q stands there twice", name)
					}
				}
				return nil
			}},
		{name: KeyTenantsQuery, usage: "the select of the application's tenants, where it makes them",
			parse: func(c *Config, v string) error {
				c.TenantsQuery = v
				return nil
			}},
		{name: KeyTenantsWrites, fallback: "false", usage: "with tenants_query, crmctl makes and deletes tenants too",
			parse: func(c *Config, v string) (err error) {
				c.TenantsWrites, err = parseBool(v)
				return err
			}},
		{name: KeyTenantsFrom, fallback: "goose", usage: "the program that migrates new tenants of tenants_query",
			parse: func(c *Config, v string) error {
				c.TenantsFrom = v
				return nil
			}},
		{name: KeyTenantsMap, usage: "which file each migration of that program stands for",
			parse: func(c *Config, v string) error {
				c.TenantsMap = v
				return nil
			}},
		{name: KeyTenantsBaseline, fallback: "0", usage: "the version at which new tenants of tenants_query stand",
			parse: func(c *Config, v string) (err error) {
				c.TenantsBaseline, err = strconv.ParseInt(v, 10, 64)
				if err != nil || c.TenantsBaseline < 0 {
					return errors.New("want a version, 0 for none")
				}
				return nil
			}},
		{name: KeyTrustedOwners, list: true, noProject: true, usage: "roles whose code in tenants crmctl may run",
			parse: func(c *Config, v string) error {
				c.TrustedOwners = names(v)
				return nil
			}},
		{name: KeyTenantOwner, usage: "role that new tenants belong to, or none to work as nobody else",
			parse: func(c *Config, v string) error {
				if strings.ContainsFunc(v, unicode.IsControl) || len(v) > 63 {
					return errors.New("want the name of a role, or none")
				}
				c.TenantOwner = v
				return nil
			}},
		{name: KeyPGBin, usage: "directory of the PostgreSQL server programs for crmctl local",
			parse: func(c *Config, v string) error {
				c.PGBin = v
				return nil
			}},
	}
}

// names cuts a list with commas.
func names(list string) []string {
	var out []string
	for name := range strings.SplitSeq(list, ",") {
		if name = strings.TrimSpace(name); name != "" {
			out = append(out, name)
		}
	}
	return out
}

// isSchema reports whether a schema may have a name and hold something of others.
func isSchema(name string) bool {
	return len(name) <= 63 && !strings.HasPrefix(name, "pg_") && !strings.ContainsFunc(name, unicode.IsControl)
}

// RegistrySchema says why the registry cannot stand in a schema of that name.
func RegistrySchema(name string) error {
	switch {
	case name == "", name == "information_schema", !isSchema(name), !utf8.ValidString(name):
		return errors.New("want the name of a schema")
	}
	for _, prefix := range []string{"tenant_", "crmctl_pool_", "quarantine_"} {
		if strings.HasPrefix(name, prefix) {
			return fmt.Errorf("schemas named %s... hold tenants; want another name", prefix)
		}
	}
	return nil
}

// findKey returns the key of a name, the zero key when there is none.
func findKey(name string) key {
	all := keys()
	if i := slices.IndexFunc(all, func(k key) bool { return k.name == name }); i >= 0 {
		return all[i]
	}
	return key{}
}

// Variable is an environment variable that crmctl reads.
type Variable struct{ Name, Usage string }

// Variables returns crmctl's own environment variables, for a help text.
func Variables() []Variable {
	vars := []Variable{{envName(keyConfig), "the configuration file to use instead of the usual ones"}}
	for _, k := range keys() {
		vars = append(vars, Variable{k.env(), k.usage})
	}
	return vars
}

// Default returns the default of a key as one writes it, "" when there is none.
func Default(name string) string {
	return findKey(name).fallback
}

// parseBool accepts what cannot be misread. strconv.ParseBool would take "t".
func parseBool(v string) (bool, error) {
	switch strings.ToLower(v) {
	case "true", "1":
		return true, nil
	case "false", "0":
		return false, nil
	}
	return false, errors.New("want true or false")
}

func durationInto(field func(*Config) *time.Duration) func(*Config, string) error {
	return func(c *Config, v string) (err error) {
		*field(c), err = ParseDuration(v)
		return err
	}
}

func oneOf(v string, allowed []string) error {
	if slices.Contains(allowed, v) {
		return nil
	}
	return errors.New("want " + strings.Join(allowed[:len(allowed)-1], ", ") + " or " + allowed[len(allowed)-1])
}
