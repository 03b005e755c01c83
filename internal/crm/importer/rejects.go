package importer

import (
	"cmp"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/crmctl/crmctl/internal/tabular"
)

// rejects counts the rejected rows and writes them to a file: _line, _column, _code and
// _message are added. Mended, it can be imported as it is.
type rejects struct {
	rowFile

	limit int64 // as Options.MaxRejects
	total int64
	count map[RejectCode]int64
}

func newRejects(file *tabular.File, o Options) *rejects {
	return &rejects{rowFile: newRowFile("reject file", o.RejectPath, o.RejectTo, rejectColumns(), file),
		limit: o.MaxRejects, count: map[RejectCode]int64{}}
}

// add rejects a row of the file.
func (r *rejects) add(rec *tabular.Record, why *rejection) error {
	// The row that is one too many is written as well: it is worth a look.
	return errors.Join(r.tally(why.code), r.write(rec, why))
}

// tally counts a rejected row, and fails when that is one too many.
func (r *rejects) tally(code RejectCode) error {
	r.total++
	r.count[code]++
	if allowed := max(r.limit, 0); r.limit != 0 && r.total > allowed {
		return &TooManyRejectsError{Limit: allowed, Kept: r.asItGoes}
	}
	return nil
}

func (r *rejects) write(rec *tabular.Record, why *rejection) error {
	if !r.writes() {
		return nil
	}
	shown := *why
	if rec.Problem == tabular.LongRow {
		shown.message += "; it begins " + shorten(rec.Raw)
	}
	return r.writeRow(r.text(nil, rec), int64(rec.Line), &shown)
}

// addText rejects a row whose text was kept elsewhere.
func (r *rejects) addText(text []byte, line int64, why *rejection) error {
	err := r.tally(why.code)
	if !r.writes() {
		return err
	}
	return errors.Join(err, r.writeRow(text, line, why))
}

func (r *rejects) writeRow(text []byte, line int64, why *rejection) error {
	return r.row(text, strconv.AppendInt(nil, line, 10), []byte(why.column), []byte(why.code), []byte(why.message))
}

// byCode returns the counts, most frequent first.
func (r *rejects) byCode() []RejectCount {
	var counts []RejectCount
	for code, n := range r.count {
		counts = append(counts, RejectCount{Code: code, Count: n})
	}
	slices.SortFunc(counts, func(a, b RejectCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(string(a.Code), string(b.Code)))
	})
	return counts
}
