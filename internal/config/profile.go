package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// profilesDir holds the profiles that the program writes, one file each, so
// that the user's own file with its comments is never rewritten.
const profilesDir = "profiles.d"

// profileName is what a written profile may be called: it becomes a file name.
var profileName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)

// WriteProfile writes the profile name for the user of env (in the form of
// os.Environ), replacing an earlier one, and returns the path of its file. Only
// database_url is written. The file is private to the user.
func WriteProfile(env []string, name string, dsn DSN) (string, error) {
	path, err := profilePath(newEnvironment(env), name)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", fmt.Errorf("write profile %s: %w", name, err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+name+"-*") // made with mode 0600
	if err != nil {
		return "", fmt.Errorf("write profile %s: %w", name, err)
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // gone already when the rename worked
	text := "# Written by crmctl local start, removed by crmctl local reset.\n" +
		KeyDatabaseURL + ": '" + strings.ReplaceAll(string(dsn), "'", "''") + "'\n"
	if _, err = tmp.WriteString(text); err == nil {
		err = tmp.Close()
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return "", fmt.Errorf("write profile %s: %w", name, err)
	}
	return path, nil
}

// RemoveProfile removes what WriteProfile wrote; a profile that is not there is
// no error.
func RemoveProfile(env []string, name string) error {
	path, err := profilePath(newEnvironment(env), name)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove profile %s: %w", name, err)
	}
	return nil
}

func profilePath(env environment, name string) (string, error) {
	if !profileName.MatchString(name) {
		return "", invalidf("%q cannot be the name of a profile: want lower-case letters, digits, - and _", name)
	}
	dir := userDir(env)
	if dir == "" {
		return "", invalidf("no place for the profile %s: set HOME or XDG_CONFIG_HOME", name)
	}
	return filepath.Join(dir, profilesDir, name+".yaml"), nil
}

// readWrittenProfiles reads profiles.d. Its profiles are the weakest: the
// user's own of the same name win.
func (c *Config) readWrittenProfiles(env environment) ([]file, error) {
	dir := userDir(env)
	if dir == "" {
		return nil, nil
	}
	entries, err := os.ReadDir(filepath.Join(dir, profilesDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, invalidf("read configuration: %v", err)
	}
	var files []file
	for _, entry := range entries {
		name, isYAML := strings.CutSuffix(entry.Name(), ".yaml")
		if !isYAML || strings.HasPrefix(name, ".") {
			continue
		}
		f, err := c.readFile(filepath.Join(dir, profilesDir, entry.Name()), func(path string, r io.Reader) (file, error) {
			body, err := readYAML(path, r)
			if err != nil {
				return file{}, err
			}
			p, err := parseProfile(path, strings.ToLower(name), body)
			return file{path: path, profiles: []profile{p}}, err
		})
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed a moment ago
		}
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}
