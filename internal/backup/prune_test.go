package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"
)

// shelf is a directory of backups for a test.
type shelf struct {
	*Dir

	key *age.X25519Identity
}

func newShelf(t *testing.T) *shelf {
	t.Helper()
	d, err := OpenDir(t.TempDir(), false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return &shelf{d, key}
}

// kind is how a test's backup is written.
type kind struct {
	name      string
	format    Format
	encrypted bool
}

var kinds = []kind{
	{"container", FormatContainer, false}, {"encrypted", FormatContainer, true},
	{"dump", FormatPgDump, false}, {"encrypted dump", FormatPgDump, true},
}

// put writes a backup as it would have been written on a day of November 2026.
func (s *shelf) put(t *testing.T, k kind, slug string, day, hour int) string {
	t.Helper()
	at := time.Date(2026, 11, day, hour, 0, 0, 0, time.UTC)
	name := Name{Slug: slug, TakenAt: at, Version: 4, Format: k.format, Encrypted: k.encrypted}
	var to []age.Recipient
	if k.encrypted {
		to = append(to, s.key.Recipient())
	}
	file, _, err := s.write(&name, to, func(w io.Writer) error {
		data := []byte(pgDumpMagic + slug + strings.Repeat("x", 1000))
		if k.format == FormatContainer {
			m := testManifest("contacts")
			m.Tenant.Slug, m.SchemaVersion, m.TakenAt = slug, 4, at
			data = container(t, m, "1\tAda\n2\t"+strings.Repeat("é", 500)+"\n")
		}
		_, err := w.Write(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// change flips a bit in the middle of a file.
func (s *shelf) change(t *testing.T, file string) {
	t.Helper()
	data, err := os.ReadFile(s.Path(file))
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(s.Path(file), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// prune plans, prunes, and returns what stayed.
func (s *shelf) prune(t *testing.T, keep string, identities ...age.Identity) []string {
	t.Helper()
	k, err := ParseKeep(keep)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := s.PlanPrune(t.Context(), k, ProveOptions{Identities: identities})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Prune(plan); err != nil {
		t.Fatal(err)
	}
	files, orphans, err := s.Files()
	if err != nil || len(orphans) > 0 {
		t.Fatal(orphans, err)
	}
	return files
}

// TestPruneKeepsAWholeBackup damages the newest backup, or the newest two, of every
// kind in every way: the newest whole one stays.
func TestPruneKeepsAWholeBackup(t *testing.T) {
	t.Parallel()
	cut := func(n func(size int64) int64) func(*testing.T, *shelf, string) {
		return func(t *testing.T, s *shelf, file string) {
			t.Helper()
			info, err := os.Stat(s.Path(file))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(s.Path(file), n(info.Size())); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, damage := range map[string]func(*testing.T, *shelf, string){
		"changed": func(t *testing.T, s *shelf, file string) { t.Helper(); s.change(t, file) },
		"cut":     cut(func(size int64) int64 { return size - 1 }),
		"half":    cut(func(size int64) int64 { return size / 2 }),
		"empty":   cut(func(int64) int64 { return 0 }),
		"zeroed": func(t *testing.T, s *shelf, file string) {
			t.Helper()
			info, err := os.Stat(s.Path(file))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(s.Path(file), make([]byte, info.Size()), 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"of another tenant": func(t *testing.T, s *shelf, file string) {
			t.Helper()
			n, _ := ParseName(file)
			other := s.put(t, kind{format: n.Format, encrypted: n.Encrypted}, "globex", n.TakenAt.Day(), n.TakenAt.Hour())
			if err := os.Rename(s.Path(other), s.Path(file)); err != nil {
				t.Fatal(err)
			}
			_ = os.Remove(s.Path(other + checksumSuffix))
		},
		"a directory": func(t *testing.T, s *shelf, file string) {
			t.Helper()
			if err := errors.Join(os.Remove(s.Path(file)), os.Mkdir(s.Path(file), 0o700)); err != nil {
				t.Fatal(err)
			}
		},
	} {
		for _, k := range kinds {
			t.Run(name+" "+k.name, func(t *testing.T) {
				t.Parallel()
				s := newShelf(t)
				oldest := s.put(t, k, "acme", 20, 3)
				whole := s.put(t, k, "acme", 21, 3)
				bad := s.put(t, k, "acme", 21, 12)
				worse := s.put(t, k, "acme", 21, 18)
				damage(t, s, bad)
				damage(t, s, worse)
				if got, want := s.prune(t, "1d"), []string{whole, bad, worse}; !slices.Equal(got, want) {
					t.Errorf("left %v, want %v (%s goes)", got, want, oldest)
				}
			})
		}
	}
}

// TestPruneWithoutChecksums: files of an older version, files moved without their
// checksums, checksums that were damaged or belong to others are not relied on.
func TestPruneWithoutChecksums(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(s *shelf, file string) error{
		"missing": func(s *shelf, file string) error { return os.Remove(s.Path(file + checksumSuffix)) },
		"empty":   func(s *shelf, file string) error { return os.WriteFile(s.Path(file+checksumSuffix), nil, 0o600) },
		"no checksum": func(s *shelf, file string) error {
			return os.WriteFile(s.Path(file+checksumSuffix), []byte("hello  "+file), 0o600)
		},
		"of another": func(s *shelf, file string) error {
			return os.WriteFile(s.Path(file+checksumSuffix), []byte(strings.Repeat("0", 64)+"  b"), 0o600)
		},
		"a directory": func(s *shelf, file string) error {
			return errors.Join(os.Remove(s.Path(file+checksumSuffix)), os.Mkdir(s.Path(file+checksumSuffix), 0o700))
		},
		"a symlink": func(s *shelf, file string) error {
			return errors.Join(os.Rename(s.Path(file+checksumSuffix), s.Path("x")), os.Symlink("x", s.Path(file+checksumSuffix)))
		},
		"a large file": func(s *shelf, file string) error { return os.Truncate(s.Path(file+checksumSuffix), 1<<20) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShelf(t)
			k := kinds[1]
			first := s.put(t, k, "acme", 20, 3)
			second := s.put(t, k, "acme", 21, 3)
			third := s.put(t, k, "acme", 21, 9)
			for _, file := range []string{second, third} {
				if err := spoil(s, file); err != nil {
					t.Fatal(err)
				}
			}
			if got, want := s.prune(t, "1d"), []string{first, second, third}; !slices.Equal(got, want) {
				t.Errorf("without a key left %v, want %v", got, want)
			}
			other, err := age.GenerateX25519Identity()
			if err != nil {
				t.Fatal(err)
			}
			if got, want := s.prune(t, "1d", other), []string{first, second, third}; !slices.Equal(got, want) {
				t.Errorf("with another's key left %v, want %v", got, want)
			}
			if got, want := s.prune(t, "1d", other, s.key), []string{third}; !slices.Equal(got, want) {
				t.Errorf("with the key left %v, want %v", got, want)
			}
		})
	}
}

// Once whole backups fill a period, those that nothing proves go as any other.
func TestUnprovenBackupsAge(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	k := kinds[3]
	for day := 1; day <= 3; day++ {
		if err := os.Remove(s.Path(s.put(t, k, "acme", day, 3) + checksumSuffix)); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.prune(t, "2d"); len(got) != 3 {
		t.Errorf("left %v", got)
	}
	fourth := s.put(t, k, "acme", 4, 3)
	if got := s.prune(t, "2d"); len(got) != 4 {
		t.Errorf("left %v", got)
	}
	fifth := s.put(t, k, "acme", 5, 3)
	if got, want := s.prune(t, "2d"), []string{fourth, fifth}; !slices.Equal(got, want) {
		t.Errorf("left %v, want %v", got, want)
	}
}

// TestPruneReadsWhatItReliesOn and no more.
func TestPruneReadsWhatItReliesOn(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	sizes := map[string]int64{}
	for _, slug := range []string{"acme", "globex"} {
		for day := 1; day <= 5; day++ {
			if slug == "globex" && day > 2 {
				continue
			}
			file := s.put(t, kinds[day%2], slug, day, 3)
			info, err := os.Stat(s.Path(file))
			if err != nil {
				t.Fatal(err)
			}
			sizes[file] = info.Size()
		}
	}
	var mu sync.Mutex
	var read, want int64
	plan, err := s.PlanPrune(t.Context(), Keep{Days: 2}, ProveOptions{Progress: func(n int64) {
		mu.Lock()
		defer mu.Unlock()
		read += n
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range plan {
		if p.Name.Slug == "acme" && p.Name.TakenAt.Day() >= 4 {
			want += sizes[p.File]
		}
		if p.Remove != (p.Name.Slug == "acme" && p.Name.TakenAt.Day() < 4) {
			t.Errorf("%s: remove %t", p.File, p.Remove)
		}
	}
	if d := want - read; d < 0 || d > 100 { // of a container not its trailer
		t.Errorf("%d bytes read, want %d", read, want)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.PlanPrune(ctx, Keep{Days: 2}, ProveOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}

// A file that changes or goes between the reading and the removal is not relied on.
func TestPruneLooksAgain(t *testing.T) {
	t.Parallel()
	for name, meddle := range map[string]func(path string) error{
		"gone":    os.Remove,
		"written": func(path string) error { return os.WriteFile(path, []byte("x"), 0o600) },
		"replaced": func(path string) error {
			return errors.Join(os.WriteFile(path+"x", []byte("x"), 0o600), os.Rename(path+"x", path))
		},
	} {
		s := newShelf(t)
		old, kept := s.put(t, kinds[0], "acme", 1, 3), s.put(t, kinds[0], "acme", 2, 3)
		s.put(t, kinds[0], "globex", 1, 3)
		s.put(t, kinds[0], "globex", 2, 3)
		plan, err := s.PlanPrune(t.Context(), Keep{Days: 1}, ProveOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := meddle(s.Path(kept)); err != nil {
			t.Fatal(err)
		}
		if err := s.Prune(plan); err == nil {
			t.Errorf("%s: no error", name)
		}
		files, _, err := s.Files()
		if err != nil || !slices.Contains(files, old) {
			t.Errorf("%s: left %v, %v", name, files, err)
		}
		if slices.ContainsFunc(files, func(f string) bool { return strings.HasPrefix(f, "globex-20261101") }) {
			t.Errorf("%s: another tenant was not pruned: %v", name, files)
		}
	}
}

// What was given the name of another time is not lost by its name.
func TestPruneOfSwappedFiles(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	a, b := s.put(t, kinds[0], "acme", 1, 3), s.put(t, kinds[0], "acme", 2, 3)
	if err := errors.Join(os.Rename(s.Path(a), s.Path("x")), os.Rename(s.Path(b), s.Path(a)),
		os.Rename(s.Path("x"), s.Path(b))); err != nil {
		t.Fatal(err)
	}
	if got := s.prune(t, "1d"); len(got) != 2 {
		t.Errorf("left %v", got)
	}
}

func TestOnePruneAtATime(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	other, err := OpenDir(s.path, false)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	release, err := s.LockPrune()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.LockPrune(); !errors.Is(err, ErrLocked) {
		t.Errorf("%v, want ErrLocked", err)
	}
	release()
	if release, err = other.LockPrune(); err != nil {
		t.Error(err)
	} else {
		release()
	}
}

// Checksums whose backups are gone are cleared away, those of a writer at work and of
// other people's files are not.
func TestOrphanedChecksums(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	gone, there := s.put(t, kinds[1], "acme", 1, 3), s.put(t, kinds[1], "acme", 2, 3)
	if err := errors.Join(os.Remove(s.Path(gone)), os.WriteFile(s.Path("iso.img.sha256"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	beside := s.Path("globex-20261101T030000Z-v4.crmctl.age.sha256")
	f, err := os.Create(beside)
	if err != nil {
		t.Fatal(err)
	}
	if !tryLock(f) {
		t.Fatal("no lock")
	}
	files, orphans, err := s.Files()
	if err != nil || !slices.Equal(files, []string{there}) || len(orphans) != 2 {
		t.Errorf("%v, %v, %v", files, orphans, err)
	}
	if err := s.Prune(nil); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(beside); err != nil {
		t.Error("the checksum of a writer at work is gone")
	}
	_ = f.Close()
	if err := s.Prune(nil); err != nil {
		t.Error(err)
	}
	left, err := filepath.Glob(s.Path("*"))
	if err != nil || len(left) != 3 {
		t.Errorf("left %v, %v", left, err)
	}
}

// TestChecksumIsThatOfSha256sum holds the form, and that a name which is taken is
// passed by together with its checksum.
func TestChecksumIsThatOfSha256sum(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	first, second := s.put(t, kinds[1], "acme", 1, 3), s.put(t, kinds[1], "acme", 1, 3)
	if first == second || !strings.Contains(second, "030001Z") {
		t.Fatalf("%s, %s", first, second)
	}
	for _, file := range []string{first, second} {
		data, err := os.ReadFile(s.Path(file))
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(s.Path(file + checksumSuffix))
		if want := fmt.Sprintf("%x  %s\n", sha256.Sum256(data), file); err != nil || string(text) != want {
			t.Errorf("%q, %v, want %q", text, err, want)
		}
		info, err := os.Stat(s.Path(file + checksumSuffix))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", info, err)
		}
	}
	if _, err := os.Stat(s.Path(s.put(t, kinds[0], "acme", 1, 3) + checksumSuffix)); err == nil {
		t.Error("a container, which has its own checksum, has one beside it")
	}
}

// TestYoung: only a whole backup of the very tenant, young enough and of the asked
// kind, makes another one unnecessary.
func TestYoung(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			s := newShelf(t)
			file := s.put(t, k, "acme", 21, 3)
			want := Wanted{
				ID: testManifest().Tenant.ID, Slug: "acme", Version: 4, Since: now.Add(-100 * time.Hour),
				Format: k.format, Encrypted: k.encrypted,
			}
			young := func(w Wanted, age time.Duration, at time.Time) string {
				t.Helper()
				found, _, err := s.Young(t.Context(), []Wanted{{Slug: "globex", Version: 4, Format: k.format}, w}, at.Add(-age), at,
					ProveOptions{})
				if err != nil || found[0] != nil {
					t.Fatal(found, err)
				}
				if found[1] == nil {
					return ""
				}
				return found[1].File
			}
			if got := young(want, 24*time.Hour, now); got != file {
				t.Errorf("found %q", got)
			}
			if got := young(want, time.Hour, now); got != "" {
				t.Errorf("too old: found %q", got)
			}
			if got := young(want, 24*time.Hour, now.Add(-20*time.Hour)); got != "" {
				t.Errorf("in the future: found %q", got)
			}
			for what, change := range map[string]func(w *Wanted){
				"version": func(w *Wanted) { w.Version = 5 }, "younger tenant": func(w *Wanted) { w.Since = now },
				"format": func(w *Wanted) { w.Format += "x" }, "encryption": func(w *Wanted) { w.Encrypted = !w.Encrypted },
			} {
				w := want
				change(&w)
				if got := young(w, 24*time.Hour, now); got != "" {
					t.Errorf("other %s: found %q", what, got)
				}
			}
			if k == kinds[0] {
				w := want
				w.ID = "00000000-0000-0000-0000-000000000001"
				if got := young(w, 24*time.Hour, now); got != "" {
					t.Errorf("other tenant: found %q", got)
				}
			}
			later := s.put(t, k, "acme", 21, 6)
			s.change(t, later)
			if got := young(want, 24*time.Hour, now); got != file {
				t.Errorf("beside a damaged one: found %q", got)
			}
			s.change(t, file)
			if got := young(want, 24*time.Hour, now); got != "" {
				t.Errorf("damaged: found %q", got)
			}
			_, passed, err := s.Young(t.Context(), []Wanted{want}, now.Add(-24*time.Hour), now, ProveOptions{})
			if err != nil || len(passed) != 2 || !errors.Is(passed[0].Err, ErrCorrupt) {
				t.Errorf("passed by %+v, %v", passed, err)
			}
		})
	}
}

// TestExamineOfEncryptedFiles tells a damaged file from one for others, byte by byte.
func TestExamineOfEncryptedFiles(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	file := s.put(t, kinds[1], "acme", 1, 3)
	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	inspect := func(keys ...age.Identity) error {
		t.Helper()
		_, err := Examine(t.Context(), s.Path(file), keys, nil)
		return err
	}
	if err := inspect(s.key); err != nil {
		t.Errorf("with the key: %v", err)
	}
	for what, err := range map[string]error{"without a key": inspect(), "with another's key": inspect(other)} {
		if !errors.Is(err, ErrEncrypted) || errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(),
			"as it was written") {
			t.Errorf("%s: %v", what, err)
		}
	}
	data, err := os.ReadFile(s.Path(file))
	if err != nil {
		t.Fatal(err)
	}
	write := func(b []byte) {
		t.Helper()
		if err := os.WriteFile(s.Path(file), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	wrong := func(what string, keys ...age.Identity) {
		t.Helper()
		if err := inspect(keys...); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s, %d keys: %v, want ErrCorrupt", what, len(keys), err)
		}
	}
	const step = 11
	for i := 0; i < len(data); i += step {
		b := bytes.Clone(data)
		b[i] ^= 1
		write(b)
		wrong(fmt.Sprintf("byte %d changed", i), s.key)
		wrong(fmt.Sprintf("byte %d changed", i), other)
		write(data[:i])
		wrong(fmt.Sprintf("cut at %d", i), s.key)
		wrong(fmt.Sprintf("cut at %d", i))
	}
	write(append(bytes.Clone(data), 0))
	wrong("longer", s.key)
	// Without a checksum a change of the stanza for the recipient looks like another's
	// file; all else is damage.
	if err := os.Remove(s.Path(file + checksumSuffix)); err != nil {
		t.Fatal(err)
	}
	head := bytes.Index(data, []byte("\n---"))
	for i := 0; i < len(data); i += step {
		b := bytes.Clone(data)
		b[i] ^= 1
		write(b)
		if err := inspect(s.key); err == nil || i > head && !errors.Is(err, ErrCorrupt) {
			t.Errorf("no checksum, byte %d changed: %v", i, err)
		}
	}
}
