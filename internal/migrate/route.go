package migrate

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/crmctl/crmctl/internal/db"
)

// Kind is what a run does with a tenant's versions.
type Kind string

// The kinds of a run, as the ledger names them.
const (
	Up   Kind = "migrate"  // apply what is pending
	Down Kind = "rollback" // take back the newest versions
	Redo Kind = "redo"     // take back the newest version and apply it again
)

// Route says where a run takes each tenant. The zero Route brings it to the head
// of the plan.
type Route struct {
	Kind Kind // "" = Up
	// To is the version that Down ends at. Steps, if not 0, says instead how many
	// of the plan's versions below the registry's it lies. For Redo, To is the version that
	// an earlier attempt has begun with, 0 for none: it may have come half way.
	To    int64
	Steps int
	// OutOfOrder lets Up apply a file older than the newest applied one.
	OutOfOrder bool
}

// Step is one migration in one direction.
type Step struct {
	*Migration

	Down bool
}

// Script returns the statements of the step.
func (s Step) Script() []db.Statement {
	if s.Down {
		return s.Migration.Down
	}
	return s.Up
}

// MissingDownError says that a migration cannot be taken back.
type MissingDownError struct{ Migration *Migration }

// Error names the file.
func (e *MissingDownError) Error() string {
	return fmt.Sprintf("%s has no Down statements, so it cannot be taken back: the way back ends at version %d",
		e.Migration.File, e.Migration.Version)
}

// UnknownVersionError says that a schema has a version that no file has.
type UnknownVersionError struct{ Version int64 }

// Error names the version.
func (e *UnknownVersionError) Error() string {
	return fmt.Sprintf("version %d is applied, but no file has it: these are not the files the schema was migrated with",
		e.Version)
}

// ErrNothingApplied says that Redo found no version to take back.
var ErrNothingApplied = errors.New("no migration is applied")

// kind returns the route's kind, Up for the zero Route.
func (r Route) kind() Kind {
	if r.Kind == "" {
		return Up
	}
	return r.Kind
}

// resolve turns a number of steps into the version they lead to. That is done
// once for each tenant, before its first attempt: when the answer to a commit was
// lost, counting again would take back more than was asked for. A version that no
// file has cannot be counted from and is left to Steps to refuse.
func (p *Plan) resolve(r Route, version int64) Route {
	if r.kind() != Down || r.Steps == 0 {
		return r
	}
	for i, m := range p.Migrations {
		if m.Version == version {
			// Just below the last one taken back, whatever lies there.
			r.To = p.Migrations[max(0, i-r.Steps+1)].Version - 1
			r.Steps = 0
		}
	}
	return r
}

// Steps returns what takes a schema with the given applied versions along the
// route, in order.
func (p *Plan) Steps(r Route, applied []int64) ([]Step, error) {
	switch r.kind() {
	case Down:
		return p.stepsDown(r, applied)
	case Redo:
		newest := newestFirst(applied)
		if m := p.Migration(r.To); m != nil && !slices.Contains(newest, r.To) {
			return []Step{{m, false}}, nil
		}
		if len(newest) == 0 {
			return nil, ErrNothingApplied
		}
		m, err := p.reversible(newest[0])
		if err != nil {
			return nil, err
		}
		return []Step{{m, true}, {m, false}}, nil
	}
	pending, err := p.Pending(applied)
	if late, ok := errors.AsType[*OutOfOrderError](err); ok && r.OutOfOrder {
		pending, err = append(late.Missing, late.Pending...), nil
	}
	steps := make([]Step, len(pending))
	for i, m := range pending {
		steps[i] = Step{m, false}
	}
	return steps, err
}

// Preview returns the steps of a tenant whose registry row says version, if it has
// every file up to there.
func (p *Plan) Preview(r Route, version int64) ([]Step, error) {
	var applied []int64
	for _, m := range p.Migrations {
		if m.Version <= version {
			applied = append(applied, m.Version)
		}
	}
	if version > 0 && p.Migration(version) == nil {
		return nil, &UnknownVersionError{Version: version}
	}
	return p.Steps(p.resolve(r, version), applied)
}

func (p *Plan) stepsDown(r Route, applied []int64) ([]Step, error) {
	var steps []Step
	newest := newestFirst(applied)
	if r.Steps > 0 && len(newest) > 0 {
		return nil, &UnknownVersionError{Version: newest[0]}
	}
	for _, v := range newest {
		if v <= r.To {
			break
		}
		m, err := p.reversible(v)
		if err != nil {
			return nil, err
		}
		steps = append(steps, Step{m, true})
	}
	return steps, nil
}

func (p *Plan) reversible(version int64) (*Migration, error) {
	m := p.Migration(version)
	switch {
	case m == nil:
		return nil, &UnknownVersionError{Version: version}
	case !m.undone:
		return nil, &MissingDownError{Migration: m}
	}
	return m, nil
}

// Migration returns the migration of a version, nil where there is none.
func (p *Plan) Migration(version int64) *Migration {
	for _, m := range p.Migrations {
		if m.Version == version {
			return m
		}
	}
	return nil
}

// newestFirst returns the applied versions but goose's 0, descending.
func newestFirst(applied []int64) []int64 {
	out := slices.DeleteFunc(slices.Clone(applied), func(v int64) bool { return v == 0 })
	slices.Sort(out)
	slices.Reverse(out)
	return slices.Compact(out)
}

// leading splits off the steps that share the first one's way of running: in one
// transaction, or each statement by itself. A file that must be a transaction of its own
// shares it with no other, and one that uses a value of an enum does not share it with the
// file that adds it.
func leading(steps []Step) (now, later []Step) {
	for i, s := range steps {
		// a redo is one step
		cut := i > 0 && s.Transactional && (s.Apart || steps[i-1].Apart) && s.Version != steps[i-1].Version
		cut = cut || s.Transactional && slices.ContainsFunc(steps[:i], func(before Step) bool {
			return slices.Contains(s.uses, before.Version)
		})
		if cut || s.Transactional != steps[0].Transactional {
			return steps[:i], steps[i:]
		}
	}
	return steps, nil
}

// after returns the newest version once the steps are taken.
func after(applied []int64, steps []Step) int64 {
	has := map[int64]bool{}
	for _, v := range applied {
		has[v] = true
	}
	for _, s := range steps {
		has[s.Version] = !s.Down
	}
	newest := int64(0)
	for v, is := range has {
		if is {
			newest = max(newest, v)
		}
	}
	return newest
}

// Behind reports whether a tenant whose registry row says version has a step of
// the route before it, as far as the registry knows.
func (p *Plan) Behind(r Route, version int64) bool {
	switch r.kind() {
	case Down:
		return r.Steps > 0 && version > 0 || r.Steps == 0 && version > r.To
	case Redo:
		return version > 0
	}
	return version < p.Head() || r.OutOfOrder
}

// names joins the files of migrations.
func fileNames(ms []*Migration) string {
	names := make([]string, len(ms))
	for i, m := range ms {
		names[i] = m.File
	}
	return strings.Join(names, ", ")
}
