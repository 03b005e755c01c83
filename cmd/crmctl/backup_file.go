package main

import (
	"context"
	"io"
)

// untilDone ends a long reading when the command is interrupted.
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
