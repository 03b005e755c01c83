package config_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/config"
)

// world is everything that Load may read, in a directory of its own.
type world struct {
	t     *testing.T
	dir   string
	env   []string
	flags map[string]string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), flags: map[string]string{}}
	w.env = []string{"XDG_CONFIG_HOME=" + filepath.Join(w.dir, "xdg")}
	return w
}

const (
	projectFile = "work/crmctl.yaml"
	userFile    = "xdg/crmctl/crmctl.yaml"
	systemFile  = "etc/crmctl/crmctl.yaml"
)

func (w *world) write(name, text string) string {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return path
}

func (w *world) load() (*config.Config, error) {
	return config.Load(config.Sources{
		Env:       w.env,
		Dir:       filepath.Join(w.dir, "work"),
		SystemDir: filepath.Join(w.dir, "etc"),
		Flag: func(name string) (string, bool) {
			v, ok := w.flags[name]
			return v, ok
		},
	})
}

func (w *world) mustLoad() *config.Config {
	w.t.Helper()
	c, err := w.load()
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// level is one place a value may come from.
type level struct {
	name string
	// set puts a value of a key there.
	set func(w *world, key, value string)
	// origin is how the place is called.
	origin string
}

func flagLevel() level {
	return level{"flag", func(w *world, key, value string) { w.flags[strings.ReplaceAll(key, "_", "-")] = value }, "--"}
}

func envLevel() level {
	return level{"CRMCTL_*", func(w *world, key, value string) {
		w.env = append(w.env, "CRMCTL_"+strings.ToUpper(key)+"="+value)
	}, "CRMCTL_"}
}

func fileLevel(name, path string) level {
	return level{name, func(w *world, key, value string) { w.write(path, key+": "+value+"\n") }, filepath.FromSlash(path)}
}

// levels are in the order of their strength.
func levels() []level {
	return []level{
		flagLevel(), envLevel(),
		fileLevel("project file", projectFile), fileLevel("user file", userFile), fileLevel("system file", systemFile),
	}
}

// Of every two places the stronger one wins, for keys of every kind.
func TestPrecedence(t *testing.T) {
	t.Parallel()
	keys := []struct {
		key, strong, weak string
		get               func(c *config.Config) string
	}{
		{"concurrency", "7", "8", func(c *config.Config) string { return fmt.Sprint(c.Concurrency) }},
		{"lock_timeout", "7s", "8s", func(c *config.Config) string { return config.FormatDuration(c.LockTimeout) }},
		{"output", "json", "yaml", func(c *config.Config) string { return c.Output }},
		{"utc", "false", "true", func(c *config.Config) string { return fmt.Sprint(c.UTC) }},
		{"database_url", "postgres://strong/db", "postgres://weak/db", func(c *config.Config) string {
			return string(c.DatabaseURL)
		}},
	}
	for _, k := range keys {
		all := levels()
		for i, strong := range all {
			w := newWorld(t)
			strong.set(w, k.key, k.strong)
			c := w.mustLoad()
			if got := k.get(c); got != k.strong {
				t.Errorf("%s from %s: got %s over the default, want %s", k.key, strong.name, got, k.strong)
			}
			if got := c.Setting(k.key).Origin; !strings.Contains(got, strong.origin) {
				t.Errorf("%s from %s: origin %q", k.key, strong.name, got)
			}
			for _, weak := range all[i+1:] {
				w := newWorld(t)
				weak.set(w, k.key, k.weak)
				strong.set(w, k.key, k.strong)
				if got := k.get(w.mustLoad()); got != k.strong {
					t.Errorf("%s: %s gives %s, %s gives %s; got %s", k.key, strong.name, k.strong, weak.name, k.weak, got)
				}
			}
		}
	}
}

// DATABASE_URL and PG* stand between CRMCTL_* and the files; a profile stands
// where it was chosen.
func TestDatabasePrecedence(t *testing.T) {
	t.Parallel()
	const profiles = "profiles:\n  prod:\n    database_url: postgres://profile/db\n"
	tests := []struct {
		name   string
		flags  map[string]string
		env    []string
		file   string
		want   string
		origin string
	}{
		{name: "flag over profile by flag", flags: map[string]string{"database-url": "postgres://flag/db", "profile": "prod"},
			file: profiles, want: "postgres://flag/db", origin: "--database-url"},
		{name: "profile by flag over CRMCTL_DATABASE_URL", flags: map[string]string{"profile": "prod"},
			env: []string{"CRMCTL_DATABASE_URL=postgres://env/db"}, file: profiles, want: "postgres://profile/db",
			origin: "profile prod"},
		{name: "profile by flag over DATABASE_URL", flags: map[string]string{"profile": "prod"},
			env: []string{"DATABASE_URL=postgres://env/db"}, file: profiles, want: "postgres://profile/db",
			origin: "profile prod"},
		{name: "CRMCTL_DATABASE_URL over profile by CRMCTL_PROFILE", env: []string{"CRMCTL_DATABASE_URL=postgres://env/db",
			"CRMCTL_PROFILE=prod"},
			file: profiles, want: "postgres://env/db", origin: "CRMCTL_DATABASE_URL"},
		{name: "CRMCTL_DATABASE_URL over DATABASE_URL", env: []string{"CRMCTL_DATABASE_URL=postgres://ours/db",
			"DATABASE_URL=postgres://env/db"},
			want: "postgres://ours/db", origin: "CRMCTL_DATABASE_URL"},
		{name: "profile by CRMCTL_PROFILE over DATABASE_URL", env: []string{"CRMCTL_PROFILE=prod",
			"DATABASE_URL=postgres://env/db"},
			file: profiles, want: "postgres://profile/db", origin: "profile prod"},
		{name: "DATABASE_URL over PGHOST", env: []string{"DATABASE_URL=postgres://env/db", "PGHOST=other"},
			want: "postgres://env/db", origin: "DATABASE_URL"},
		{name: "DATABASE_URL over profile by file", env: []string{"DATABASE_URL=postgres://env/db"},
			file: "profile: prod\n" + profiles, want: "postgres://env/db", origin: "DATABASE_URL"},
		{name: "PGDATABASE over the file", env: []string{"PGDATABASE=crm", "PGSERVICE=x"},
			file: "database_url: postgres://file/db\n", want: "", origin: "PGDATABASE, PGSERVICE"},
		{name: "PGHOST over profile by file", env: []string{"PGHOST=h"}, file: "profile: prod\n" + profiles, want: "",
			origin: "PGHOST"},
		{name: "profile by file over the file's own", file: "profile: prod\ndatabase_url: postgres://file/db\n" + profiles,
			want: "postgres://profile/db", origin: "profile prod"},
		{name: "file over PGUSER and PGPORT", env: []string{"PGUSER=u", "PGPORT=5433"},
			file: "database_url: postgres://file/db\n", want: "postgres://file/db", origin: "crmctl.yaml"},
		{name: "PGPORT alone", env: []string{"PGPORT=5433"}, want: "", origin: "PGPORT"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.env = append(w.env, tt.env...)
			w.flags = tt.flags
			if tt.file != "" {
				w.write(projectFile, tt.file)
			}
			c := w.mustLoad()
			got, err := c.Database()
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != tt.want {
				t.Errorf("got %s, want %s", string(got), tt.want)
			}
			if origin := c.Setting("database_url").Origin; !strings.Contains(origin, tt.origin) {
				t.Errorf("origin %q, want %q", origin, tt.origin)
			}
		})
	}
}

func TestNoDatabase(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.env = append(w.env, "DATABASE_URL=", "PGSSLMODE=require", "PGPASSWORD=x")
	w.write(userFile, "profiles: {prod: {database_url: 'postgres://h/db'}}\n")
	if _, err := w.mustLoad().Database(); !errors.Is(err, config.ErrNoDatabase) {
		t.Errorf("got %v, want ErrNoDatabase", err)
	}
}

func TestProfiles(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write(userFile, "profiles:\n  Prod.EU:\n    protected: true\n    database_url: postgres://eu/db\n    "+
		"migrations_dir: sql\n")
	w.write(systemFile, "profiles:\n  prod.eu:\n    database_url: postgres://weaker/db\n    concurrency: 3\n  stage:\n  "+
		"  concurrency: 9\n")
	w.flags["profile"] = "Prod.EU"
	c := w.mustLoad()
	if c.Profile != "prod.eu" || !c.Protected || string(c.DatabaseURL) != "postgres://eu/db" || !c.DatabaseFromProfile() {
		t.Errorf("got profile %q, protected %v, %s", c.Profile, c.Protected, string(c.DatabaseURL))
	}
	if want := filepath.Join(w.dir, "xdg", "crmctl", "sql"); c.MigrationsDir != want {
		t.Errorf("migrations_dir %q, want it beside its file: %q", c.MigrationsDir, want)
	}
	if c.Concurrency != 0 {
		t.Errorf("concurrency %d: a profile of the same name in a weaker file must not be mixed in", c.Concurrency)
	}
	if got := strings.Join(c.Profiles(), " "); got != "prod.eu stage" {
		t.Errorf("profiles %q", got)
	}
}

func TestInvalid(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		flags map[string]string
		env   []string
		file  string
		want  []string // parts of the error
	}{
		{name: "number", env: []string{"CRMCTL_CONCURRENCY=abc"}, want: []string{"CRMCTL_CONCURRENCY=abc",
			"whole number from 1 to"}},
		{name: "number out of range", env: []string{"CRMCTL_CONCURRENCY=0"}, want: []string{"CRMCTL_CONCURRENCY=0"}},
		{name: "bool", env: []string{"CRMCTL_DRY_RUN=yes"}, want: []string{"CRMCTL_DRY_RUN=yes", "true or false"}},
		{name: "duration", env: []string{"CRMCTL_LOCK_TIMEOUT=5"}, want: []string{"CRMCTL_LOCK_TIMEOUT=5", "30s"}},
		{name: "negative duration", env: []string{"CRMCTL_RETENTION=-3d"}, want: []string{"CRMCTL_RETENTION=-3d"}},
		{name: "choice", env: []string{"CRMCTL_OUTPUT=xml"}, want: []string{"CRMCTL_OUTPUT=xml", "ndjson"}},
		{name: "overruled but wrong", env: []string{"CRMCTL_CONCURRENCY=abc"}, flags: map[string]string{"concurrency": "3"},
			want: []string{"CRMCTL_CONCURRENCY=abc"}},
		{name: "in a file", file: "concurrency: many\n", want: []string{projectFile, "concurrency", "many"}},
		{name: "yaml's yes", file: "utc: yes\n", want: []string{"utc", "yes", "true or false"}},
		{name: "unknown key", file: "databse_url: postgres://h/db\n", want: []string{projectFile,
			`unknown key "databse_url"; did you mean "database_url"?`}},
		{name: "unknown key in a profile", file: "profiles: {prod: {protcted: true}}\n",
			want: []string{"profiles: prod:", `did you mean "protected"?`}},
		{name: "key that belongs to a profile", file: "protected: true\n", want: []string{`unknown key "protected"`}},
		{name: "profile in a profile", file: "profiles: {a: {profile: b}}\n", want: []string{`unknown key "profile"`}},
		{name: "list", file: "output: [json, csv]\n", want: []string{"output", "single value"}},
		{name: "map", file: "output: {a: b}\n", want: []string{"output", "single value"}},
		{name: "no YAML", file: "output: [\n", want: []string{projectFile, "line"}},
		{name: "doubled key", file: "output: json\noutput: csv\n", want: []string{projectFile, "already defined"}},
		{name: "profiles is a list", file: "profiles: [prod]\n", want: []string{"profiles"}},
		{name: "unknown profile", flags: map[string]string{"profile": "prdo"}, file: "profiles: {prod: {utc: true}}\n",
			want: []string{`no profile "prdo" (--profile)`, `did you mean "prod"?`}},
		{name: "no profiles at all", env: []string{"CRMCTL_PROFILE=prod"},
			want: []string{`no profile "prod" (CRMCTL_PROFILE)`, "no profile is defined"}},
		{name: "missing file", flags: map[string]string{"config": "nowhere.yaml"},
			want: []string{"nowhere.yaml", "--config"}},
		{name: "password in a flag", flags: map[string]string{"database-url": "postgres://u:geheim@h/db"},
			want: []string{"DATABASE_URL", "PGPASSWORD", ".pgpass"}},
		{name: "password in a flag, key=value", flags: map[string]string{"database-url": "host=h password=geheim"},
			want: []string{"--database-url"}},
		{name: "password in a flag, query", flags: map[string]string{"database-url": "postgres://u@h/db?password=geheim"},
			want: []string{"--database-url"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.env = append(w.env, tt.env...)
			w.flags = tt.flags
			if tt.file != "" {
				w.write(projectFile, tt.file)
			}
			_, err := w.load()
			if !errors.Is(err, config.ErrInvalid) {
				t.Fatalf("got %v, want ErrInvalid", err)
			}
			for _, part := range tt.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not say %q", err, part)
				}
			}
			if strings.Contains(err.Error(), "geheim") {
				t.Errorf("the error shows the password: %q", err)
			}
		})
	}
}

func TestNamedFileReplacesTheUsualOnes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write(projectFile, "concurrency: 2\noutput: json\n")
	named := w.write("named.yaml", "concurrency: 3\n")
	w.env = append(w.env, "CRMCTL_CONFIG="+named)
	if c := w.mustLoad(); c.Concurrency != 3 || c.Output != "table" {
		t.Errorf("CRMCTL_CONFIG: concurrency %d, output %s", c.Concurrency, c.Output)
	}
	w.flags["config"] = w.write("flag.yaml", "concurrency: 5\n")
	if c := w.mustLoad(); c.Concurrency != 5 {
		t.Errorf("--config over CRMCTL_CONFIG: concurrency %d", c.Concurrency)
	}
}

func TestColor(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, file, want string
		env              []string
		flag             string
	}{
		{name: "default", want: "auto"},
		{name: "NO_COLOR over a file", env: []string{"NO_COLOR=1"}, file: "color: always\n", want: "never"},
		{name: "NO_COLOR over CLICOLOR_FORCE", env: []string{"NO_COLOR=1", "CLICOLOR_FORCE=1"}, want: "never"},
		{name: "CLICOLOR_FORCE", env: []string{"CLICOLOR_FORCE=1"}, want: "always"},
		{name: "CLICOLOR_FORCE=0", env: []string{"CLICOLOR_FORCE=0"}, want: "auto"},
		{name: "CRMCTL_COLOR over NO_COLOR", env: []string{"NO_COLOR=1", "CRMCTL_COLOR=always"}, want: "always"},
		{name: "flag over all", env: []string{"NO_COLOR=1", "CRMCTL_COLOR=auto"}, flag: "always", want: "always"},
	}
	for _, tt := range tests {
		w := newWorld(t)
		w.env = append(w.env, tt.env...)
		if tt.flag != "" {
			w.flags["color"] = tt.flag
		}
		if tt.file != "" {
			w.write(projectFile, tt.file)
		}
		if got := w.mustLoad().Color; got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.env = append(w.env, "CRMCTL_CONCURENCY=4", "CRMCTL_TEST_DATABASE_URL=x")
	c := w.mustLoad()
	if len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], `did you mean "CRMCTL_CONCURRENCY"?`) {
		t.Errorf("warnings %q", c.Warnings)
	}
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	c := newWorld(t).mustLoad()
	if c.Concurrency != 0 || c.Retention != 30*24*time.Hour || c.Output != "table" || c.Color != "auto" ||
		c.DryRun || c.UTC {
		t.Errorf("unexpected defaults: %+v", c)
	}
	for _, s := range c.Settings() {
		if s.Origin != "default" && s.Origin != "not set" {
			t.Errorf("%s comes from %q", s.Key, s.Origin)
		}
	}
}

func FuzzFile(f *testing.F) {
	for _, seed := range []string{"", "concurrency: 4\n", "profiles: {a: {database_url: x}}", "a: &x [*x]", "- 1",
		"? {a: b}\n: c", "\xff\xfe"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(t.TempDir(), "c.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := config.Load(config.Sources{Env: []string{"CRMCTL_CONFIG=" + path}})
		if err != nil && !errors.Is(err, config.ErrInvalid) {
			t.Errorf("error without ErrInvalid: %v", err)
		}
		if err == nil && c.Concurrency < 0 {
			t.Errorf("concurrency %d", c.Concurrency)
		}
	})
}

// TestTrustedOwners: whom to trust is not said by a file that may be anybody's.
func TestTrustedOwners(t *testing.T) {
	t.Parallel()
	project, user := t.TempDir(), t.TempDir()
	write := func(dir string) {
		t.Helper()
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "crmctl.yaml"), []byte("trusted_owners: app, my app\n"),
			0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(user, "crmctl"))
	src := config.Sources{Env: []string{"XDG_CONFIG_HOME=" + user}, Dir: project}
	c, err := config.Load(src)
	if err != nil || !slices.Equal(c.TrustedOwners, []string{"app", "my app"}) {
		t.Errorf("%v, %q", err, c.TrustedOwners)
	}
	src.Env = append(src.Env, "CRMCTL_TRUSTED_OWNERS=other")
	if c, err = config.Load(src); err != nil || !slices.Equal(c.TrustedOwners, []string{"other"}) {
		t.Errorf("%v, %q", err, c.TrustedOwners)
	}
	write(project)
	if _, err = config.Load(src); !errors.Is(err, config.ErrInvalid) || !strings.Contains(err.Error(),
		"trusted_owners is not taken from a file in the working directory") {
		t.Errorf("%v", err)
	}
}

func TestSharedSchemas(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	load := func(yaml string, env ...string) (*config.Config, error) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "crmctl.yaml"), []byte(yaml), 0o600); err != nil {
			t.Fatal(err)
		}
		return config.Load(config.Sources{Env: env, Dir: dir})
	}
	for yaml, want := range map[string][]string{
		"":                                nil,
		"shared_schemas: public\n":        {"public"},
		"shared_schemas: App, public\n":   {"App", "public"},
		"shared_schemas: [app, public]\n": {"app", "public"},
		"shared_schemas:\n- public\n":     {"public"},
		"shared_schemas: []\n":            nil,
	} {
		if c, err := load(yaml); err != nil || !slices.Equal(c.SharedSchemas, want) {
			t.Errorf("%q: %v, %v", yaml, c, err)
		}
	}
	if c, err := load("shared_schemas: [app]\n", "CRMCTL_SHARED_SCHEMAS=public"); err != nil ||
		!slices.Equal(c.SharedSchemas, []string{"public"}) {
		t.Errorf("%v, %v", c, err)
	}
	if c, err := load("profiles:\n  prod:\n    shared_schemas: [app]\n", "CRMCTL_PROFILE=prod"); err != nil ||
		!slices.Equal(c.SharedSchemas, []string{"app"}) {
		t.Errorf("%v, %v", c, err)
	}
	for _, yaml := range []string{"shared_schemas: pg_catalog\n", "shared_schemas: [app, app]\n",
		"shared_schemas: [information_schema]\n", "shared_schemas: [[app]]\n", "shared_schemas: {app: x}\n",
		"concurrency: [1]\n"} {
		if _, err := load(yaml); !errors.Is(err, config.ErrInvalid) {
			t.Errorf("%q: %v", yaml, err)
		}
	}
}
