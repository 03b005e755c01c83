package main

import (
	"time"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/config"
)

// printer returns the printer for stdout.
func (f *factory) printer() (*cli.Printer, error) {
	cfg, err := f.config()
	if err != nil {
		return nil, err
	}
	loc := time.Local
	if cfg.UTC {
		loc = time.UTC
	}
	return &cli.Printer{
		Out:      f.IO.Out,
		ErrOut:   f.IO.Err,
		Format:   cfg.Output,
		Terminal: f.IO.OutTerminal,
		Quiet:    f.flags.Quiet,
		Width:    f.IO.Width(),
		Unicode:  f.IO.Unicode(),
		Painter:  f.outPainter(),
		Show:     cli.Presentation{Loc: loc, Now: f.Now()},
	}, nil
}

// begin returns what nearly every command needs: the printer and the application.
func (f *factory) begin() (*cli.Printer, *app.App, error) {
	p, err := f.printer()
	if err != nil {
		return nil, nil, err
	}
	a, err := f.app()
	return p, a, err
}

// painterFor decides for one stream. NO_COLOR and CLICOLOR_FORCE have already
// become "never" and "always" where no flag said otherwise.
func (f *factory) painterFor(terminal bool) cli.Painter {
	when := "auto"
	if cfg, err := f.config(); err == nil {
		when = cfg.Color
	}
	switch when {
	case "always":
		return cli.Painter{On: true}
	case "never":
		return cli.Painter{}
	}
	return cli.Painter{On: terminal && !f.IO.Dumb()}
}

// outPainter colours stdout.
func (f *factory) outPainter() cli.Painter { return f.painterFor(f.IO.OutTerminal) }

// errPainter colours stderr.
func (f *factory) errPainter() cli.Painter { return f.painterFor(f.IO.ErrTerminal) }

// humanRetention returns a duration as it is written in flags and files: "30d".
func humanRetention(d time.Duration) string { return config.FormatDuration(d) }
