package main

import (
	"errors"
	"fmt"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/doctor"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/planted"
	"github.com/crmctl/crmctl/internal/registry"
)

// invalidRows counts the outcomes that are rows of the registry nobody acts on.
func invalidRows(outcomes []migrate.Outcome) int {
	n := 0
	for _, o := range outcomes {
		if errors.Is(o.Err, registry.ErrInvalidRow) {
			n++
		}
	}
	return n
}

// onlyMissingDown reports whether tenants failed only because files have no Down statements.
func onlyMissingDown(outcomes []migrate.Outcome) bool {
	some := false
	for _, o := range outcomes {
		if o.Err == nil || o.State == migrate.NotStarted {
			continue
		}
		if _, some = errors.AsType[*migrate.MissingDownError](o.Err); !some {
			return false
		}
	}
	return some
}

// onlyDirty returns the command that shows what a run left to be settled by hand, where
// tenants failed for that alone, and "" otherwise.
func onlyDirty(outcomes []migrate.Outcome) string {
	command, tenants := "", 0
	for _, o := range outcomes {
		if o.Err == nil || o.State == migrate.NotStarted {
			continue
		}
		dirty, is := errors.AsType[*migrate.DirtyError](o.Err)
		if !is {
			return ""
		}
		command = "crmctl migrate repair"
		if tenants++; tenants == 1 {
			command += " " + cli.Visible(dirty.Slug)
		}
	}
	return command
}

// onlyPlanted returns the refusal of the first tenant, where tenants failed for code of
// others alone, and nil otherwise.
func onlyPlanted(outcomes []migrate.Outcome) *planted.Error {
	var first *planted.Error
	for _, o := range outcomes {
		if o.Err == nil || o.State == migrate.NotStarted {
			continue
		}
		found, is := errors.AsType[*planted.Error](o.Err)
		if !is {
			return nil
		}
		if first == nil {
			first = found
		}
	}
	return first
}

// afterRun returns the command that goes on after a run, and the one that shows more of
// it, "" for none.
func (f *factory) afterRun(r *migrate.Report, record runReport) (next, details string) {
	left := record.Failed + record.NotStarted
	if left == 0 && r.Stopped == nil {
		return "", ""
	}
	switch invalid := invalidRows(r.Outcomes); {
	case invalid > 0 && invalid == left:
		return "", "crmctl doctor --check " + string(doctor.InvalidRowClass)
	case r.RunID == 0:
		return "", "" // the error that follows says so
	case onlyMissingDown(r.Outcomes):
		// To try again is no use.
	case onlyDirty(r.Outcomes) != "":
		next = onlyDirty(r.Outcomes) + f.sameTarget()
	case onlyPlanted(r.Outcomes) != nil: // they would be refused again
		next = "crmctl doctor --check " + string(doctor.Planted) + f.sameTarget()
	case r.Target >= 0:
		next = fmt.Sprintf("crmctl migrate retry %d%s", r.RunID, f.sameFlags())
	}
	details = fmt.Sprintf("crmctl migrate runs show %d%s", r.RunID, f.sameTarget())
	if record.Together {
		details += " -o wide"
	}
	return next, details
}

// noteTrust says how the code that a run was refused for is trusted.
func (f *factory) noteTrust(r *migrate.Report) {
	if found := onlyPlanted(r.Outcomes); found != nil {
		hints := explainPlanted(found)
		f.Note("%s: %s", hints[len(hints)-1].Label, hints[len(hints)-1].Command)
	}
}
