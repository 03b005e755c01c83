package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"filippo.io/age"
)

// Examined is what Examine found in a file.
type Examined struct {
	Name Name // what the file's name says, or nothing
	Size int64
	// Encrypted tells that the file is, whatever its name says.
	Encrypted bool
	Manifest  *Manifest // nil where it cannot be read, or pg_dump wrote the file
}

// Examine reads a whole file, under any name, and checks all of it that can be
// checked: every count and checksum of a container, the encryption, and of a file of
// pg_dump that it is what was written. A file that is named like a backup has to be
// that one.
//
// The error wraps ErrCorrupt where the file was cut or changed, ErrEncrypted where no
// identity opens it, ErrUnproven where nothing reports whether it is whole. progress, if
// not nil, is told how many bytes were read.
func Examine(ctx context.Context, path string, identities []age.Identity, progress func(n int64)) (Examined, error) {
	name, named := ParseName(filepath.Base(path))
	out := Examined{Name: name}
	in, err := OpenFile(path, identities, progress)
	if err == nil {
		defer func() { _ = in.Close() }()
		out.Size, out.Encrypted = in.Size, in.Encrypted
		out.Manifest, err = examine(&untilDone{ctx, in}, in.Encrypted, name, named)
	} else if info, statErr := os.Stat(path); statErr == nil && info.Mode().IsRegular() {
		out.Size = info.Size()
		if named && errors.Is(err, ErrNotBackup) {
			err = name.judge(nil, err)
		}
	}
	if !named || !name.needsChecksum() || err != nil && !errors.Is(err, ErrEncrypted) && !errors.Is(err, ErrUnproven) {
		return out, err
	}
	if err == nil && name.Encrypted {
		return out, nil // it was decrypted, which proves more than a checksum
	}
	return out, orChecksumMismatch(ctx, path, err, progress)
}

func examine(in io.Reader, encrypted bool, name Name, named bool) (*Manifest, error) {
	if named && name.Encrypted && !encrypted {
		return nil, corrupt("it does not begin as an encrypted file does")
	}
	if named && name.Format == FormatPgDump {
		err := readDump(in)
		if err == nil && !encrypted {
			err = fmt.Errorf("%w: a file of pg_dump holds no checksum", ErrUnproven)
		}
		return nil, err
	}
	m, err := Verify(in, nil)
	if named {
		err = name.judge(m, err)
	}
	return m, err
}

// orChecksumMismatch holds a file that could not be judged by what is in it, for the
// reason why, to the checksum beside it.
func orChecksumMismatch(ctx context.Context, path string, why error, progress func(int64)) error {
	root, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return err
	}
	d := &Dir{path: filepath.Dir(path), root: root}
	defer func() { _ = d.Close() }()
	file := filepath.Base(path)
	want, err := d.readChecksum(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return why
	case err != nil:
		return fmt.Errorf("%w; %w", why, err)
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	var in io.Reader = &untilDone{ctx, f}
	if progress != nil {
		in = &countingReader{in, progress}
	}
	same, err := agrees(in, want)
	switch {
	case err != nil:
		return err
	case !same:
		return corrupt("it is not what was written: %s says so", file+checksumSuffix)
	case errors.Is(why, ErrUnproven):
		return nil
	}
	return fmt.Errorf("%w; it is as it was written", why)
}
