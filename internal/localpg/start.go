//go:build unix

package localpg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

func start(ctx context.Context, o Options) (*Server, error) {
	if o.Ephemeral {
		return startEphemeral(ctx, o)
	}
	in, err := instanceOf(o)
	if err != nil {
		return nil, err
	}
	unlock, err := in.createAndLock(ctx, o.observe)
	if err != nil {
		return nil, fmt.Errorf("instance %s: %w", in.name, err)
	}
	defer unlock()

	s := &Server{opts: o}
	if accepts(in.tryConnect(ctx)) {
		s.AlreadyRunning = true
	} else if s.Created, err = in.run(ctx, o); err != nil {
		return nil, err
	}
	if err := in.ensureDatabase(ctx); err != nil {
		return nil, err
	}
	s.Status, err = in.status(ctx)
	return s, err
}

// createAndLock leaves the instance's directory marked and locked. A reset may
// remove it between the two.
func (in *instance) createAndLock(ctx context.Context, observe func(Step)) (unlock func(), err error) {
	for {
		if err := in.create(); err != nil {
			return nil, err
		}
		unlock, err := in.lock(ctx, observe)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if err = in.checkOurs(); err == nil && !in.marked() {
			err = in.mark()
		}
		if err != nil {
			unlock()
			return nil, err
		}
		return unlock, nil
	}
}

// run starts the server of a locked instance that does not accept connections.
func (in *instance) run(ctx context.Context, o Options) (created bool, err error) {
	settings, err := in.settings(nil, o.Settings)
	if err != nil {
		return false, err
	}
	have, err := in.dataVersion()
	if err != nil {
		return false, err
	}
	b, err := findBinaries(ctx, o.BinDir, have, in.account)
	if err != nil {
		return false, err
	}
	if have != 0 && have != b.major {
		return false, &VersionError{Name: in.name, DataDir: in.dataDir(), Data: have, Server: b.major, BinDir: b.dir}
	}
	if have == 0 {
		o.observe(StepInitialise)
		if err := in.initialise(ctx, b); err != nil {
			return false, err
		}
	}
	if err := in.makeSocketDir(); err != nil {
		return false, err
	}
	step := StepStart
	if p, err := in.postmaster(); err == nil && p.pid != 0 {
		step = StepRecover
	}
	o.observe(step)
	return have == 0, in.bringUpOrStop(ctx, o, b, settings)
}

// bringUpOrStop is bringUp within the time of the options. When the caller gives
// up, the server goes too; when only the time is over, it may still be recovering,
// which starting it anew would not make shorter.
func (in *instance) bringUpOrStop(ctx context.Context, o Options, b binaries, settings map[string]string) error {
	timed, cancel := context.WithTimeout(ctx, o.startTimeout())
	defer cancel()
	p, err := in.bringUp(timed, b, settings)
	if err != nil && ctx.Err() != nil && p != nil {
		p.end()
	}
	return err
}

// initialise makes the data directory beside its place and moves it there when it
// is complete, so that there is never half of one.
func (in *instance) initialise(ctx context.Context, b binaries) error {
	leftovers, _ := filepath.Glob(filepath.Join(in.dir, "data.*")) // its only error is a malformed pattern
	for _, dir := range leftovers {
		_ = os.RemoveAll(dir) // of a start or reset cut short; an orphaned initdb may still write there: next time then
	}
	dir, err := os.MkdirTemp(in.dir, "data.new-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // nothing, once it was moved
	if err := in.account.own(dir); err != nil {
		return err
	}
	if err := in.initdb(ctx, b, dir, true); err != nil {
		return err
	}
	return os.Rename(dir, in.dataDir())
}

func (o Options) observe(s Step) {
	if o.Observe != nil {
		o.Observe(s)
	}
}

func (o Options) startTimeout() time.Duration {
	if o.StartTimeout > 0 {
		return o.StartTimeout
	}
	return DefaultStartTimeout
}
