package migrate

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
)

// recorder is a database/sql driver that executes nothing and remembers every
// statement, with the transaction around it. goose runs a migration on it and so
// tells exactly what it would send.
type recorder struct {
	statements    []string
	transactional bool
}

// take returns what was recorded since the last call.
func (r *recorder) take() (statements []string, transactional bool) {
	statements, transactional = r.statements, r.transactional
	r.statements, r.transactional = nil, false
	return statements, transactional
}

// Connect and Driver make recorder a driver.Connector.
func (r *recorder) Connect(context.Context) (driver.Conn, error) { return recorderConn{r}, nil }
func (r *recorder) Driver() driver.Driver                        { return nil }

type recorderConn struct{ *recorder }

var errNotRecorded = errors.New("recorder: a migration sends statements only")

func (c recorderConn) Prepare(string) (driver.Stmt, error) { return nil, errNotRecorded }
func (c recorderConn) Begin() (driver.Tx, error)           { return nil, errNotRecorded }
func (c recorderConn) Close() error                        { return nil }

func (c recorderConn) BeginTx(context.Context, driver.TxOptions) (driver.Tx, error) {
	c.transactional = true
	return recorderTx{}, nil
}

func (c recorderConn) ExecContext(_ context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if len(args) > 0 {
		return nil, errNotRecorded
	}
	c.statements = append(c.statements, query)
	return driver.ResultNoRows, nil
}

func (c recorderConn) QueryContext(context.Context, string, []driver.NamedValue) (driver.Rows, error) {
	return nil, io.EOF
}

type recorderTx struct{}

func (recorderTx) Commit() error   { return nil }
func (recorderTx) Rollback() error { return nil }
