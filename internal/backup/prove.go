package backup

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"time"

	"filippo.io/age"
	"golang.org/x/sync/errgroup"
)

// Proof says whether a file was read from end to end, and as what it was found.
type Proof int

// A file was not read, is as it was written, or was read without an answer.
const (
	ProofNone Proof = iota
	ProofWhole
	ProofMissing
)

// ProveOptions say how files are read.
type ProveOptions struct {
	Identities []age.Identity
	Progress   func(n int64) // is told how many bytes were read, by several goroutines; may be nil
}

// Prove reads whole files, several at a time, and sets the Proof of the entries, or
// their Err where they are not what was written. It returns an error only when it was
// interrupted.
//
// A container is held to the checksum over all of it; any other file to the one
// beside it, or, where there is none, to its encryption, which an identity has to
// open.
func (d *Dir) Prove(ctx context.Context, entries []*Entry, o ProveOptions) error {
	const most = 4 // a disk is not faster for more
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(min(most, runtime.NumCPU()))
	for _, e := range entries {
		group.Go(func() error {
			err := d.prove(ctx, e, o)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			switch {
			case err == nil:
				e.Proof = ProofWhole
			case errors.Is(err, ErrUnproven):
				e.Proof, e.Why = ProofMissing, err
			default:
				e.Err = err
			}
			return nil
		})
	}
	return group.Wait()
}

func (d *Dir) prove(ctx context.Context, e *Entry, o ProveOptions) error {
	f, err := d.openRegular(e.File)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	e.seen = info
	var in io.Reader = &untilDone{ctx, f}
	if o.Progress != nil {
		in = &countingReader{in, o.Progress}
	}
	if !e.Name.needsChecksum() {
		return proveContainer(in, f, info.Size())
	}
	want, sumErr := d.readChecksum(e.File)
	if sumErr == nil {
		same, err := agrees(in, want)
		if err != nil || same {
			return err
		}
		if len(o.Identities) == 0 {
			return corrupt("it is not what was written: %s says so", e.File+checksumSuffix)
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return err
		}
	}
	if e.Name.Encrypted && len(o.Identities) > 0 {
		_, err := readEncrypted(in, e.Name, o.Identities)
		if errors.Is(err, ErrEncrypted) {
			return fmt.Errorf("%w: %w", ErrUnproven, err)
		}
		return err
	}
	if errors.Is(sumErr, fs.ErrNotExist) {
		return fmt.Errorf("%w: no checksum stands beside it", ErrUnproven)
	}
	return fmt.Errorf("%w: %w", ErrUnproven, sumErr)
}

// proveContainer holds a container to the checksum over the whole of it, without
// unpacking it.
func proveContainer(in io.Reader, at io.ReaderAt, size int64) error {
	const behind = int64(sha256.Size + len(trailerMagic))
	if size < int64(trailerSize) {
		return corrupt("it ends after %d bytes, before its end", size)
	}
	want := make([]byte, sha256.Size)
	if _, err := at.ReadAt(want, size-behind); err != nil {
		return readError(err)
	}
	same, err := agrees(io.LimitReader(in, size-behind), want)
	if err == nil && !same {
		err = corrupt("the checksum over the whole file is wrong")
	}
	return err
}

// openRegular opens a file of the directory, and nothing that would make the opening
// wait or lead elsewhere.
func (d *Dir) openRegular(file string) (*os.File, error) {
	info, err := d.root.Lstat(file)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: %s is no file", ErrUnsafe, file)
	}
	return d.root.Open(file)
}

// UntilDone ends a long reading when its context does.
func UntilDone(ctx context.Context, in io.Reader) io.Reader { return &untilDone{ctx, in} }

// untilDone is what UntilDone returns.
type untilDone struct {
	ctx context.Context //nolint:containedctx // an io.Reader takes none
	in  io.Reader
}

// Read implements io.Reader.
func (u *untilDone) Read(p []byte) (int, error) {
	if u.ctx.Err() != nil {
		return 0, context.Cause(u.ctx)
	}
	return u.in.Read(p)
}

// Wanted says which backup of a tenant makes another one unnecessary.
type Wanted struct {
	ID, Slug  string
	Version   int64
	Since     time.Time // the tenant's creation: an older file is that of a namesake
	Format    Format
	Encrypted bool
}

// Young returns for each of the tenants the newest file that is a whole backup of it,
// taken after the given time and not after now, nil where there is none. Only files
// that could be one are read. passed are those that turned out not to be whole, or of
// which that cannot be told.
func (d *Dir) Young(ctx context.Context, wanted []Wanted, after, now time.Time, o ProveOptions) (found []*Entry,
	passed []Entry, err error) {
	entries, err := d.List(nil)
	if err != nil {
		return nil, nil, err
	}
	bySlug := map[string][]*Entry{}
	for i := range entries {
		bySlug[entries[i].Name.Slug] = append(bySlug[entries[i].Name.Slug], &entries[i])
	}
	found = make([]*Entry, len(wanted))
	open := make([]int, 0, len(wanted))
	for i := range wanted {
		open = append(open, i)
	}
	for len(open) > 0 {
		// The next candidate of each tenant that has none yet, all at once.
		var reading []int
		var read []*Entry
		for _, i := range open {
			list := bySlug[wanted[i].Slug]
			for len(list) > 0 && found[i] == nil {
				e := list[0]
				list = list[1:]
				if e.Err != nil && wanted[i].about(e, after, now) {
					passed = append(passed, *e)
				} else if wanted[i].takes(e, after, now) {
					found[i] = e
				}
			}
			bySlug[wanted[i].Slug] = list
			if found[i] != nil {
				reading, read = append(reading, i), append(read, found[i])
			}
		}
		if err := d.Prove(ctx, read, o); err != nil {
			return nil, nil, err
		}
		open = open[:0]
		for _, i := range reading {
			if e := found[i]; e.Err != nil || e.Proof != ProofWhole {
				passed = append(passed, *e)
				found[i] = nil
				open = append(open, i)
			}
		}
	}
	return found, passed, nil
}

// about reports whether a file's name is that of a wanted backup.
func (w *Wanted) about(e *Entry, after, now time.Time) bool {
	const skew = 5 * time.Minute // between the clocks of the server and of this machine
	at := e.Name.TakenAt
	return e.Name.Format == w.Format && e.Name.Encrypted == w.Encrypted && e.Name.Version == w.Version &&
		at.After(after) && !at.After(now.Add(skew))
}

// takes reports whether a file that was not read yet may be the wanted backup, by its
// name and, where that can be read, by what it says of itself.
func (w *Wanted) takes(e *Entry, after, now time.Time) bool {
	if e.Err != nil || !w.about(e, after, now) {
		return false
	}
	at := e.Name.TakenAt
	if m := e.Manifest; m != nil {
		if m.Tenant == nil || m.Tenant.ID != w.ID || !m.TakenAt.After(after) {
			return false
		}
		at = m.TakenAt
	}
	return !at.Before(w.Since.Truncate(time.Second))
}
