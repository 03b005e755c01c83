package importer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

const (
	// spoolInMemory is how much of a pipe is held in memory before it goes to a file.
	spoolInMemory = 1 << 20
	spoolBlock    = 256 << 10
)

// ErrSourceChanged says that a file was changed, or cut off, while it was read. What was
// read of it is no state that it ever had, so nothing is kept.
var ErrSourceChanged = errors.New("the file was changed while it was read; nothing of what was read was kept")

// steady is a source that is whole before the import's transaction begins: nobody who
// waits for the import's locks waits for a program that writes into a pipe.
type steady struct {
	io.Reader

	size  int64
	file  statter     // that others may write to, nil for a copy of our own
	info  fs.FileInfo // of it, before the first read
	spool *os.File
	name  string // of the spool, where it could not be unlinked at once
}

// statter is a file, or stands for one.
type statter interface{ Stat() (fs.FileInfo, error) }

// steadySource returns a regular file as it is, and copies everything else first. told is
// called now and then with the bytes that came. The caller closes it.
func steadySource(ctx context.Context, r io.Reader, told func(bytes int64)) (*steady, error) {
	if file, ok := r.(statter); ok {
		info, err := file.Stat()
		if err != nil {
			return nil, fmt.Errorf("read contacts: %w", err)
		}
		if info.Mode().IsRegular() {
			return &steady{Reader: r, size: info.Size(), file: file, info: info}, nil
		}
	}
	in := newInput(ctx, r)
	defer in.close()
	s := &steady{}
	if err := s.copy(in, told); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// copy keeps what a pipe holds: in memory while it is little, then in a file that nobody
// else can read.
func (s *steady) copy(in *input, told func(int64)) error {
	var head []byte
	block := make([]byte, spoolBlock)
	reported := time.Now()
	for {
		n, err := in.Read(block)
		s.size += int64(n)
		switch {
		case n == 0:
		case s.spool == nil && len(head)+n <= spoolInMemory:
			head = append(head, block[:n]...)
		default:
			if err := s.write(head, block[:n]); err != nil {
				return err
			}
			head = nil
		}
		if told != nil && time.Since(reported) >= progressInterval {
			reported = time.Now()
			told(s.size)
		}
		switch {
		case errors.Is(err, io.EOF):
			return s.rewind(head)
		case err != nil:
			return fmt.Errorf("read contacts: %w", err)
		}
	}
}

func (s *steady) write(parts ...[]byte) error {
	if s.spool == nil {
		file, err := os.CreateTemp("", "crmctl-import-*") // mode 0600
		if err != nil {
			return fmt.Errorf("keep the input until it is whole: %w", err)
		}
		s.spool = file
		// An open file needs no name, except on Windows.
		if os.Remove(file.Name()) != nil {
			s.name = file.Name()
		}
	}
	for _, part := range parts {
		if _, err := s.spool.Write(part); err != nil {
			return fmt.Errorf("keep the input until it is whole, in %s: %w", os.TempDir(), err)
		}
	}
	return nil
}

func (s *steady) rewind(head []byte) error {
	if s.spool == nil {
		s.Reader = bytes.NewReader(head)
		return nil
	}
	if _, err := s.spool.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("keep the input until it is whole: %w", err)
	}
	s.Reader = s.spool
	return nil
}

// check fails with ErrSourceChanged when the file is not what it was when reading began, or
// when fewer bytes than it has were read of it to its end.
func (s *steady) check(read int64, ended bool) error {
	if s.file == nil {
		return nil
	}
	now, err := s.file.Stat()
	if err != nil {
		return fmt.Errorf("read contacts: %w", err)
	}
	if now.Size() != s.info.Size() || !now.ModTime().Equal(s.info.ModTime()) ||
		ended && read != s.info.Size() && s.info.Size() > 0 { // files under /proc have no size
		return ErrSourceChanged
	}
	return nil
}

// sum returns the SHA-256 of the source in hexadecimal, "" where it can be read but once.
func (s *steady) sum(ctx context.Context) (string, error) {
	in, ok := s.Reader.(io.ReaderAt)
	if !ok {
		return "", nil
	}
	hash := sha256.New()
	block := make([]byte, spoolBlock)
	for at := int64(0); ; {
		n, err := in.ReadAt(block, at)
		_, _ = hash.Write(block[:n]) // never fails
		at += int64(n)
		switch {
		case errors.Is(err, io.EOF):
			return hex.EncodeToString(hash.Sum(nil)), nil
		case err != nil:
			return "", fmt.Errorf("read contacts: %w", err)
		case ctx.Err() != nil:
			return "", context.Cause(ctx)
		}
	}
}

// Close removes the copy; the source itself stays open.
func (s *steady) Close() {
	if s.spool == nil {
		return
	}
	_ = s.spool.Close()
	if s.name != "" {
		_ = os.Remove(s.name) //nolint:gosec // a name that os.CreateTemp made
	}
}
