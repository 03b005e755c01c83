package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/crmctl/crmctl/internal/suggest"
)

// layer is one source of values. The layers of a Load form a stack, the
// strongest first.
type layer struct {
	// lookup returns the text of a key and where exactly it stands.
	lookup func(k key) (value, origin string, ok bool)
	// dir is what relative paths of this layer start from; "" for the working
	// directory.
	dir string
	// project: the file of the working directory, or a profile of it.
	project bool
	// fallback: the defaults.
	fallback bool
	// inFile makes the error of a bad value name the key as well.
	inFile bool
}

// describe returns `CRMCTL_CONCURRENCY=abc` or `crmctl.yaml: concurrency: abc`,
// the beginning of an error about a value.
func (l layer) describe(origin string, k key, value string) string {
	if l.inFile {
		return fmt.Sprintf("%s: %s: %q", origin, k.name, value)
	}
	return fmt.Sprintf("%s=%s", origin, value)
}

func keyFlag(name string) string { return key{name: name}.flag() }

// layers builds the stack. The values of the chosen profile take the rank of
// the place where it was chosen.
func (c *Config) layers(files []file, env environment, flag func(string) (string, bool),
	optional func(string) bool) ([]layer, error) {
	byFlag := layer{lookup: func(k key) (string, string, bool) {
		v, given := flag(k.flag())
		return v, "--" + k.flag(), given
	}}
	byEnv := layer{lookup: func(k key) (string, string, bool) {
		v, ok := env.get(k.env())
		return v, k.env(), ok
	}}
	custom := layer{lookup: env.conventional}

	choosers := []layer{byFlag, byEnv}
	for _, f := range files {
		choosers = append(choosers, f.layer())
	}
	profile, chosenBy, err := c.chooseProfile(files, choosers, optional)
	if err != nil {
		return nil, err
	}
	stack := []layer{byFlag}
	add := func(rank int, l layer) {
		if profile != nil && chosenBy == rank {
			stack = append(stack, profile.layer())
		}
		stack = append(stack, l)
	}
	add(0, byEnv)
	add(1, custom)
	for i, l := range choosers[2:] {
		// Whichever file chose it, a profile beats the plain values of all files.
		if i == 0 && chosenBy > 1 {
			chosenBy = 2
		}
		add(i+2, l)
	}
	weak := layer{lookup: env.weak}
	fallback := layer{lookup: func(k key) (string, string, bool) {
		return k.fallback, "default", k.fallback != ""
	}, fallback: true}
	return append(stack, weak, fallback), nil
}

// chooseProfile returns the profile in force, nil for none, and the index of
// the layer that chose it.
func (c *Config) chooseProfile(files []file, choosers []layer, optional func(string) bool) (*profile, int, error) {
	for _, f := range files {
		for _, p := range f.profiles {
			c.profiles = append(c.profiles, p.name)
		}
	}
	slices.Sort(c.profiles)
	c.profiles = slices.Compact(c.profiles)

	k := findKey(KeyProfile)
	for rank, l := range choosers {
		name, origin, ok := l.lookup(k)
		if !ok {
			continue
		}
		p := c.findProfile(files, name)
		switch {
		case p == nil && optional != nil && optional(name):
			return nil, -1, nil
		case p == nil:
			return nil, 0, c.unknownProfile(name, origin)
		}
		c.Profile, c.Protected = p.name, p.protected
		return p, rank, nil
	}
	return nil, -1, nil
}

// findProfile returns the profile of a name, nil for none. One that the user or the
// machine has wins over one of the project's: a file in the working directory must
// not turn the meaning of "--profile prod".
func (c *Config) findProfile(files []file, name string) *profile {
	var found *profile
	for _, f := range files {
		for _, p := range f.profiles {
			if !strings.EqualFold(p.name, name) {
				continue
			}
			p.project = f.project
			switch {
			case found == nil:
				found = &p
			case found.project && !p.project:
				c.Warnings = append(c.Warnings, fmt.Sprintf("the profile %s of %s is used, not that of %s", p.name,
					p.path, found.path))
				return &p
			}
		}
	}
	return found
}

// environment is the process environment. An empty variable counts as not set.
type environment map[string]string

func newEnvironment(list []string) environment {
	env := make(environment, len(list))
	for _, pair := range list {
		if name, value, ok := strings.Cut(pair, "="); ok && value != "" {
			env[name] = value
		}
	}
	return env
}

func (env environment) get(name string) (string, bool) {
	v, ok := env[name]
	return v, ok
}

// conventional looks up the variables that are not ours but mean something to
// us.
func (env environment) conventional(k key) (value, origin string, ok bool) {
	switch k.name {
	case KeyDatabaseURL:
		if v, ok := env["DATABASE_URL"]; ok {
			return v, "DATABASE_URL", true
		}
		return env.libpq("PGHOST", "PGDATABASE", "PGSERVICE")
	case KeyColor:
		if _, ok := env["NO_COLOR"]; ok {
			return "never", "NO_COLOR", true
		}
		if v, ok := env["CLICOLOR_FORCE"]; ok && v != "0" {
			return "always", "CLICOLOR_FORCE", true
		}
	}
	return "", "", false
}

// weak looks up variables that name a database only when nothing else does:
// a PGUSER or PGPORT for every connection must not push aside the
// database_url of a file.
func (env environment) weak(k key) (value, origin string, ok bool) {
	if k.name != KeyDatabaseURL {
		return "", "", false
	}
	return env.libpq("PGHOSTADDR", "PGPORT", "PGUSER")
}

// libpq returns the empty connection string when one of the variables is set:
// libpq's rules then find everything.
func (env environment) libpq(names ...string) (value, origin string, ok bool) {
	var set []string
	for _, name := range names {
		if _, ok := env[name]; ok {
			set = append(set, name)
		}
	}
	return "", strings.Join(set, ", "), len(set) > 0
}

// warnings names variables that look like ours and are not: most likely a typo
// that would otherwise be ignored without a word.
func (env environment) warnings() []string {
	var known []string
	for _, v := range Variables() {
		known = append(known, v.Name)
	}
	var warnings []string
	for name := range env {
		if strings.HasPrefix(name, envPrefix) && !strings.HasPrefix(name, envTestPrefix) && !slices.Contains(known, name) {
			warnings = append(warnings, fmt.Sprintf("%s is not a variable of crmctl%s", name, suggest.DidYouMean(name, known)))
		}
	}
	slices.Sort(warnings)
	return warnings
}
