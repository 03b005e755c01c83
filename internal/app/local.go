package app

import (
	"context"
	"strings"

	"github.com/crmctl/crmctl/internal/config"
	"github.com/crmctl/crmctl/internal/localpg"
)

// Local starts, stops and shows private servers. It stands apart from App: no
// configuration is needed for them.
type Local struct {
	Sources config.Sources // of the environment and the directories; without flags
	Name    string         // of the instance
	BinDir  string         // of initdb and postgres, "" for a search
}

// localProfile is the name of the profile that leads to the usual instance, and the
// beginning of the others.
const localProfile = "local"

// LocalProfile returns the name of the profile that leads to an instance.
func LocalProfile(name string) string {
	if name == "" || name == localpg.DefaultName {
		return localProfile
	}
	return localProfile + "-" + name
}

// IsLocalProfile reports whether LocalProfile returns a name for any instance.
func IsLocalProfile(name string) bool {
	return name == localProfile || strings.HasPrefix(name, localProfile+"-")
}

// Profile returns the name of the profile that leads to the instance.
func (l Local) Profile() string { return LocalProfile(l.Name) }

func (l Local) instance() localpg.Options { return localpg.Options{Name: l.Name, BinDir: l.BinDir} }

// Inspect returns how the instance is.
func (l Local) Inspect(ctx context.Context) (localpg.Status, error) {
	return localpg.Inspect(ctx, l.instance())
}

// StartedLocal is a server that runs.
type StartedLocal struct {
	*localpg.Server

	// Shadowed is where another profile of the same name comes from, which wins over the
	// one that was written; "" where none does.
	Shadowed string
}

// Start starts the instance, makes it the first time, and writes its profile.
func (l Local) Start(ctx context.Context, o localpg.Options) (StartedLocal, error) {
	o.Name, o.BinDir = l.Name, l.BinDir
	server, err := localpg.Start(ctx, o)
	if err != nil {
		return StartedLocal{}, err
	}
	if _, err := config.WriteProfile(l.Sources.Env, l.Profile(), config.DSN(server.DSN)); err != nil {
		return StartedLocal{}, err
	}
	return StartedLocal{Server: server, Shadowed: l.ShadowedBy(config.DSN(server.DSN))}, nil
}

// ShadowedBy returns where another profile of the instance's name comes from that wins
// over the one with an address, "" when there is none: whoever names the profile would
// work on somebody's real database.
func (l Local) ShadowedBy(dsn config.DSN) string {
	s := l.Sources
	s.Flag = func(name string) (string, bool) { return l.Profile(), name == config.KeyProfile }
	cfg, err := config.Load(s)
	if err != nil || cfg.DatabaseURL == dsn {
		return ""
	}
	return cfg.Setting(config.KeyDatabaseURL).Origin
}

// WouldStart returns how the instance is, and where it does not run the programs that
// would be started, and their version.
func (l Local) WouldStart(ctx context.Context) (s localpg.Status, dir, version string, err error) {
	if s, err = l.Inspect(ctx); err != nil || Runs(s.State) {
		return s, "", "", err
	}
	dir, version, err = localpg.FindBinaries(ctx, l.BinDir)
	return s, dir, version, err
}

// Runs reports whether an instance in a state runs, or is about to.
func Runs(s localpg.State) bool { return s == localpg.Running || s == localpg.Starting }

// Stop stops the instance, or all there are, and returns how they are then. A dry run
// stops none.
func (l Local) Stop(ctx context.Context, all, dryRun bool) ([]localpg.Status, error) {
	var instances []localpg.Status
	var err error
	if all {
		instances, err = localpg.List(ctx, "")
	} else {
		instances = make([]localpg.Status, 1)
		instances[0], err = l.Inspect(ctx)
	}
	if err != nil || dryRun {
		return instances, err
	}
	for i, s := range instances {
		o := localpg.Options{Name: s.Name}
		if err := localpg.Stop(ctx, o); err != nil {
			return nil, err
		}
		if instances[i], err = localpg.Inspect(ctx, o); err != nil {
			return nil, err
		}
	}
	return instances, nil
}

// Reset destroys the instance with its data, and removes its profile.
func (l Local) Reset(ctx context.Context) error {
	if err := localpg.Reset(ctx, l.instance()); err != nil {
		return err
	}
	return config.RemoveProfile(l.Sources.Env, l.Profile())
}
