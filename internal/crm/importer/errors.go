package importer

import (
	"fmt"
	"strings"
)

// RejectCode names why a row was rejected. The codes are part of the reject
// file's format.
type RejectCode string

// The reasons for rejecting a row.
const (
	RejectBadEmail       RejectCode = "bad_email"
	RejectLongPhone      RejectCode = "phone_too_long"
	RejectBadCreatedAt   RejectCode = "bad_created_at"
	RejectEmpty          RejectCode = "empty_contact"    // neither email, phone, name nor company
	RejectTooManyColumns RejectCode = "too_many_columns" // more than the header has
	RejectTooFewColumns  RejectCode = "too_few_columns"  // only with RejectShortRows
	RejectNotUTF8        RejectCode = "not_utf8"         // or not valid UTF-16/32
	RejectNUL            RejectCode = "nul_byte"         // PostgreSQL stores none
	RejectBadQuotes      RejectCode = "bad_quotes"       // text after a closing quote
	RejectOpenQuote      RejectCode = "unterminated_quote"
	RejectBadSyntax      RejectCode = "bad_syntax" // an object or a card that is none
	RejectLongCell       RejectCode = "cell_too_long"
	RejectLongRow        RejectCode = "row_too_long"
	RejectDuplicate      RejectCode = "duplicate_email" // an earlier row of the file has it; with ConflictError
	RejectExists         RejectCode = "email_exists"    // a contact has it; with ConflictError
	RejectNoKey          RejectCode = "no_key"          // the row lacks what it is to be known by
	RejectAmbiguous      RejectCode = "ambiguous_key"   // several contacts have its key
	RejectDuplicateKey   RejectCode = "duplicate_key"   // as duplicate_email, for another key
	RejectMissing        RejectCode = "missing_value"   // the application's table needs one
	RejectKeyExists      RejectCode = "key_exists"      // as email_exists, for another key

	// The table is an application's own.
	RejectBadValue  RejectCode = "bad_value"      // its column holds values of another type
	RejectLongValue RejectCode = "value_too_long" // its column is shorter
	RejectRefused   RejectCode = "refused"        // by one of its checks, domains, keys or triggers
)

// MappingError says that a column cannot be mapped as asked, or that the file has
// no column to make contacts from.
type MappingError struct {
	Reason     string
	Headers    []string // of the file
	Suggestion string   // a header or field that may have been meant, or ""

	// Candidates are the columns that Field may stand in, when only the user can
	// say which.
	Field      Field
	Candidates []Candidate
}

// Candidate is a column that may be meant.
type Candidate struct {
	Header string
	Sample string // one of its values, "" when the first rows have none
}

// Error returns the reason and the suggestion.
func (e *MappingError) Error() string {
	if e.Suggestion == "" {
		return e.Reason
	}
	return fmt.Sprintf("%s; did you mean %q?", e.Reason, e.Suggestion)
}

// TableError says that the tenant's table is not fit for the import: it is at an
// older version, or belongs to another application.
type TableError struct {
	Schema   string
	Table    string
	Missing  []string // columns that are not there
	Problems []string // what else is wrong, a sentence each
}

// Error names the table and everything that is wrong with it.
func (e *TableError) Error() string {
	var what []string
	switch len(e.Missing) {
	case 0:
	case 1:
		what = append(what, "has no column "+e.Missing[0])
	default:
		what = append(what, "has no columns "+strings.Join(e.Missing, ", "))
	}
	what = append(what, e.Problems...)
	return fmt.Sprintf("table %s.%s %s", e.Schema, e.Table, strings.Join(what, ", "))
}

// TooManyRejectsError says that an import was stopped because more rows were
// rejected than allowed. Nothing was kept, or nothing of the batch.
type TooManyRejectsError struct {
	Limit int64 // rows that were allowed
	// Kept says that an import in batches has kept those before.
	Kept bool
}

// Error states the limit.
func (e *TooManyRejectsError) Error() string {
	kept := "nothing was imported"
	if e.Kept {
		kept = "the batch was not imported"
	}
	if e.Limit == 0 {
		return "a row was rejected; " + kept
	}
	return fmt.Sprintf("more than %d rows were rejected; %s", e.Limit, kept)
}
