package backup

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// A container holds a checksum over all of it, which anybody can check. A file of
// pg_dump holds none, and that of an encrypted container is inside. Such a file gets a
// checksum of its bytes as they lie on the disk, in a file beside it, in the form of
// sha256sum: whether it is whole can be told without a key.

// checksumSuffix is behind the name of a backup in that of its checksum.
const checksumSuffix = ".sha256"

// maxChecksumFile bounds a file of a checksum.
const maxChecksumFile = 4 << 10

// needsChecksum reports whether the checksum of a file stands beside it.
func (n Name) needsChecksum() bool { return n.Encrypted || n.Format == FormatPgDump }

// ChecksumOf returns the name of the backup whose checksum a file of this name holds;
// it is false for any other file.
func ChecksumOf(file string) (backup string, ok bool) {
	backup, ok = strings.CutSuffix(file, checksumSuffix)
	if !ok {
		return "", false
	}
	name, ok := ParseName(backup)
	return backup, ok && name.needsChecksum()
}

// readChecksum reads the checksum that stands beside a file. The error wraps
// fs.ErrNotExist where there is none.
func (d *Dir) readChecksum(file string) ([]byte, error) {
	beside := file + checksumSuffix
	info, err := d.root.Lstat(beside)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxChecksumFile {
		return nil, fmt.Errorf("%s is no file of a checksum", beside)
	}
	f, err := d.root.Open(beside)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxChecksumFile))
	if err != nil {
		return nil, readError(err)
	}
	// "HASH  NAME", or "HASH *NAME".
	digits, name, _ := strings.Cut(strings.TrimRight(string(text), "\r\n"), " ")
	sum, err := hex.DecodeString(digits)
	if err != nil || len(sum) != sha256.Size || len(name) < 2 || name[0] != ' ' && name[0] != '*' {
		return nil, fmt.Errorf("%s cannot be read as a checksum", beside)
	}
	if name = name[1:]; name != file {
		return nil, fmt.Errorf("%s is the checksum of %q", beside, name)
	}
	return sum, nil
}

// publish gives a finished file its name, and puts its checksum beside it where it
// needs one. The checksum comes first: a backup that is there has it, whenever the
// writer dies. Its file is locked until then, so that it is not taken for one whose
// backup is gone.
func (d *Dir) publish(temp string, name Name, sum []byte) (err error) {
	if !name.needsChecksum() {
		return d.link(temp, name.String())
	}
	file := name.String()
	if _, err := d.root.Lstat(file); err == nil {
		return fs.ErrExist
	}
	beside, f, err := d.temporary()
	if err != nil {
		return err
	}
	linked := false
	defer func() {
		_ = f.Close()
		switch {
		case err != nil && linked:
			_ = d.root.Remove(file + checksumSuffix)
		case err != nil:
			_ = d.root.Remove(beside)
		}
	}()
	if _, err := fmt.Fprintf(f, "%x  %s\n", sum, file); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := d.link(beside, file+checksumSuffix); err != nil {
		return err
	}
	linked = true
	return d.link(temp, file)
}

// orphans returns the checksums in a directory whose backups are gone.
func (d *Dir) orphans() ([]string, error) {
	entries, err := d.entries()
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		file, ok := ChecksumOf(e.Name())
		if !ok || !e.Type().IsRegular() {
			continue
		}
		if _, err := d.root.Lstat(file); errors.Is(err, fs.ErrNotExist) {
			out = append(out, e.Name())
		}
	}
	return out, nil
}

// removeOrphan removes a checksum whose backup is gone, unless its writer is still
// about to name the backup.
func (d *Dir) removeOrphan(beside string) error {
	f, err := d.root.OpenFile(beside, os.O_RDWR, 0)
	if err != nil {
		return ignoreGone(err)
	}
	defer func() { _ = f.Close() }()
	if !tryLock(f) {
		return nil
	}
	if _, err := d.root.Lstat(strings.TrimSuffix(beside, checksumSuffix)); !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return ignoreGone(d.root.Remove(beside))
}

func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// agrees reports whether what in holds has a checksum.
func agrees(in io.Reader, want []byte) (bool, error) {
	sum := sha256.New()
	if _, err := io.CopyBuffer(onlyWriter{sum}, in, make([]byte, 1<<20)); err != nil {
		return false, readError(err)
	}
	return bytes.Equal(sum.Sum(nil), want), nil
}

// onlyWriter keeps io.CopyBuffer from passing by its buffer.
type onlyWriter struct{ io.Writer }
