package backup

import (
	"bufio"
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"filippo.io/age"
)

// Dir is a directory of backups. Everything in it is reached through the directory
// that was opened, so nobody can move another one under its path meanwhile.
type Dir struct {
	path string
	root *os.Root
}

// OpenDir opens a directory of backups. A symbolic link in its place is refused.
// create makes it, for its owner alone, where it is not there.
func OpenDir(path string, create bool) (*Dir, error) {
	path = filepath.Clean(path)
	before, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) && create {
		if err := os.Mkdir(path, 0o700); err != nil {
			return nil, err
		}
		before, err = os.Lstat(path)
	}
	switch {
	case err != nil:
		return nil, err
	case before.Mode()&fs.ModeSymlink != 0:
		return nil, fmt.Errorf("%w: %s is a symbolic link", ErrUnsafe, path)
	case !before.IsDir():
		return nil, fmt.Errorf("%w: %s is no directory", ErrUnsafe, path)
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	if after, err := root.Stat("."); err != nil || !os.SameFile(before, after) {
		_ = root.Close()
		return nil, fmt.Errorf("%w: %s was replaced meanwhile", ErrUnsafe, path)
	}
	return &Dir{path: path, root: root}, nil
}

// Close releases the directory.
func (d *Dir) Close() error { return d.root.Close() }

// Path returns the path of a file in the directory.
func (d *Dir) Path(file string) string { return filepath.Join(d.path, file) }

// Sweep removes what writers that died have left: files that were never finished
// and that no process holds. It returns their names.
func (d *Dir) Sweep() ([]string, error) {
	entries, err := d.entries()
	if err != nil {
		return nil, err
	}
	var gone []string
	for _, e := range entries {
		if !isTemporary(e.Name()) || !e.Type().IsRegular() {
			continue
		}
		f, err := d.root.OpenFile(e.Name(), os.O_RDWR, 0)
		if err != nil {
			continue // somebody else's, or gone
		}
		if tryLock(f) {
			if d.root.Remove(e.Name()) == nil {
				gone = append(gone, e.Name())
			}
		}
		_ = f.Close()
	}
	return gone, nil
}

func (d *Dir) entries() ([]fs.DirEntry, error) {
	f, err := d.root.Open(".")
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	entries, err := f.ReadDir(-1)
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return cmp.Compare(a.Name(), b.Name()) })
	return entries, err
}

// write makes a file whole or not at all: content goes to a temporary file, for its
// owner alone, which takes the name, complete by then, when everything is on the
// disk. It returns the name and the size. What is there, a symbolic link too, is not
// replaced.
func (d *Dir) write(name *Name, recipients []age.Recipient, content func(io.Writer) error) (file string,
	size int64, err error) {
	temp, f, err := d.temporary()
	if err != nil {
		return "", 0, err
	}
	defer func() {
		_ = f.Close()
		if err != nil {
			_ = d.root.Remove(temp)
		}
	}()
	sum, out := sha256.New(), io.Writer(f)
	if name.needsChecksum() {
		out = io.MultiWriter(f, sum)
	}
	if err := fill(out, recipients, content); err != nil {
		return "", 0, err
	}
	if err := f.Sync(); err != nil {
		return "", 0, err
	}
	info, err := f.Stat()
	if err != nil {
		return "", 0, err
	}
	if err := d.name(temp, name, sum.Sum(nil)); err != nil {
		return "", 0, err
	}
	return name.String(), info.Size(), d.sync()
}

// temporary makes a file for its owner alone that takes its name later.
func (d *Dir) temporary() (temp string, f *os.File, err error) {
	temp = tempPrefix + strings.ToLower(rand.Text()) + tempSuffix
	f, err = d.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", nil, err
	}
	tryLock(f) // tells Sweep that somebody is at work
	return temp, f, nil
}

// name gives a finished file its name. Where that is taken, by another backup of the
// same second, it takes the next second: the file itself says exactly when it was
// taken.
func (d *Dir) name(temp string, name *Name, sum []byte) error {
	const tries = 60
	for range tries {
		err := d.publish(temp, *name, sum)
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
		name.TakenAt = name.TakenAt.Add(time.Second)
	}
	return fmt.Errorf("%s and the names of the %d seconds before it are taken: %w", d.Path(name.String()),
		tries-1, fs.ErrExist)
}

// link moves a file to a name that is not taken. A link, unlike a rename, does not
// replace what is there; some file systems have none.
func (d *Dir) link(temp, file string) error {
	err := d.root.Link(temp, file)
	switch {
	case err == nil:
		return d.root.Remove(temp)
	case errors.Is(err, fs.ErrExist):
		return err
	}
	if _, err := d.root.Lstat(file); err == nil {
		return fs.ErrExist
	}
	return d.root.Rename(temp, file)
}

func fill(f io.Writer, recipients []age.Recipient, content func(io.Writer) error) error {
	buffered := bufio.NewWriterSize(f, 256<<10)
	if len(recipients) == 0 {
		if err := content(buffered); err != nil {
			return err
		}
		return buffered.Flush()
	}
	sealed, err := age.Encrypt(buffered, recipients...)
	if err != nil {
		return fmt.Errorf("encrypt the backup: %w", err)
	}
	if err := content(sealed); err != nil {
		return err
	}
	if err := sealed.Close(); err != nil {
		return fmt.Errorf("encrypt the backup: %w", err)
	}
	return buffered.Flush()
}

// sync puts the names in the directory on the disk, where the system can.
func (d *Dir) sync() error {
	f, err := d.root.Open(".")
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if err := f.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) && !isInvalid(err) {
		return err
	}
	return nil
}

// File is a backup opened for reading.
type File struct {
	io.Reader

	Size      int64
	Encrypted bool
	file      *os.File
}

// OpenFile opens a backup for reading, decrypted by one of the identities where it
// is encrypted. progress, if not nil, is told how many bytes of the file were read.
func OpenFile(path string, identities []age.Identity, progress func(n int64)) (*File, error) {
	info, err := os.Stat(path) // opening a pipe would wait for its writer
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: %s is no file", ErrNotBackup, path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	out := &File{Size: info.Size(), file: f}
	var in io.Reader = f
	if progress != nil {
		in = &countingReader{in, progress}
	}
	buffered := bufio.NewReaderSize(in, 256<<10)
	out.Reader = buffered
	if head, _ := buffered.Peek(len(ageMagic)); string(head) == ageMagic {
		out.Encrypted = true
		if out.Reader, err = decrypted(buffered, identities); err != nil {
			_ = f.Close()
			return nil, err
		}
	}
	return out, nil
}

// Close closes the file.
func (f *File) Close() error { return f.file.Close() }
