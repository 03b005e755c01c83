package backup

import (
	"cmp"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"

	"filippo.io/age"
)

// Entry is a file of a directory of backups.
type Entry struct {
	File string
	Name Name // what the file's name says
	Size int64
	// Manifest is what the file says of itself; nil where that cannot be read
	// quickly: it is encrypted, or pg_dump wrote it.
	Manifest *Manifest
	// Err says why the file is not whole, nil when it seems to be.
	Err error
	// Proof is set by Prove, and Why where that could not tell.
	Proof Proof
	Why   error

	seen fs.FileInfo // the file that Prove read
}

// List returns the backups of a directory, by tenant and then the newest first. It
// reads the beginning and the end of each file, not the data: only Verify tells
// whether that is right. Other files are left out.
//
// An encrypted file is opened when identities are given, which means reading it
// whole.
func (d *Dir) List(identities []age.Identity) ([]Entry, error) {
	files, err := d.entries()
	if err != nil {
		return nil, err
	}
	var out []Entry
	for _, f := range files {
		name, ok := ParseName(f.Name())
		if !ok || !f.Type().IsRegular() {
			continue
		}
		e := Entry{File: f.Name(), Name: name}
		e.Size, e.Manifest, e.Err = d.readHead(e.File, name, identities)
		out = append(out, e)
	}
	slices.SortStableFunc(out, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(a.Name.Slug, b.Name.Slug), b.Name.TakenAt.Compare(a.Name.TakenAt),
			cmp.Compare(a.File, b.File))
	})
	return out, nil
}

// Files returns the names in a directory that are those of backups, whatever lies
// under them, and the names of checksums whose backups are gone.
func (d *Dir) Files() (files, orphans []string, err error) {
	entries, err := d.entries()
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		if _, ok := ParseName(e.Name()); ok {
			files = append(files, e.Name())
		}
	}
	orphans, err = d.orphans()
	return files, orphans, err
}

// readHead reads the manifest of a file, without the data.
func (d *Dir) readHead(file string, name Name, identities []age.Identity) (int64, *Manifest, error) {
	f, err := d.openRegular(file)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return 0, nil, err
	}
	switch {
	case info.Size() == 0:
		return 0, nil, corrupt("it is empty")
	case name.Encrypted:
		m, err := readEncryptedHead(f, name, identities)
		return info.Size(), m, err
	case name.Format == FormatPgDump:
		return info.Size(), nil, begins(f, pgDumpMagic)
	}
	m, err := ReadManifest(f, info.Size())
	return info.Size(), m, name.judge(m, err)
}

// judge adds to what was found in a file of this name what the name makes of it.
func (n Name) judge(m *Manifest, err error) error {
	switch {
	case errors.Is(err, ErrNotBackup):
		return corrupt("it does not begin as such a file does")
	case err == nil && !n.tells(m):
		return corrupt("it holds something else than its name says")
	}
	return err
}

// pgDumpMagic begins a file of pg_dump -Fc.
const pgDumpMagic = "PGDMP"

func readEncryptedHead(f *os.File, name Name, identities []age.Identity) (*Manifest, error) {
	if len(identities) == 0 {
		return nil, begins(f, ageMagic)
	}
	return readEncrypted(f, name, identities)
}

// readEncrypted reads and checks a whole encrypted file.
func readEncrypted(in io.Reader, name Name, identities []age.Identity) (*Manifest, error) {
	plaintext, err := decrypted(in, identities)
	if err != nil {
		return nil, err
	}
	if name.Format == FormatPgDump {
		return nil, readDump(plaintext)
	}
	m, err := Verify(plaintext, nil)
	return m, name.judge(m, err)
}

// readDump reads a whole file of pg_dump, which has to begin as such.
func readDump(in io.Reader) error {
	if err := begins(in, pgDumpMagic); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, in)
	return err
}

func begins(in io.Reader, with string) error {
	head := make([]byte, len(with))
	if _, err := io.ReadFull(in, head); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return readError(err)
	}
	if string(head) != with {
		return corrupt("it does not begin as such a file does")
	}
	return nil
}

// tells says whether a manifest is that of a file of this name.
func (n Name) tells(m *Manifest) bool {
	slug := ""
	if m.Tenant != nil {
		slug = m.Tenant.Slug
	}
	return slug == n.Slug && m.SchemaVersion == n.Version
}
