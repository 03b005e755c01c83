package db

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// ErrWrongSchema is wrapped by the error of a transaction that found itself in
// another schema than it asked for, most often because the schema is gone.
var ErrWrongSchema = errors.New("schema is not there")

// SQLSTATE codes this project acts on; the names are those of PostgreSQL's
// appendix A.
const (
	CodeUniqueViolation        = "23505"
	CodeUndefinedTable         = "42P01"
	CodeUndefinedColumn        = "42703"
	CodeUndefinedObject        = "42704"
	CodeDuplicateObject        = "42710"
	CodeInvalidSchemaName      = "3F000"
	CodeDuplicateSchema        = "42P06"
	CodeLockNotAvailable       = "55P03"
	CodeDeadlockDetected       = "40P01"
	CodeSerializationFailure   = "40001"
	CodeTooManyConnections     = "53300"
	CodeInsufficientPrivilege  = "42501"
	CodeReadOnlyTransaction    = "25006"
	CodeDiskFull               = "53100"
	CodeOutOfMemory            = "53200"
	CodeQueryCanceled          = "57014"
	codeAdminShutdown          = "57P01"
	codeCrashShutdown          = "57P02"
	codeCannotConnectNow       = "57P03"
	CodeDivisionByZero         = "22012"
	codeIdleInTransactionLimit = "25P03"
	codeTransactionLimit       = "25P04"
	codeIdleSessionLimit       = "57P05"
	codeProtocolViolation      = "08P01"
	codeOutOfRange             = "22003"
	codeNodeLost               = "08006"
	codeInternal               = "XX000"
)

// SQLState returns the SQLSTATE of a server's error, or "".
func SQLState(err error) string {
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pgErr.Code
	}
	return ""
}

// Retryable reports whether the same transaction may well succeed when it is
// tried again later: a lock not granted in time, a deadlock, a serialization
// failure, a lost connection, no connection slot, a node of a cluster that the server does
// not reach, or ErrBusy. One that may have been
// committed (ErrCommitUnknown) is not tried again.
func Retryable(err error) bool {
	switch SQLState(err) {
	case CodeLockNotAvailable, CodeDeadlockDetected, CodeSerializationFailure, CodeTooManyConnections:
		return true
	}
	return NodeLost(err) || errors.Is(err, ErrBusy) || ConnectionLost(err) && !errors.Is(err, ErrCommitUnknown)
}

// NodeLost reports whether the server says that it does not reach a node of its cluster,
// which may be starting up, or that a schema is on its way to another: the session lives
// on. What the client library of the server met has no SQLSTATE of its own.
func NodeLost(err error) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	switch {
	case !ok:
		return false
	case pgErr.Code == codeNodeLost:
		return true
	}
	return pgErr.Code == codeInternal && slices.ContainsFunc([]string{
		"failure on connection marked as essential", "server closed the connection unexpectedly",
		"SSL SYSCALL error", "could not receive data from server", "could not send data to server",
		"could not acquire the lock required to colocate",
	}, func(text string) bool { return strings.Contains(pgErr.Message, text) })
}

// ServerWide reports whether any other transaction would fail the same way: the
// disk is full, or transactions may only read (on a replica, or by default).
func ServerWide(err error) bool {
	switch SQLState(err) {
	case CodeDiskFull, CodeReadOnlyTransaction:
		return true
	}
	return false
}

// ConnectionLost reports whether err means that the session is gone or was never
// there, so that the fate of what was sent last is unknown. A cancelled context
// is not a lost connection.
func ConnectionLost(err error) bool {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	switch SQLState(err) {
	case codeAdminShutdown, codeCrashShutdown, codeCannotConnectNow, codeIdleInTransactionLimit, codeTransactionLimit,
		codeIdleSessionLimit:
		return true
	case codeProtocolViolation:
		return ofPooler(err)
	case "":
	default:
		return false
	}
	var netErr net.Error
	return errors.Is(err, ErrUnreachable) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || errors.As(err, &netErr) || errors.Is(err, pgconn.ErrConnClosed)
}

// ofPooler reports whether err is the last word of PgBouncer on a session, which has one code
// for all of them: the server has gone or does not come, or nobody was free for too long.
func ofPooler(err error) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pgErr.Code == codeProtocolViolation && pgErr.Severity == "FATAL"
}

// Unserved reports whether err says that a pooler has no server for the session, and has done
// nothing of what was sent: whatever is sent next fares alike, until the server is there.
func Unserved(err error) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && ofPooler(err) && slices.ContainsFunc([]string{
		"server login", "query_wait_timeout", "client_login_timeout", "cannot connect",
	}, func(text string) bool { return strings.Contains(pgErr.Message, text) })
}

// Statement is one SQL statement and the place it was written.
type Statement struct {
	SQL  string
	File string // path of the file, "" for a statement of this program
	Line int    // 1-based line of the statement's first line in File
	// Traces tells that the statement may leave something in the session: see Cleanse.
	Traces bool
	// Apart runs the statement inside of a block, where the server runs them: see Apart of
	// Pipeline. It is for those that name a tenant's table.
	Apart bool
	// Cut says where the statement stands in a script of several transactions.
	Cut Cut
}

// Cut says how a statement of a script follows those before it.
type Cut int

const (
	// SameTransaction goes on in the transaction of those before it; a direct one has
	// ended that.
	SameTransaction Cut = iota
	// NewTransaction begins another, when all before it are committed.
	NewTransaction
	// Direct runs outside of transactions, by itself.
	Direct
)

// StatementError says which statement of a pipeline the server refused, and
// where in its file.
type StatementError struct {
	Statement Statement
	Err       error // holds a *pgconn.PgError where the server answered
}

// Unwrap returns the cause.
func (e *StatementError) Unwrap() error { return e.Err }

// Error returns `00005_add_company.sql:3: column "company" … already exists
// (42701)`.
func (e *StatementError) Error() string {
	text := e.Err.Error()
	if pgErr, ok := errors.AsType[*pgconn.PgError](e.Err); ok {
		pgErr = Said(pgErr)
		text = pgErr.Message
		// Which key is there twice is the whole of the message.
		if pgErr.Code == CodeUniqueViolation && pgErr.Detail != "" {
			text += ": " + strings.TrimSuffix(pgErr.Detail, ".")
		}
		text += " (" + pgErr.Code + ")"
		if pgErr.Code == CodeOutOfMemory {
			text += ": the lock table is full, max_locks_per_transaction is too small for this"
		}
	}
	if place := e.Place(); place != "" {
		return place + ": " + text
	}
	return text
}

// Plain takes off the StatementError of a statement that stands in no file: its place
// says nothing.
func Plain(err error) error {
	if s, ok := errors.AsType[*StatementError](err); ok && s.Statement.File == "" {
		return s.Err
	}
	return err
}

// Place returns "00005_add_company.sql:3", the line the server pointed at, or
// "" for a statement that stands in no file.
func (e *StatementError) Place() string {
	if e.Statement.File == "" {
		return ""
	}
	line, _, _ := e.locate()
	return fmt.Sprintf("%s:%d", path.Base(e.Statement.File), line)
}

// Excerpt returns the offending line of the statement and a second line with a
// caret below the character the server pointed at, or "" when it pointed at
// none.
func (e *StatementError) Excerpt() string {
	_, text, column := e.locate()
	if column < 0 {
		return ""
	}
	// Tabs are kept in the padding so that the caret lands where the terminal
	// puts the character.
	pad := strings.Map(func(r rune) rune {
		if r == '\t' {
			return r
		}
		return ' '
	}, string([]rune(text)[:column]))
	return text + "\n" + pad + "^"
}

// locate turns the server's position, 1-based in characters of the statement,
// into a line of the file, that line's text and a 0-based column in it (-1
// when the server gave no position).
func (e *StatementError) locate() (line int, text string, column int) {
	line, column = e.Statement.Line, -1
	var pgErr *pgconn.PgError
	if !errors.As(e.Err, &pgErr) || pgErr.Position <= 0 {
		return line, "", column
	}
	runes := []rune(e.Statement.SQL)
	at := min(int(pgErr.Position)-1, len(runes))
	start := 0
	for i := range at {
		if runes[i] == '\n' {
			line++
			start = i + 1
		}
	}
	end := start
	for end < len(runes) && runes[end] != '\n' {
		end++
	}
	return line, string(runes[start:end]), at - start
}

// Said returns what the server has said as the server of one database would say it. A node of a
// cluster calls tables, indexes and constraints by names with the number of a shard, and of a
// node that is lost the cluster hands on what its client library has said, which goes on in lines
// that begin with a tab.
func Said(err *pgconn.PgError) *pgconn.PgError {
	said := *err
	if err.Code == codeNodeLost {
		said.Message = strings.ReplaceAll(strings.TrimSpace(err.Message), "\n\t", " ")
	}
	if !strings.Contains(err.Where, "while executing command on ") {
		return &said
	}
	said.Message = shardInText.ReplaceAllString(said.Message, `"`)
	said.Detail = shardInText.ReplaceAllString(err.Detail, `"`)
	said.ConstraintName = shardOfName.ReplaceAllString(err.ConstraintName, "")
	said.TableName = shardOfName.ReplaceAllString(err.TableName, "")
	return &said
}

// The number of a shard, behind a name in a text and behind a name alone. The first is 102008.
var (
	shardInText = regexp.MustCompile(`_[0-9]{6,}"`)
	shardOfName = regexp.MustCompile(`_[0-9]{6,}$`)
)

// Text returns the text of an error, with what the server has said as its message and the
// SQLSTATE in brackets, as a StatementError has it: the client library's own form begins with
// the severity, in the server's language, and ends otherwise.
func Text(err error) string {
	if err == nil {
		return ""
	}
	text := err.Error()
	var walk func(err error)
	walk = func(err error) {
		switch e := err.(type) { //nolint:errorlint // walks the tree itself
		case *pgconn.PgError:
			text = strings.ReplaceAll(text, e.Error(), Said(e).Message+" ("+e.Code+")")
		case interface{ Unwrap() error }:
			walk(e.Unwrap())
		case interface{ Unwrap() []error }:
			for _, inner := range e.Unwrap() {
				walk(inner)
			}
		}
	}
	walk(err)
	return text
}
