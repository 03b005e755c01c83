package db_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/db"
)

// TestNoPartOfAPasswordIsShown has passwords that nobody escaped or quoted.
func TestNoPartOfAPasswordIsShown(t *testing.T) {
	t.Parallel()
	for _, dsn := range []string{
		"postgres://u:pa@geheim@h:1/x", "postgres://u:12/geheim@h/x", "postgres://u:12?geheim@h/x",
		"postgres://u:ab/geheim@h/x",
		"postgres://u:a%geheim@h/x", "postgres://u:geheim", "postgres://u:p@w/geheim@h/x", "postgres://u:1?geheim=1@h/x",
		"postgres://u@h/x?password=a&geheim", "host=h password=my geheim dbname=x", "host=h password='my'geheim dbname=x",
		"password='geheim",
		"u:geheim@h/x",
	} {
		_, err := db.ParseConfig(dsn)
		if !errors.Is(err, db.ErrConnString) {
			t.Errorf("%s: %v", dsn, err)
		}
		for e := err; e != nil; e = errors.Unwrap(e) {
			if strings.Contains(e.Error(), "geheim") {
				t.Errorf("%s: %v", dsn, e)
			}
		}
	}
}

func TestParametersOfOtherPrograms(t *testing.T) {
	t.Parallel()
	const left = "postgres://u:p@h/x?schema=crm&currentSchema=crm&sslaccept=accept_invalid_certs&pool_timeout=5&pgbouncer=true&connection_limit=1&prepareThreshold=0&keepalives=1&gssencmode=disable"
	cfg, err := db.ParseConfig(left + "&work_mem=8MB")
	if err != nil {
		t.Fatal(err)
	}
	for name := range cfg.RuntimeParams {
		switch name {
		case "work_mem", "client_encoding", "standard_conforming_strings", "application_name":
		default:
			t.Errorf("%s is sent to the server", name)
		}
	}
	if got, want := db.OnlyKnown(left+"&ssl=true&sslmode=disable"),
		"postgres://u:p@h/x?keepalives=1&gssencmode=disable&ssl=true&sslmode=disable"; got != want {
		t.Errorf("for libpq: %s", got)
	}
	for name, dsn := range map[string]string{
		"targetServerType": "postgres://h/x?targetServerType=primary",
		"sslaccept":        "postgres://h/x?sslaccept=strict", "sslcrl": "host=h sslcrl=/x",
	} {
		_, err := db.ParseConfig(dsn)
		if refused, ok := errors.AsType[*db.ParameterError](err); !ok || refused.Name != name ||
			!errors.Is(err, db.ErrConnString) {
			t.Errorf("%s: %v", dsn, err)
		}
	}
	if got, want := db.ForeignParameters(left), "schema currentSchema sslaccept pool_timeout pgbouncer connection_limit "+
		"prepareThreshold"; strings.Join(got, " ") != want {
		t.Errorf("left out: %s", got)
	}
	if _, err := db.ParseConfig("postgres://me%40server@h/x?user=me@server"); err != nil {
		t.Errorf("an @ in the value of a parameter: %v", err)
	}
}

// TestSchemesOfOtherPrograms: an address in another program's form is refused, with the
// form that is wanted and without its password.
func TestSchemesOfOtherPrograms(t *testing.T) {
	t.Parallel()
	for dsn, whose := range map[string]string{
		"jdbc:postgresql://h/x?user=u&password=geheim": "jdbc", "postgresql+asyncpg://u:geheim@h/x": "postgresql+asyncpg://",
		"JDBC:postgresql://h/x?password=geheim": "jdbc", "geheim://u@h/x": "another program",
		"mysql://u:geheim@h/x": "mysql://", "postgres:/geheim@h/x?sslmode=disable": "another program",
		"postgresql:u:geheim@/x?host=/tmp": "another program",
	} {
		_, err := db.ParseConfig(dsn)
		if !errors.Is(err, db.ErrConnString) || !strings.Contains(err.Error(), whose) ||
			!strings.Contains(err.Error(), "postgresql://USER@HOST:PORT/DATABASE") || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%s: %v", dsn, err)
		}
	}
	for _, dsn := range []string{"postgres://h/x", "host=h password=jdbc:postgresql://x", "host=/tmp dbname=x",
		" user = me host=/tmp", "PORT=1 host=h"} {
		if _, err := db.ParseConfig(dsn); err != nil {
			t.Errorf("%s: %v", dsn, err)
		}
	}
}
