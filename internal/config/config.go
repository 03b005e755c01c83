package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/crmctl/crmctl/internal/suggest"
)

var (
	// ErrInvalid is wrapped by every error of Load: the configuration, not the
	// database, is at fault.
	ErrInvalid = errors.New("invalid configuration")

	// ErrNoDatabase is returned by Database when nothing at all says which
	// database to use.
	ErrNoDatabase = errors.New("no database configured")
)

// invalidError wraps ErrInvalid without its text, which would only stand in
// the way.
type invalidError struct{ text string }

func (e *invalidError) Error() string { return e.text }
func (e *invalidError) Unwrap() error { return ErrInvalid }

func invalidf(format string, args ...any) error {
	return &invalidError{RedactText(fmt.Sprintf(format, args...))}
}

// FilesError is an error that whoever knows where the files are can mend.
type FilesError struct{ Err error }

func (e *FilesError) Error() string { return e.Err.Error() }
func (e *FilesError) Unwrap() error { return e.Err }

func atFiles(err error) error { return &FilesError{err} }

// NoOwner as the owner of tenants leaves all work to the session's role. No role can have
// that name.
const NoOwner = "none"

// Config is what the program was told, with defaults filled in.
type Config struct {
	DatabaseURL      DSN           // "" leaves everything to libpq's environment
	DirectURL        DSN           // past a pooler; "" when DatabaseURL is direct
	Profile          string        // name of the profile in force, or ""
	Protected        bool          // the profile asks for its name before a change
	ExpectDatabase   string        // name the database must have, or ""
	MigrationsDir    string        // "" for the built-in migrations
	Concurrency      int           // 0 for auto
	LockTimeout      time.Duration // 0 waits for ever
	StatementTimeout time.Duration // 0 for no limit
	Timeout          time.Duration // of the whole command, 0 for no limit
	Retention        time.Duration // of a deleted tenant
	ImportUndoKeep   time.Duration // what imports replace, 0 for not at all
	ErasureKeyFile   string        // "" where there is no place for one
	TenantRoles      bool          // a new tenant gets a role of its own
	Output           string        // one of Outputs
	Color            string        // one of Colors
	UTC              bool
	DryRun           bool
	PGBin            string
	RegistrySchema   string   // where crmctl's own tables stand
	ExtensionSchema  string   // where extensions are made that stand nowhere yet
	SharedSchemas    []string // behind the tenant's on the path, for all tenants
	TenantOwner      string   // whom new tenants belong to, "none" for the session's role in all work, "" = as the others
	TrustedOwners    []string // roles whose code may run as the session's role

	TenantsQuery    string // select of the application's tenants, "" where crmctl makes them
	TenantsWrites   bool   // tenants are made and deleted here too, all the same
	TenantsFrom     string // program that migrates the application's new tenants
	TenantsMap      string // file that says what its migrations stand for, or ""
	TenantsBaseline int64  // version at which they stand, 0 for what the program says

	// Warnings are worth a line each on stderr.
	Warnings []string

	settings   []Setting
	profiles   []string // names, sorted
	files      []File
	configured bool // something says which database to use
	project    bool // the file of the working directory does
	// directProject: the file of the working directory says how to get past a pooler.
	directProject bool
	queryProject  bool     // and the query for the tenants
	names         []string // words that are no secrets, even when a password is the same

	secretsMu sync.RWMutex // AddSecret and Redact come from any goroutine
	secrets   []string
}

// Setting is one value and where it came from.
type Setting struct {
	Key    string `json:"key"`
	Value  string `json:"value"`  // secrets hidden
	Origin string `json:"origin"` // "--profile", "CRMCTL_OUTPUT", "crmctl.yaml", "default", …
}

// File is a place where a configuration file is looked for.
type File struct {
	Path string `json:"path"`
	Kind string `json:"kind"` // project, user, system, or named by --config or CRMCTL_CONFIG
	Read bool   `json:"read"`
}

// Sources is what Load reads. Nothing else is read, so that a test can say
// everything.
type Sources struct {
	// Env is the environment as os.Environ returns it.
	Env []string
	// Flag returns the text of a flag, and whether it was given. Nil for none.
	Flag func(name string) (value string, given bool)
	// Dir is where the project's crmctl.yaml is looked for; "" for the working
	// directory.
	Dir string
	// SystemDir holds crmctl/crmctl.yaml for all users; "" for none.
	SystemDir string
	// Apart leaves out the environment and every file: flags and defaults alone
	// count. Env may still name secrets to hide.
	Apart bool
	// Optional reports whether a profile may be chosen that no file has; none is in force
	// then. Nil for none.
	Optional func(profile string) bool
}

// Load reads all sources. Its errors wrap ErrInvalid and hold no secrets.
func Load(src Sources) (*Config, error) {
	env := newEnvironment(src.Env)
	secrets := env
	if src.Apart {
		env = environment{}
	}
	flag := src.Flag
	if flag == nil {
		flag = func(string) (string, bool) { return "", false }
	}
	if v, given := flag(keyFlag(KeyDatabaseURL)); given {
		if err := CheckFlagDSN(v); err != nil {
			return nil, err
		}
	}
	c := &Config{}
	files, err := c.readFiles(src, env, flag)
	if err != nil {
		return nil, err
	}
	stack, err := c.layers(files, env, flag, src.Optional)
	if err != nil {
		return nil, err
	}
	if err := c.resolve(stack); err != nil {
		return nil, err
	}
	if dir := userDir(env); c.ErasureKeyFile == "" && dir != "" {
		c.ErasureKeyFile = filepath.Join(dir, "erasure.key")
	}
	c.collectSecrets(secrets)
	c.Warnings = append(c.Warnings, env.warnings()...)
	return c, nil
}

// CheckFlagDSN refuses a connection string with a password in it: arguments
// are visible to everybody in the list of processes.
func CheckFlagDSN(dsn string) error {
	if DSN(dsn).HasPassword() {
		return invalidf("--database-url must not hold a password, anybody can read it in the list of processes\n" +
			"use DATABASE_URL, PGPASSWORD or ~/.pgpass instead")
	}
	return nil
}

// resolve takes each key from the first layer that has it. Weaker values are
// checked all the same: a mistake must not lie in wait for the day the flag is
// left out.
func (c *Config) resolve(stack []layer) error {
	for _, k := range keys() {
		found := false
		for rank, l := range stack {
			value, origin, ok := l.lookup(k)
			if !ok {
				continue
			}
			if err := k.parse(&Config{}, value); err != nil {
				return invalidf("%s: %v", l.describe(origin, k, value), err)
			}
			if found || l.project && guarded(k, value, stack[rank+1:]) {
				continue
			}
			found = true
			if (k.name == KeyMigrationsDir || k.name == KeyTenantsMap) && l.dir != "" && !filepath.IsAbs(value) {
				value = filepath.Join(l.dir, value)
			}
			if err := k.parse(c, value); err != nil {
				return invalidf("%s: %v", l.describe(origin, k, value), err)
			}
			shown := value
			switch k.name {
			case KeyDatabaseURL:
				shown = DSN(value).String()
				c.configured, c.project = true, l.project
			case KeyTenantsQuery:
				c.queryProject = l.project
			case KeyDirectURL:
				shown = DSN(value).String()
				c.directProject = l.project
			}
			c.settings = append(c.settings, Setting{Key: k.name, Value: shown, Origin: origin})
		}
		if !found {
			c.settings = append(c.settings, Setting{Key: k.name, Origin: "not set"})
		}
	}
	return nil
}

// Database returns the connection string to use, which may be empty when PG*
// says everything, or ErrNoDatabase.
func (c *Config) Database() (DSN, error) {
	if !c.configured {
		return "", ErrNoDatabase
	}
	return c.DatabaseURL, nil
}

// Settings returns every value and where it came from, secrets hidden.
func (c *Config) Settings() []Setting { return c.settings }

// Setting returns one of Settings; the zero Setting for an unknown key.
func (c *Config) Setting(name string) Setting {
	for _, s := range c.settings {
		if s.Key == name {
			return s
		}
	}
	return Setting{}
}

// Files returns the places of configuration files, the strongest first.
func (c *Config) Files() []File { return c.files }

// Profiles returns the names of all profiles, sorted.
func (c *Config) Profiles() []string { return c.profiles }

// DatabaseFromProfile reports whether the profile in force says which database
// to use.
func (c *Config) DatabaseFromProfile() bool {
	return c.Profile != "" && strings.HasPrefix(c.Setting(KeyDatabaseURL).Origin, profileOrigin(c.Profile))
}

// DatabaseFromProject reports whether the file of the working directory says which
// database to use.
func (c *Config) DatabaseFromProject() bool { return c.project }

// DirectFromProject is DatabaseFromProject for DirectURL.
func (c *Config) DirectFromProject() bool { return c.directProject }

// TenantsQueryFromProject is DatabaseFromProject for TenantsQuery.
func (c *Config) TenantsQueryFromProject() bool { return c.queryProject }

// unknownProfile is the error for a profile that no file has.
func (c *Config) unknownProfile(name, origin string) error {
	hint := suggest.DidYouMean(name, c.profiles)
	switch {
	case hint != "":
	case len(c.profiles) == 0:
		return atFiles(invalidf("no profile %q (%s); no profile is defined", name, origin))
	default:
		hint = "; there is " + strings.Join(c.profiles, ", ")
	}
	return invalidf("no profile %q (%s)%s", name, origin, hint)
}
