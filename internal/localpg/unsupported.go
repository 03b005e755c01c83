//go:build !unix

package localpg

import "context"

type bond struct{}

func (*bond) release(context.Context) error { return ErrUnsupported }

func start(context.Context, Options) (*Server, error)  { return nil, ErrUnsupported }
func stop(context.Context, Options) error              { return ErrUnsupported }
func inspect(context.Context, Options) (Status, error) { return Status{}, ErrUnsupported }
func reset(context.Context, Options) error             { return ErrUnsupported }
func list(context.Context, string) ([]Status, error)   { return nil, ErrUnsupported }
func defaultRoot() (string, error)                     { return "", ErrUnsupported }

type binaries struct {
	dir, version string
	major        int
}

func findBinaries(context.Context, string, int) (binaries, error) { return binaries{}, ErrUnsupported }
