package fleet

import (
	"errors"

	"github.com/crmctl/crmctl/internal/db"
)

// Summary is how a run over many items ended.
type Summary struct {
	Items      int
	Done       int
	Failed     int
	NotStarted int
	Unneeded   int // items beside these for which nothing was to be done
	// Errors are those of the items that are not done, in the order of the items. Of an
	// item that was never begun there need not be one.
	Errors []error
	// Unserved is the error of the first item that nobody was left to serve: no
	// connection could be had.
	Unserved error
	// Stopped is why the run ended before its items did, as Run returns it; nil when
	// each had its turn.
	Stopped error
}

// Summarize counts what Run has returned.
func Summarize(results []Result, stopped error) Summary {
	s := Summary{Stopped: stopped}
	for _, r := range results {
		s.Add(r.State, r.Err)
	}
	return s
}

// Add counts an item.
func (s *Summary) Add(state State, err error) {
	s.Items++
	switch state {
	case Done:
		s.Done++
		return
	case Failed:
		s.Failed++
	case NotStarted:
		s.NotStarted++
		if s.Stopped == nil && s.Unserved == nil {
			s.Unserved = err
		}
	}
	if err != nil {
		s.Errors = append(s.Errors, err)
	}
}

// Whole reports whether every item is done.
func (s *Summary) Whole() bool { return s.Failed+s.NotStarted == 0 }

// First returns the error of the first item that is not done and has one.
func (s *Summary) First() error {
	if len(s.Errors) == 0 {
		return nil
	}
	return s.Errors[0]
}

// Locked reports whether whatever is not done is held by somebody else.
func (s *Summary) Locked() bool {
	for _, err := range s.Errors {
		if !errors.Is(err, db.ErrBusy) {
			return false
		}
	}
	return !s.Whole() && len(s.Errors) == s.Failed+s.NotStarted
}
