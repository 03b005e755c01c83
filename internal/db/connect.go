package db

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
)

// ErrUnreachable is wrapped by the errors of Connect when no server answered:
// nothing listens, the name does not resolve, the network swallows packets, or
// the server is starting up or shutting down. A refused password or an unknown
// database is not unreachable: the server did answer.
var ErrUnreachable = errors.New("database unreachable")

const (
	applicationName = "crmctl"
	connectTimeout  = 10 * time.Second
	// A peer that vanished without a word is given up after about 30 seconds:
	// 15 s of silence, then 3 unanswered probes 5 s apart.
	keepAliveIdle     = 15 * time.Second
	keepAliveInterval = 5 * time.Second
	keepAliveCount    = 3
)

// ParseConfig reads a connection string as libpq does: a URL or key=value
// pairs, completed by the PG* environment, the service file and the password
// file. The empty string leaves everything to those. Parameters of other programs are
// left out where they mean nothing for the connection, and a *ParameterError where
// they do. The errors wrap ErrConnString.
//
// A password file that others can read is passed by, as psql does; PassfileProblem
// says so.
//
// Connections of the returned configuration use the exec mode of the extended
// protocol: one connection visits many schemas, where a cached plan or
// description would be wrong, and a pooler in transaction mode breaks prepared
// statements. Every parameter therefore travels as text.
func ParseConfig(dsn string) (*pgx.ConnConfig, error) {
	if err := checkURL(dsn); err != nil {
		return nil, err
	}
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, unreadable(dsn, err)
	}
	if err := takeForeign(cfg.RuntimeParams); err != nil {
		return nil, err
	}
	if passfileProblem(dsn, cfg.Password) != "" {
		cfg.Password = ""
	}
	Prepare(cfg)
	return cfg, nil
}

// Prepare gives a configuration that was made in another way what ParseConfig
// gives it: the exec mode, a name, time limits and a dialer.
func Prepare(cfg *pgx.ConnConfig) {
	cfg.DefaultQueryExecMode = pgx.QueryExecModeExec
	cfg.StatementCacheCapacity = 0
	cfg.DescriptionCacheCapacity = 0
	if cfg.RuntimeParams["application_name"] == "" {
		cfg.RuntimeParams["application_name"] = applicationName
	}
	setStartup(cfg.RuntimeParams)
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = connectTimeout
	}
	cfg.DialFunc = dialer{usualPatience(), &engineCell{}}.dial
	cfg.OnNotice = onNotice
	if tracer.Tracer != nil {
		cfg.Tracer = tracer
	}
	// A cancelled context first asks the server to stop the statement, so that
	// nothing goes on there behind our back; the connection is cut only when
	// that brings no answer.
	cfg.BuildContextWatcherHandler = func(c *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: c, CancelRequestDelay: 0, DeadlineDelay: 3 * time.Second}
	}
}

// dialer is what the connections of one configuration share.
type dialer struct {
	patience

	cell *engineCell
}

func (d dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	redial := func(ctx context.Context) (net.Conn, error) { return dial(ctx, network, address) }
	conn, err := redial(ctx)
	if err != nil {
		return nil, err
	}
	return &wire{Conn: conn, patience: d.patience, cell: d.cell, redial: redial}, nil
}

func dial(ctx context.Context, network, address string) (net.Conn, error) {
	dialer := &net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{
			Enable:   true,
			Idle:     keepAliveIdle,
			Interval: keepAliveInterval,
			Count:    keepAliveCount,
		},
		Control: limitUnacknowledged,
	}
	return dialer.DialContext(ctx, network, address)
}

// Connect opens one connection. The error wraps ErrUnreachable where no server
// answered, and never holds a password.
func Connect(ctx context.Context, cfg *pgx.ConnConfig) (*pgx.Conn, error) {
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err == nil {
		return conn, nil
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("connect to %s: %w", TargetOf(cfg), context.Cause(ctx))
	}
	var pgErr *pgconn.PgError
	switch {
	case !errors.As(err, &pgErr):
	case isStartupState(pgErr.Code):
		return nil, fmt.Errorf("%w: %s: %w", ErrUnreachable, TargetOf(cfg), pgErr)
	default:
		return nil, fmt.Errorf("connect to %s: %w", TargetOf(cfg), pgErr)
	}
	return nil, fmt.Errorf("%w: %s: %w", ErrUnreachable, TargetOf(cfg), rootOf(err))
}

// isStartupState reports whether a SQLSTATE given while connecting means that the
// server is there but not ready.
func isStartupState(code string) bool {
	return code == "57P03" || code == "57P01" || code == "57P02" || strings.HasPrefix(code, "08")
}

// rootOf takes off pgx's wrapping, which repeats host and user once per address
// tried and spreads over several lines.
func rootOf(err error) error {
	var connectErr *pgconn.ConnectError
	if !errors.As(err, &connectErr) {
		return err
	}
	for e := error(connectErr); e != nil; {
		if joined, ok := e.(interface{ Unwrap() []error }); ok && len(joined.Unwrap()) > 0 {
			e = telling(joined.Unwrap())
			continue
		}
		next := errors.Unwrap(e)
		if next == nil {
			return e
		}
		if op, ok := errors.AsType[*net.OpError](next); ok {
			return op
		}
		e = next
	}
	return err
}

// telling returns the first error of several ways to connect that says what is wrong: that
// one of them would have been without TLS is no reason where both are tried.
func telling(errs []error) error {
	for _, err := range errs {
		if !strings.Contains(err.Error(), "server refused TLS connection") {
			return err
		}
	}
	return errs[0]
}

// Target says which database a configuration means, without secrets.
type Target struct {
	Host     string `json:"host"`
	Port     uint16 `json:"port"`
	Database string `json:"database"`
	User     string `json:"user"`
}

// TargetOf returns the target of the first host of a configuration.
func TargetOf(cfg *pgx.ConnConfig) Target {
	t := Target{Host: cfg.Host, Port: cfg.Port, Database: cfg.Database, User: cfg.User}
	if t.Database == "" {
		t.Database = t.User
	}
	return t
}

// String returns "crm_prod on db1:5432 as migrator". A socket's directory
// stands without a port, since it says where to look by itself.
func (t Target) String() string { return t.Place() + " as " + t.User }

// Place returns "crm_prod on db1:5432".
func (t Target) Place() string {
	if strings.HasPrefix(t.Host, "/") {
		return t.Database + " on " + t.Host
	}
	return fmt.Sprintf("%s on %s", t.Database, net.JoinHostPort(t.Host, fmt.Sprint(t.Port)))
}
