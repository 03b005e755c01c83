package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/suggest"
)

// temporaryPrefix begins the names of files that are being written.
const temporaryPrefix = ".crmctl-"

// missingFile returns what the system says of a file or directory that is not there, nil
// for another error.
func missingFile(err error) *fs.PathError {
	if missing, is := errors.AsType[*fs.PathError](err); is && errors.Is(missing.Err, fs.ErrNotExist) {
		return missing
	}
	return nil
}

// textOf returns the text of an error, as every command prints it: the SQLSTATE in brackets,
// and in words that a file is not there, where the system's begin with the name of a call.
func textOf(err error) string {
	text := strings.TrimSpace(db.Text(err))
	if missing := missingFile(err); missing != nil {
		return strings.Replace(text, missing.Error(), missingText(missing.Path), 1)
	}
	return text
}

// missingText says what is not there of a path, and what may have been meant.
func missingText(path string) string {
	dir, base := filepath.Split(filepath.Clean(path))
	dir = filepath.Clean(dir)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return fmt.Sprintf("there is no directory %s", dir)
	}
	text := path + " does not exist"
	if similar := similarFile(dir, base); similar != "" {
		text += fmt.Sprintf("; did you mean %q?", filepath.Join(dir, similar))
	}
	return text
}

// similarFile returns the name in a directory that was probably meant, "" for none.
func similarFile(dir, base string) string {
	const most = 2000 // a directory with more would take a while
	d, err := os.Open(dir)
	if err != nil {
		return ""
	}
	defer func() { _ = d.Close() }()
	names, _ := d.Readdirnames(most) // what could be read is as good
	return suggest.Nearest(base, names)
}

// explainMissing says where a file was looked for, or how the directory comes to be in which
// one is to be written.
func explainMissing(err error) []cli.Hint {
	missing := missingFile(err)
	if missing == nil {
		return nil
	}
	dir := filepath.Dir(filepath.Clean(missing.Path))
	switch {
	case strings.HasPrefix(filepath.Base(missing.Path), temporaryPrefix):
		return []cli.Hint{{Label: "make it", Command: "mkdir -p " + cli.ShellWords([]string{dir})}}
	case filepath.IsAbs(missing.Path) || similarFile(dir, filepath.Base(missing.Path)) != "":
		return nil
	}
	here, err := os.Getwd()
	if err != nil {
		return nil
	}
	return []cli.Hint{{Label: "looked for it in", Command: here}}
}
