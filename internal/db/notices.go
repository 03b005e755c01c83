package db

import (
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const noticesKey = "crmctl.notices"

// Notices has each notice of the server told from now on, nil for none. It is called while a
// statement runs and must not use the connection. Connections of configurations that
// Prepare has seen have it.
func Notices(conn *pgx.Conn, told func(*pgconn.Notice)) {
	conn.PgConn().CustomData()[noticesKey] = told
}

func onNotice(conn *pgconn.PgConn, n *pgconn.Notice) {
	if told, ok := conn.CustomData()[noticesKey].(func(*pgconn.Notice)); ok && told != nil {
		told(n)
	}
}
