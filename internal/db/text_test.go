package db

import (
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// The SQLSTATE stands in brackets wherever an error came from.
func TestText(t *testing.T) {
	t.Parallel()
	refused := &pgconn.PgError{Severity: "FEHLER", Code: "42501", Message: "permission denied for table tenants"}
	other := &pgconn.PgError{Severity: "ERROR", Code: "57014", Message: "canceling statement"}
	node := &pgconn.PgError{Code: "08006", Message: "connection to the remote node failed: Connection refused\n\tIs the " +
		"server running?\n"}
	twice := &pgconn.PgError{Code: CodeUniqueViolation, Where: "while executing command on node-2:5432",
		Message: `duplicate key value violates unique constraint "contacts_email_2024_102008"`, Detail: "Key (a)=(_102008) exists."}
	for _, tt := range []struct {
		err  error
		want string
	}{
		{nil, ""},
		{errors.New("a file"), "a file"},
		{refused, "permission denied for table tenants (42501)"},
		{fmt.Errorf("read the registry: %w", refused), "read the registry: permission denied for table tenants (42501)"},
		{node, "connection to the remote node failed: Connection refused Is the server running? (08006)"},
		{&StatementError{Err: node}, "connection to the remote node failed: Connection refused Is the server running? (08006)"},
		{twice, `duplicate key value violates unique constraint "contacts_email_2024" (23505)`},
		{&StatementError{Err: twice}, `duplicate key value violates unique constraint "contacts_email_2024": ` +
			`Key (a)=(_102008) exists (23505)`},
		{&StatementError{Err: refused}, "permission denied for table tenants (42501)"},
		{errors.Join(fmt.Errorf("a: %w", refused), other), "a: permission denied for table tenants (42501)\ncanceling statement (57014)"},
		{fmt.Errorf("%w; %w", other, refused), "canceling statement (57014); permission denied for table tenants (42501)"},
	} {
		if got := Text(tt.err); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}
