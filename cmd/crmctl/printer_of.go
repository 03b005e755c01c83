package main

import (
	"time"

	"github.com/crmctl/crmctl/internal/config"
)

// printer returns the printer for stdout.
func (f *factory) printer() (*printer, error) {
	cfg, err := f.config()
	if err != nil {
		return nil, err
	}
	loc := time.Local
	if cfg.UTC {
		loc = time.UTC
	}
	return &printer{
		out:      f.io.Out,
		errOut:   f.io.Err,
		format:   cfg.Output,
		terminal: f.io.OutTerminal,
		quiet:    f.flags.quiet,
		width:    f.io.Width(),
		unicode:  f.io.unicode(),
		painter:  f.outPainter(),
		show:     presentation{loc: loc, now: f.now()},
	}, nil
}

// painterFor decides for one stream. NO_COLOR and CLICOLOR_FORCE have already
// become "never" and "always" where no flag said otherwise.
func (f *factory) painterFor(terminal bool) painter {
	when := "auto"
	if cfg, err := f.config(); err == nil {
		when = cfg.Color
	}
	switch when {
	case "always":
		return painter{on: true}
	case "never":
		return painter{}
	}
	return painter{on: terminal && !f.io.dumb()}
}

// outPainter colours stdout.
func (f *factory) outPainter() painter { return f.painterFor(f.io.OutTerminal) }

// errPainter colours stderr.
func (f *factory) errPainter() painter { return f.painterFor(f.io.ErrTerminal) }

// humanRetention returns a duration as it is written in flags and files: "30d".
func humanRetention(d time.Duration) string { return config.FormatDuration(d) }
