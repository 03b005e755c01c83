package importer

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/tabular"
)

// ConflictPolicy says what becomes of a row whose e-mail address a contact
// already has.
type ConflictPolicy string

const (
	// ConflictUpdate merges the row into the contact: a value that the row has
	// replaces the contact's, a value it lacks leaves the contact's alone, and
	// metadata is merged key by key. It is the default.
	ConflictUpdate ConflictPolicy = "update"
	// ConflictMerge fills what the contact lacks: a value that it has stays, and of
	// metadata the keys that it has.
	ConflictMerge ConflictPolicy = "merge"
	// ConflictSkip leaves the contact as it is and counts the row as unchanged.
	ConflictSkip ConflictPolicy = "skip"
	// ConflictError rejects the row.
	ConflictError ConflictPolicy = "error"
)

// NoRejects as Options.MaxRejects stops at the first rejected row.
const NoRejects = -1

// Options says what to import and how. The zero value of every field but
// Schema is a sensible default.
type Options struct {
	Schema db.Schema // of the tenant; required
	Path   db.Path   // behind it, for what the tables call
	// Tenant is its row in the registry. Its lock is waited for, as long as
	// LockTimeout says, and held to the end; the zero Row takes none.
	Tenant     db.Row
	Tablespace string // where its indexes are made, see db.Locals
	Role       string // as which the work is done, "" for the owner of what is there
	// OwnRole does all work as the session's role, whoever owns the schema.
	OwnRole bool

	FileName string // for messages only

	// Map holds "Header=field" pairs that win over the guesses. A field is
	// email, phone, name, first_name, last_name, company, created_at,
	// metadata.KEY, "-" to leave the column out, or a column of an application's own
	// table.
	Map []string
	// Saved is a mapping that was kept; Map wins over it.
	Saved []SavedColumn
	// Null lists values that mean "nothing", such as "(blank)"; an empty or
	// blank cell always does.
	Null []string

	// Region is the country, as "DE", of phone numbers without a country code; ""
	// leaves those as they come.
	Region string

	OnConflict ConflictPolicy // "" is ConflictUpdate
	Key        Key            // "" is KeyEmail
	Table      *Table         // for which an inspection looks at the file; nil for none
	InFile     RepeatPolicy   // "" is what ParseRepeatPolicy takes for OnConflict
	// DryRun reads and checks everything, conflicts with the tenant's contacts
	// included, and writes nothing to the tenant's tables.
	DryRun bool

	// Encoding and Delimiter overrule what is detected: a name such as "utf-8"
	// or "windows-1252"; one character, or "tab".
	Encoding  string
	Delimiter string
	// HeaderRow is the line of the header, 1-based; 0 finds it, tabular.NoHeader
	// says that there is none (columns are then "column 1", "column 2" …).
	HeaderRow int
	// RejectShortRows rejects rows with fewer columns than the header, whose
	// missing columns otherwise count as empty.
	RejectShortRows bool
	Limits          tabular.Limits

	// MaxRejects is the number of rejected rows past which the import stops and
	// nothing is kept; 0 means no limit, NoRejects that not one is allowed.
	MaxRejects int64
	// RejectPath is where rejected rows are written, if there are any; "" writes
	// none. When the file exists a number is added to the name.
	RejectPath string
	// RejectTo, if not nil, gets them in place of a file, once the import is done.
	RejectTo io.Writer

	// AcceptPath and AcceptTo are for the rows that were not rejected, as RejectPath and
	// RejectTo are for those that were. A dry run, which stores nothing, has none.
	AcceptPath string
	AcceptTo   io.Writer

	// Batch commits after so many rows, and goes on; 0 is one transaction for all. From,
	// if not nil, is where an import that has stopped is to go on. Rows that share a key
	// are looked for within a batch; what an earlier batch has made is a contact.
	Batch int64
	From  *Checkpoint
	// Opened, if not nil, is called before anything is loaded. What it returns, if not
	// nil, takes the place of From.
	Opened func(ctx context.Context, s Source) (*Checkpoint, error)

	LockTimeout      time.Duration // bounds the wait for each lock; 0 is 5 s
	StatementTimeout time.Duration // bounds each statement; 0 leaves the server's setting
	// KeepIndexes forgoes the fast path of an empty tenant, which locks the
	// contacts against readers while it loads.
	KeepIndexes bool

	Now      func() time.Time // nil is time.Now
	Observer Observer         // nil is nobody
	// Trusted are roles whose code may run in the tenant's schema, besides those
	// that could act as the session's role.
	Trusted []string
	// Keep, if not "", is a UUID by which the import can be taken back: contacts that it
	// changes are kept as they were, under this id. Expired are the ids of the tenant's
	// imports that cannot be taken back any more: what is kept of them goes. What another
	// import keeps while this one reads its file stays.
	Keep    string
	Expired []string
	// AfterLoad, if not nil, runs in the import's transaction before it commits,
	// for a caller's audit row. Its error rolls everything back. A dry run does
	// not call it. With Batch it runs in each transaction, with what was done so far.
	AfterLoad func(ctx context.Context, q db.Querier, r Result) error

	// directFrom is the size in bytes from which an empty tenant is loaded by the
	// fast path; 0 is defaultDirectFrom. Tests set it.
	directFrom int64
	sliceFrom  int64    // staged rows from which on they are merged in slices; 0 is defaultSliceFrom
	columns    []string // of the table contacts, where Map names some that are no field
	size       int64    // of the input in bytes; 0 when it is not known
}

// Source is a file that is about to be imported.
type Source struct {
	Plan Plan
	Size int64
	// Sum returns the SHA-256 of the file in hexadecimal, which takes another reading of
	// it; "" where it can be read but once.
	Sum func() (string, error)
}

// ParseConflictPolicy reads "update", "merge", "skip" or "error".
func ParseConflictPolicy(s string) (ConflictPolicy, error) {
	switch p := ConflictPolicy(s); p {
	case ConflictUpdate, ConflictMerge, ConflictSkip, ConflictError:
		return p, nil
	case "":
		return ConflictUpdate, nil
	}
	return "", fmt.Errorf("conflict policy %q is none of update, merge, skip, error", s)
}

// Result says what an import did. Read is Inserted + Updated + Unchanged + Repeated +
// Rejected.
type Result struct {
	Plan Plan

	Read      int64 // rows after the header, blank ones not counted
	Inserted  int64 // rows that made a contact
	Updated   int64 // rows that changed one that was there before
	Unchanged int64 // rows that said nothing new, or were skipped by ConflictSkip
	Repeated  int64 // rows that share a key with an earlier row of the file, with which they were merged
	Rejected  int64
	Blank     int64 // lines without a value, passed over
	Notes     int64 // the export's own lines, passed over: its header again, a footer

	// NoAddress are rows that could be read and have no e-mail address, ByPhone those of them
	// with a phone number.
	NoAddress, ByPhone int64

	// NoPlace are the columns of the file that an application's own table has no column
	// for, and which were left out.
	NoPlace []string
	// Own is true where the table is an application's own. Narrow is true where that has no
	// column metadata besides: of several values for one field the first is stored, and no
	// other, nor what a value was before it was cleaned. Spare are the columns whose values
	// are so left out where a row has one before them.
	Own, Narrow bool
	Spare       []string

	RejectedByCode []RejectCount // most frequent first
	RejectFile     string        // where they were written, "" for nowhere
	AcceptFile     string        // where those that were not rejected were written

	Changed []ChangeCount // how many rows were cleaned, by kind
	// NullWords are words that stand again and again where an address or a number
	// was to be, such as "(blank)": they may mean nothing.
	NullWords []string

	// Checkpoint is how far an import in batches has come, without its counts, and
	// Unfinished that the file goes on.
	Checkpoint Checkpoint
	Unfinished bool

	InFile   RepeatPolicy // as it was taken
	DryRun   bool
	FastPath bool // the tenant was empty: indexes were built after the load
	// Part says what was written, for Undo, nil where nothing was. Undoable is false where
	// nobody asked, the table is an application's own, or this role cannot keep what is
	// replaced.
	Part     *Part
	Undoable bool
	Role     string // as which it was done, where that is not the session's
	Bytes    int64
	SHA256   string // of the input, in hexadecimal; "" when it was not read to its end
	Duration time.Duration
}

// RejectCount is the number of rows rejected for one reason.
type RejectCount struct {
	Code  RejectCode
	Count int64
}

// Plan is what was found out about a file before its first row is loaded.
type Plan struct {
	FileName string
	Size     int64 // in bytes
	Format   tabular.Format
	Preset   string       // the program that wrote the file, "" for none that is known
	Columns  []ColumnPlan // one for each column of the file, in order
}

// ColumnPlan says where a column goes.
type ColumnPlan struct {
	Header string // as used, made unique: a second "Phone" is "Phone (2)"
	Field  Field
	Key    string // the key in metadata of what is not stored as Field, "" when left out
	Asked  bool   // by Options.Map
	Kind   string // of an address or a number: "work", "mobile", or ""
	Why    string // why it goes there
	Rank   int    // among the columns of its field, the preferred first

	// What the column's first values look like, how many of them do, and one.
	Class      Class
	Confidence float64
	Sample     string
}

// Phase is a stage of an import.
type Phase string

// The phases in their order; not every import has all of them.
const (
	PhaseReceive Phase = "receive" // a pipe is read to its end, before anything is locked
	PhaseLoad    Phase = "load"    // rows are read and sent
	PhaseIndex   Phase = "index"   // indexes are built
	PhaseMerge   Phase = "merge"   // rows are merged into the contacts
)

// Progress is how far an import is.
type Progress struct {
	Phase    Phase
	Bytes    int64 // of the input
	Read     int64
	Rejected int64
	Elapsed  time.Duration

	// Of the indexes that are built, how many are done, and the one at hand; of a merge
	// the number of rows, how many of them are merged, and that number again.
	Step, Steps int
	What        string

	// Rest is how many columns of the file that are no field go to metadata, as far as the
	// tenant's table has that.
	Rest int
}

// Observer is told how an import goes. Its methods are called from more
// than one goroutine, though never at the same time, about ten times a second,
// and hold up the import until they return.
type Observer interface {
	// Planned is called once, before the first row is loaded.
	Planned(Plan)
	Progressed(Progress)
}
