package main

import (
	"context"
	"crypto/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/localpg"
)

// readmeCommands returns the lines after "$ " in the console blocks of a
// document.
func readmeCommands(text string) []string {
	var commands []string
	inside := false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch {
		case line == "```console":
			inside = true
		case strings.HasPrefix(line, "```"):
			inside = false
		case inside:
			if command, ok := strings.CutPrefix(line, "$ "); ok {
				commands = append(commands, command)
			}
		}
	}
	return commands
}

// TestReadmeCommands runs every command that the README shows, in order, in one
// shell, as a new user would. Only the name of the local instance is changed, so
// that nobody's own is touched.
func TestReadmeCommands(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	commands := readmeCommands(string(text))
	if len(commands) < 20 {
		t.Fatalf("found %d commands in the README", len(commands))
	}
	name := "readme-" + strings.ToLower(rand.Text()[:8])
	var script strings.Builder
	script.WriteString("set -eu\n")
	afterTour := false
	for _, c := range commands {
		switch {
		case strings.HasPrefix(c, "crmctl local "):
			c += " --name " + name
		case c == "export CRMCTL_PROFILE=local":
			c += "-" + name
		}
		script.WriteString("echo '+ " + strings.ReplaceAll(c, "'", `'\''`) + "'\n" + c + "\n")
		// What follows the tour wants a database too.
		if strings.HasPrefix(c, "crmctl local stop") && !afterTour {
			afterTour = true
			script.WriteString("crmctl local start -q --name " + name + "\n")
		}
	}
	home := t.TempDir()
	root := ""
	if os.Geteuid() != 0 {
		root = filepath.Join(home, ".local", "share", "crmctl", "local")
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := localpg.Reset(ctx, localpg.Options{Name: name, Root: root}); err != nil {
			t.Error(err)
		}
	})
	cmd := exec.CommandContext(t.Context(), "sh", "-c", script.String())
	cmd.Dir = t.TempDir()
	cmd.Env = []string{"GORACE=" + noSleep, "PATH=" + os.Getenv("PATH"), "HOME=" + home, "LANG=C.UTF-8", "CRMCTL_PG_BIN=" +
		os.Getenv("CRMCTL_PG_BIN")}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}
