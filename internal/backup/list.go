package backup

import (
	"cmp"
	"errors"
	"io"
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
		e.Size, e.Manifest, e.Err = d.glance(e.File, name, identities)
		out = append(out, e)
	}
	slices.SortStableFunc(out, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(a.Name.Slug, b.Name.Slug), b.Name.TakenAt.Compare(a.Name.TakenAt), cmp.Compare(a.File, b.File))
	})
	return out, nil
}

// glance looks at a file without reading its data.
func (d *Dir) glance(file string, name Name, identities []age.Identity) (int64, *Manifest, error) {
	f, err := d.root.Open(file)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return 0, nil, err
	}
	switch {
	case name.Encrypted:
		m, err := glanceEncrypted(f, name, identities)
		return info.Size(), m, err
	case name.Format == FormatPgDump:
		return info.Size(), nil, begins(f, pgDumpMagic)
	}
	m, err := ReadManifest(f, info.Size())
	if err == nil && !name.tells(m) {
		err = corrupt("it holds something else than its name says")
	}
	return info.Size(), m, err
}

// pgDumpMagic begins a file of pg_dump -Fc.
const pgDumpMagic = "PGDMP"

func glanceEncrypted(f *os.File, name Name, identities []age.Identity) (*Manifest, error) {
	if len(identities) == 0 {
		return nil, begins(f, ageMagic)
	}
	plaintext, err := decrypted(f, identities)
	if err != nil {
		return nil, err
	}
	if name.Format == FormatPgDump {
		_, err := io.Copy(io.Discard, plaintext)
		return nil, err
	}
	m, err := Verify(plaintext, nil)
	if err == nil && !name.tells(m) {
		err = corrupt("it holds something else than its name says")
	}
	return m, err
}

func begins(f *os.File, with string) error {
	head := make([]byte, len(with))
	if _, err := io.ReadFull(f, head); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
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
