package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/viper"
	"go.yaml.in/yaml/v3"

	"github.com/crmctl/crmctl/internal/suggest"
)

const (
	fileName = "crmctl.yaml"
	appDir   = "crmctl"
	// maxFile is far above any sensible file and far below any memory.
	maxFile = 1 << 20
)

// file is one configuration file, read.
type file struct {
	path     string
	values   map[string]string
	profiles []profile
	project  bool // found in the working directory, not named by anybody
}

// profile is a named set of values of a file.
type profile struct {
	name      string
	path      string
	protected bool
	values    map[string]string
	project   bool
}

func profileOrigin(name string) string { return "profile " + name }

func (f file) layer() layer {
	l := valuesLayer(f.values, f.path, f.path)
	l.project = f.project
	return l
}

func (p profile) layer() layer {
	l := valuesLayer(p.values, p.path, profileOrigin(p.name)+" ("+p.path+")")
	l.project = p.project
	return l
}

func valuesLayer(values map[string]string, path, origin string) layer {
	return layer{
		lookup: func(k key) (string, string, bool) {
			v, ok := values[k.name]
			return v, origin, ok
		},
		dir:    filepath.Dir(path),
		inFile: true,
	}
}

// readFiles reads the files in their order, the strongest first.
func (c *Config) readFiles(src Sources, env environment, flag func(string) (string, bool)) ([]file, error) {
	if src.Apart {
		return nil, nil
	}
	named, given := flag(keyConfig)
	kind := "--config"
	if !given {
		named, given = env.get(envName(keyConfig))
		kind = envName(keyConfig)
	}
	if given {
		c.files = []File{{Path: named, Kind: kind}}
	} else {
		c.files = []File{{Path: filepath.Join(src.Dir, fileName), Kind: "project"}}
		if dir := userDir(env); dir != "" {
			c.files = append(c.files, File{Path: filepath.Join(dir, fileName), Kind: "user"})
		}
		if src.SystemDir != "" {
			c.files = append(c.files, File{Path: filepath.Join(src.SystemDir, appDir, fileName), Kind: "system"})
		}
	}
	var files []file
	for i := range c.files {
		if c.files[i].Kind == "project" {
			if err := checkProjectFile(c.files[i].Path); err != nil {
				return nil, err
			}
		}
		f, err := c.readFile(c.files[i].Path, parseFile)
		if errors.Is(err, fs.ErrNotExist) && !given {
			continue
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil, invalidf("no configuration file %s (%s)", named, kind)
		}
		if err != nil {
			return nil, err
		}
		if c.files[i].Kind == "project" {
			if err := f.checkProject(); err != nil {
				return nil, err
			}
		}
		c.files[i].Read = true
		if c.files[i].Kind == "project" {
			if err := c.restrict(&f, env); err != nil {
				return nil, err
			}
		}
		files = append(files, f)
	}
	written, err := c.readWrittenProfiles(env)
	if err != nil {
		return nil, err
	}
	return append(files, written...), nil
}

// checkProject refuses what a file in the working directory must not decide.
func (f file) checkProject() error {
	all := []map[string]string{f.values}
	for _, p := range f.profiles {
		all = append(all, p.values)
	}
	for _, k := range keys() {
		for _, values := range all {
			if _, ok := values[k.name]; ok && k.noProject {
				return invalidf("%s: %s is not taken from a file in the working directory; set it in your own crmctl.yaml or in %s",
					f.path, k.name, k.env())
			}
		}
	}
	return nil
}

// userDir returns the user's own configuration directory, "" when there is
// none. It is the XDG directory on every Unix, macOS included: one place to
// look for somebody who works on several.
func userDir(env environment) string {
	if dir, ok := env.get("XDG_CONFIG_HOME"); ok && filepath.IsAbs(dir) {
		return filepath.Join(dir, appDir)
	}
	if runtime.GOOS == "windows" {
		if dir, ok := env.get("AppData"); ok {
			return filepath.Join(dir, appDir)
		}
		return ""
	}
	if home, ok := env.get("HOME"); ok {
		return filepath.Join(home, ".config", appDir)
	}
	return ""
}

// readFile opens, checks and parses one file. The check looks at the opened
// file, so nobody can exchange it in between.
func (c *Config) readFile(path string, parse func(path string, r io.Reader) (file, error)) (file, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return file{}, err
	}
	if err != nil {
		return file{}, invalidf("read configuration: %v", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return file{}, invalidf("read configuration: %v", err)
	}
	// A pipe is welcome: crmctl --config <(sops decrypt crmctl.yaml).
	if info.IsDir() || info.Size() > maxFile {
		return file{}, invalidf("%s is not a configuration file: it is a directory or too large", path)
	}
	if err := checkOwner(path, info); err != nil {
		return file{}, err
	}
	parsed, err := parse(path, io.LimitReader(f, maxFile))
	if err != nil {
		return file{}, err
	}
	if parsed.holdsPassword() && othersMayRead(info) {
		c.Warnings = append(c.Warnings, fmt.Sprintf("%s holds a password and others can read it; run: chmod 600 %s",
			path, path))
	}
	return parsed, nil
}

func (f file) holdsPassword() bool {
	if DSN(f.values[KeyDatabaseURL]).HasPassword() || DSN(f.values[KeyDirectURL]).HasPassword() {
		return true
	}
	return slices.ContainsFunc(f.profiles, func(p profile) bool {
		return DSN(p.values[KeyDatabaseURL]).HasPassword() || DSN(p.values[KeyDirectURL]).HasPassword()
	})
}

// parseFile reads YAML into texts, which the keys parse: what YAML makes of
// "yes" or "010" is not our business.
func parseFile(path string, r io.Reader) (file, error) {
	top, err := readYAML(path, r)
	if err != nil {
		return file{}, err
	}
	f := file{path: path}
	if raw, ok := top[keyProfiles]; ok {
		if f.profiles, err = parseProfiles(path, raw); err != nil {
			return file{}, err
		}
		delete(top, keyProfiles)
	}
	f.values, err = texts(path, "", top, append(Keys(), keyProfiles))
	return f, err
}

func readYAML(path string, r io.Reader) (map[string]any, error) {
	// The delimiter cannot occur in a YAML key, so dots in the name of a
	// profile are just dots.
	v := viper.NewWithOptions(viper.KeyDelimiter("\x00"))
	v.SetConfigType("yaml")
	if err := v.ReadConfig(r); err != nil {
		if parse, ok := errors.AsType[viper.ConfigParseError](err); ok {
			err = errors.Unwrap(parse)
		}
		if wrong, ok := errors.AsType[*yaml.TypeError](err); ok {
			return nil, invalidf("%s: %s", path, strings.Join(wrong.Errors, "; "))
		}
		return nil, invalidf("%s: %v", path, err)
	}
	top := map[string]any{}
	for _, k := range v.AllKeys() {
		first, _, _ := strings.Cut(k, "\x00")
		top[first] = v.Get(first)
	}
	return top, nil
}

// Keys returns the keys that a file, or a profile in it, may hold.
func Keys() []string {
	var names []string
	for _, k := range keys() {
		names = append(names, k.name)
	}
	return names
}

func parseProfiles(path string, raw any) ([]profile, error) {
	entries, ok := raw.(map[string]any)
	if !ok {
		return nil, invalidf("%s: profiles: want the name of each profile, and its keys below it", path)
	}
	var profiles []profile
	for name, body := range entries {
		values, ok := body.(map[string]any)
		if body != nil && !ok {
			return nil, invalidf("%s: profiles: %s: want keys and values", path, name)
		}
		p, err := parseProfile(path, name, values)
		if err != nil {
			return nil, err
		}
		profiles = append(profiles, p)
	}
	slices.SortFunc(profiles, func(a, b profile) int { return strings.Compare(a.name, b.name) })
	return profiles, nil
}

func parseProfile(path, name string, body map[string]any) (profile, error) {
	where := "profiles: " + name + ": "
	allowed := slices.DeleteFunc(Keys(), func(k string) bool { return k == KeyProfile })
	values, err := texts(path, where, body, append(allowed, keyProtected))
	if err != nil {
		return profile{}, err
	}
	p := profile{name: name, path: path, values: values}
	if text, ok := values[keyProtected]; ok {
		if p.protected, err = parseBool(text); err != nil {
			return profile{}, invalidf("%s: %s%s: %q: %v", path, where, keyProtected, text, err)
		}
	}
	return p, nil
}

// texts checks the keys of one level and returns its values as they were
// written.
func texts(path, where string, raw map[string]any, allowed []string) (map[string]string, error) {
	values := make(map[string]string, len(raw))
	for _, name := range slices.Sorted(maps.Keys(raw)) {
		if !slices.Contains(allowed, name) {
			return nil, invalidf("%s: %sunknown key %q%s", path, where, name, suggest.DidYouMean(name, allowed))
		}
		switch v := raw[name].(type) {
		case nil:
		case string:
			if v != "" {
				values[name] = v
			}
		case bool, int, int64, uint64, float64:
			values[name] = fmt.Sprint(v)
		case []any:
			list, err := listText(v)
			if err != nil || !findKey(name).list {
				return nil, invalidf("%s: %s%s: want %s", path, where, name, wantOf(name))
			}
			if list != "" {
				values[name] = list
			}
		default:
			return nil, invalidf("%s: %s%s: want a single value", path, where, name)
		}
	}
	return values, nil
}

// listText returns a list of YAML as one text with commas.
func listText(list []any) (string, error) {
	out := make([]string, len(list))
	for i, v := range list {
		text, ok := v.(string)
		if !ok || strings.Contains(text, ",") {
			return "", errors.New("not a list of names")
		}
		out[i] = text
	}
	return strings.Join(out, ","), nil
}

func wantOf(name string) string {
	if findKey(name).list {
		return "a list of names"
	}
	return "a single value"
}
