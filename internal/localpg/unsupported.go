//go:build !unix

package localpg

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// The unix build documents these; here nothing can be started, so nothing exists.

type keeper struct{}

func (*keeper) release(context.Context) error { return ErrUnsupported }

func start(context.Context, Options) (*Server, error)  { return nil, ErrUnsupported }
func stop(context.Context, Options) error              { return ErrUnsupported }
func inspect(context.Context, Options) (Status, error) { return Status{}, ErrUnsupported }
func reset(context.Context, Options) error             { return ErrUnsupported }
func list(context.Context, string) ([]Status, error)   { return nil, ErrUnsupported }
func defaultRoot() (string, error)                     { return "", ErrUnsupported }

func newestBinaries(context.Context, string) (string, string, error) {
	return "", "", ErrUnsupported
}

func connConfig(string, string) (*pgx.ConnConfig, error) { return nil, ErrUnsupported }
