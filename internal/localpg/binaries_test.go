//go:build unix

package localpg

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestParseVersion(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]struct {
		version string
		major   int
	}{
		"postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n": {"15.18", 15},
		"postgres (PostgreSQL) 18.4\n":                           {"18.4", 18},
		"postgres (PostgreSQL) 19beta1\n":                        {"19beta1", 19},
		"postgres (PostgreSQL) 9.6.24\n":                         {"9.6.24", 9},
	} {
		version, major, err := parseVersion(line)
		if version != want.version || major != want.major || err != nil {
			t.Errorf("%q: %s, %d, %v", line, version, major, err)
		}
	}
	for _, line := range []string{"", "postgres", "postgres (EnterpriseDB) 15.1"} {
		if version, _, err := parseVersion(line); err == nil {
			t.Errorf("%q: version %s, want an error", line, version)
		}
	}
}

func TestNewestFirst(t *testing.T) {
	t.Parallel()
	got := newestFirst([]string{"/pg/14/bin", "/pg/9.6/bin", "/pg/18/bin", "/pg/15/bin"})
	if want := []string{"/pg/18/bin", "/pg/15/bin", "/pg/14/bin", "/pg/9.6/bin"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestFindBinaries(t *testing.T) {
	t.Parallel()
	dir := newRoot(t)
	if err := os.WriteFile(filepath.Join(dir, "postgres"), []byte("#!/bin/sh\necho 'postgres (PostgreSQL) 16.3'\n"),
		0o755); err != nil {
		t.Fatal(err)
	}
	_, _, err := FindBinaries(t.Context(), dir)
	var missing *BinariesError
	if !errors.Is(err, ErrNoBinaries) || !errors.As(err, &missing) || missing.Install == "" ||
		!strings.Contains(err.Error(), dir) {
		t.Errorf("without initdb: %v, want ErrNoBinaries that names %s and the install line", err, dir)
	}
	if err := os.WriteFile(filepath.Join(dir, "initdb"), nil, 0o755); err != nil {
		t.Fatal(err)
	}
	got, version, err := FindBinaries(t.Context(), dir)
	if got != dir || version != "16.3" || err != nil {
		t.Errorf("%s, %s, %v", got, version, err)
	}
}

func TestFindBinariesPrefersTheVersionOfTheData(t *testing.T) {
	dir := newRoot(t)
	var path []string
	for _, version := range []string{"97.1", "99.2", "98.3"} {
		bin := filepath.Join(dir, version)
		if err := os.Mkdir(bin, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(bin, "postgres"), []byte("#!/bin/sh\necho 'postgres (PostgreSQL) "+version+
			"'\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(bin, "initdb"), nil, 0o755); err != nil {
			t.Fatal(err)
		}
		path = append(path, bin)
	}
	t.Setenv("PATH", strings.Join(append(path, os.Getenv("PATH")), ":"))
	a, err := serverAccount("")
	if err != nil {
		t.Fatal(err)
	}
	for _, major := range []int{97, 98, 99} {
		b, err := findBinaries(t.Context(), "", major, a)
		if err != nil || b.major != major {
			t.Errorf("for data of version %d: %+v, %v", major, b, err)
		}
	}
}

func TestInstallLine(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "os-release")
	text := "NAME=Mint\nID=linuxmint\nID_LIKE=\"ubuntu debian\"\nVERSION_ID=22\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if got, want := osRelease(file), []string{"linuxmint", "ubuntu", "debian"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got := osRelease(file + ".none"); got != nil {
		t.Errorf("without the file: %q", got)
	}
	if line := installLine(); !strings.Contains(line, "postgresql") {
		t.Errorf("install line %q", line)
	}
}
