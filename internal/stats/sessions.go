package stats

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

// Whose says how it is known which tenant a session works for.
type Whose string

// In the order in which they are trusted. Unknown is a session of which nothing tells,
// Several one that has locked tables of more than one tenant.
const (
	ByLocks       Whose = "locks"            // the tables that it reads, changes or waits for
	ByApplication Whose = "application_name" // "crmctl:acme", "tenant_acme"
	ByRole        Whose = "role"             // the tenant's own role has logged in
	Several       Whose = "several"
	Unknown       Whose = "unknown"
)

// Session is a connection as the server sees it, or a prepared transaction, which has no
// process: its PID is 0 and GID its name.
type Session struct {
	PID    int32
	GID    string
	Tenant string // slug; "" where Whose is Several or Unknown
	Whose  Whose

	User, Application, Client string
	Database                  string // "" for that of the caller
	Kind                      string // "client backend", "autovacuum worker"; "" where it is hidden
	Superuser                 bool
	// Hidden tells that the server keeps from this role what the session does.
	Hidden bool
	State  string // of pg_stat_activity: "idle in transaction"; "" where it is hidden
	Query  string // its latest, at most maxQuery characters, on one line
	// Started, InState, InTransaction and InQuery are how long ago the session, its state,
	// its transaction and its latest statement began; 0 for none, or unknown.
	Started, InState, InTransaction, InQuery time.Duration
	// WaitType and Wait are the event that it waits for: "Lock", "relation".
	WaitType, Wait string

	// Waits tells that it waits for a lock, Wants which ("AccessExclusiveLock on
	// contacts"), Waited how long. Blockers are the sessions in the way, which has to be
	// looked up: nil beyond the first maxWaiting.
	Waits    bool
	Wants    string
	Waited   time.Duration
	Blockers []Blocker

	begun   string   // backend_start as the server writes it: with the pid it names a session
	schemas []string // that it has locked relations of
}

// Blocker names a session in the way of another: by its process, or a prepared
// transaction by its name ("" where it could not be found out).
type Blocker struct {
	PID int32
	GID string
}

// ID returns what names the session among all.
func (s Session) ID() Blocker { return Blocker{PID: s.PID, GID: s.GID} }

// IsClient reports whether somebody is connected, as far as can be seen: background
// workers and prepared transactions are not.
func (s Session) IsClient() bool {
	return s.PID != 0 && s.Database == "" && (s.Kind == "client backend" || s.Kind == "" && s.User != "")
}

// IsRunning reports whether a statement is under way.
func (s Session) IsRunning() bool { return s.State == "active" || s.State == "fastpath function call" }

// IsInTransaction reports whether it has a transaction open and does nothing.
func (s Session) IsInTransaction() bool {
	return s.State == "idle in transaction" || s.State == "idle in transaction (aborted)"
}

// Room says how many connections there may be.
type Room struct {
	Used     int // on the whole server
	Database int // of them, to this database
	Most     int // on the whole server, for who is no superuser
	Limit    int // of this database; 0 for none
}

// Left returns how many more may connect to this database.
func (r Room) Left() int {
	left := r.Most - r.Used
	if r.Limit > 0 {
		left = min(left, r.Limit-r.Database)
	}
	return max(0, left)
}

// Sessions is a look at all sessions of the database, but for the one that looks, and at
// those elsewhere that are in the way of one.
type Sessions struct {
	At       time.Time // when, by the server's clock
	Sessions []Session
	Room     Room
	Hidden   int // sessions of which this role may not see what they do
	// NotLookedUp counts waiting sessions beyond maxWaiting, whose blockers were not asked for.
	NotLookedUp int
	// RegistryLocked tells that the registry is locked away, so that all are unknown.
	RegistryLocked bool
}

const (
	maxQuery   = 400
	maxWaiting = 500 // each asks the server once who is in its way
	maxSchemas = 50  // of which a session has locked something; with more it is of several tenants
	// sessionsTimeout bounds each statement of ReadSessions.
	sessionsTimeout = 5 * time.Second
	sessionsLocks   = 200 * time.Millisecond
)

// errRegistryLocked ends a look at the registry that is locked away.
var errRegistryLocked = errors.New("the registry is locked")

// ReadSessions looks at the sessions, in a read-only transaction. conn must not be in a
// transaction. It costs one pass over the server's lock table and its list of sessions,
// one look at the registry for the tenants that are found, and a question to the lock
// manager for each session that waits: nothing grows with the number of tenants.
func ReadSessions(ctx context.Context, conn *pgx.Conn, reg registry.Registry) (Sessions, error) {
	var out Sessions
	locals := db.Locals{Snapshot: true, LockTimeout: sessionsLocks, StatementTimeout: sessionsTimeout}
	err := db.InTx(ctx, conn, locals, func(ctx context.Context, q db.Querier) error {
		if err := out.read(ctx, q); err != nil {
			return fmt.Errorf("read sessions: %w", err)
		}
		err := out.attribute(ctx, q, reg)
		if db.SQLState(err) == db.CodeLockNotAvailable {
			return errRegistryLocked
		}
		return err
	})
	if errors.Is(err, errRegistryLocked) {
		out.RegistryLocked, err = true, nil
	}
	return out, err
}

// read reads everything but whose the sessions are.
func (s *Sessions) read(ctx context.Context, q db.Querier) error {
	var p db.Pipeline
	p.QueryRow([]any{&s.At}, "select pg_catalog.clock_timestamp()")
	p.QueryRow([]any{&s.Room.Used, &s.Room.Database, &s.Room.Most, &s.Room.Limit}, roomQuery)
	p.Query(func(rows pgx.Rows) (err error) {
		s.Sessions, err = pgx.CollectRows(rows, scanSession)
		return err
	}, sessionsQuery, maxSchemas+1, maxQuery, maxWaiting)
	if err := p.Run(ctx, q); err != nil {
		return db.Plain(err)
	}
	prepared := false
	for i, one := range s.Sessions {
		if one.Hidden {
			s.Hidden++
		}
		if one.Waits && one.Blockers == nil {
			s.NotLookedUp++
		}
		for _, b := range one.Blockers {
			prepared = prepared || b.PID == 0
		}
		s.Sessions[i].Whose = Unknown
	}
	if prepared {
		return s.namePrepared(ctx, q)
	}
	return nil
}

// namePrepared finds out which prepared transactions are in the way: the server only
// says that there is one.
func (s *Sessions) namePrepared(ctx context.Context, q db.Querier) error {
	type row struct {
		PID int32
		GID string
	}
	rows, err := db.Select(ctx, q, pgx.RowToStructByPos[row], preparedQuery)
	if err != nil {
		return err
	}
	found := map[int32][]string{}
	for _, r := range rows {
		found[r.PID] = append(found[r.PID], r.GID)
	}
	for i := range s.Sessions {
		one := &s.Sessions[i]
		var named []Blocker
		for _, b := range one.Blockers {
			if b.PID != 0 {
				named = append(named, b)
			}
		}
		if len(named) == len(one.Blockers) {
			continue
		}
		for _, gid := range found[one.PID] {
			named = append(named, Blocker{GID: gid})
		}
		if len(found[one.PID]) == 0 {
			named = append(named, Blocker{})
		}
		one.Blockers = named
	}
	return nil
}

func scanSession(row pgx.CollectableRow) (Session, error) {
	var s Session
	var started, state, transaction, query, waited float64
	var blockers []int32
	err := row.Scan(&s.PID, &s.GID, &s.User, &s.Application, &s.Client, &s.Database, &s.Kind, &s.Superuser, &s.Hidden,
		&s.State, &s.Query, &started, &state, &transaction, &query, &s.WaitType, &s.Wait, &s.Waits, &s.Wants, &waited,
		&blockers, &s.begun, &s.schemas)
	for to, from := range map[*time.Duration]float64{&s.Started: started, &s.InState: state,
		&s.InTransaction: transaction, &s.InQuery: query, &s.Waited: waited} {
		*to = max(0, time.Duration(from*float64(time.Second)))
	}
	if blockers != nil {
		s.Blockers = []Blocker{}
	}
	for _, pid := range blockers {
		if b := (Blocker{PID: pid}); !slices.Contains(s.Blockers, b) {
			s.Blockers = append(s.Blockers, b)
		}
	}
	return s, err
}
