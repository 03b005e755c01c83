package main

import (
	"context"
	"errors"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/config"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

// exitNoTenant is the exit code for a tenant that is not there.
const exitNoTenant = 12

// exitTexts returns every exit code and its meaning, in order.
func exitTexts() []exitText {
	return []exitText{
		{exitOK, "done, or nothing to do"},
		{exitFailure, "failed"},
		{exitPartial, "some tenants or rows failed, the rest is done"},
		{exitPending, "something is pending or unhealthy"},
		{exitStopped, "stopped early: too many failures, or the canary failed"},
		{exitUnreachable, "the database cannot be reached"},
		{exitLocked, "another run holds the lock"},
		{exitNoTenant, "no such tenant"},
		{exitUsage, "wrong usage or configuration; nothing was done"},
		{exitInterrupted, "interrupted (Ctrl-C or SIGTERM)"},
	}
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
		{config.ErrInvalid, exitUsage},
		{config.ErrNoDatabase, exitUsage},
		{registry.ErrInvalidName, exitUsage},
		{registry.ErrNotFound, exitNoTenant},
		{db.ErrNoTenant, exitNoTenant},
		{db.ErrUnreachable, exitUnreachable},
		{db.ErrBusy, exitLocked},
		{context.Canceled, exitInterrupted},
		{errInterrupted, exitInterrupted},
	}
}

// exitCode returns the exit code for what a command returned.
func exitCode(err error) int {
	if err == nil {
		return exitOK
	}
	if code := codeIn(err); code != 0 {
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
		return exitUsage
	}
	if _, is := errors.AsType[*app.DirError](err); is {
		return exitUsage
	}
	if v, is := errors.AsType[*app.VersionError](err); is && !v.Data {
		return exitUsage
	}
	return exitFailure
}
