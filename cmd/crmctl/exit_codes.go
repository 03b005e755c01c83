package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/config"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/source"
)

// exitNoTenant is the exit code for a tenant that is not there.
const exitNoTenant = 12

// exitTexts returns every exit code and its meaning, in order.
func exitTexts() []cli.ExitText {
	return []cli.ExitText{
		{Code: cli.ExitOK, Text: "done, or nothing to do"},
		{Code: cli.ExitFailure, Text: "failed"},
		{Code: cli.ExitPartial, Text: "some tenants or rows failed, the rest is done"},
		{Code: cli.ExitPending, Text: "something is pending or unhealthy"},
		{Code: cli.ExitStopped, Text: "stopped early: too many failures, or the canary failed"},
		{Code: cli.ExitUnreachable, Text: "the database cannot be reached"},
		{Code: cli.ExitLocked, Text: "another run holds the lock"},
		{Code: exitNoTenant, Text: "no such tenant"},
		{Code: cli.ExitUsage, Text: "wrong usage or configuration; nothing was done"},
		{Code: cli.ExitInterrupted, Text: "interrupted (Ctrl-C or SIGTERM)"},
	}
}

// exitText returns the meaning of an exit code.
func exitText(code int) string {
	for _, t := range exitTexts() {
		if t.Code == code {
			return t.Text
		}
	}
	return fmt.Sprintf("exit code %d", code)
}

// sentinelCodes says which exit code an error of a library stands for. The
// first that matches wins.
func sentinelCodes() []struct {
	err  error
	code int
} {
	return []struct {
		err  error
		code int
	}{
		{config.ErrInvalid, cli.ExitUsage},
		{config.ErrNoDatabase, cli.ExitUsage},
		{registry.ErrInvalidName, cli.ExitUsage},
		{registry.ErrNotFound, exitNoTenant},
		{db.ErrNoTenant, exitNoTenant},
		{db.ErrUnreachable, cli.ExitUnreachable},
		{db.ErrBusy, cli.ExitLocked},
		{registry.ErrRunning, cli.ExitLocked},
		{context.Canceled, cli.ExitInterrupted},
		{cli.ErrInterrupted, cli.ExitInterrupted},
	}
}

// exitCode returns the exit code for what a command returned.
func exitCode(err error) int {
	if err == nil {
		return cli.ExitOK
	}
	if code := cli.CodeIn(err); code != 0 {
		return code
	}
	for _, s := range sentinelCodes() {
		if errors.Is(err, s.err) {
			return s.code
		}
	}
	return appCode(err)
}

// appCode returns the exit code of an error of the application.
func appCode(err error) int {
	if _, is := errors.AsType[*app.FilesError](err); is {
		return cli.ExitUsage
	}
	if _, is := errors.AsType[*app.InputError](err); is && !cli.IsStop(err) {
		return cli.ExitUsage
	}
	if _, is := errors.AsType[*app.ScriptError](err); is {
		return cli.ExitUsage
	}
	if _, is := errors.AsType[*app.SourcedError](err); is || errors.Is(err, app.ErrNoSource) {
		return cli.ExitUsage
	}
	if _, is := errors.AsType[*source.LossError](err); is {
		return cli.ExitStopped
	}
	if errors.Is(err, source.ErrQuery) && db.SQLState(err) == "" {
		return cli.ExitUsage
	}
	if _, is := errors.AsType[*app.DirError](err); is {
		return cli.ExitUsage
	}
	if v, is := errors.AsType[*app.VersionError](err); is && !v.Data {
		return cli.ExitUsage
	}
	return cli.ExitFailure
}
