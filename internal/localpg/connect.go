//go:build unix

package localpg

import (
	"fmt"
	"os"
	"strings"

	"github.com/jackc/pgx/v5"
)

// connConfig says how to connect to a server of this package by its socket, and by
// nothing else. pgx completes whatever it reads with libpq's environment (PGOPTIONS
// changes every session, PGSERVICE leads elsewhere or fails) and with the files in
// the user's home; so every parameter is named here, and what cannot be named is
// taken out again.
func connConfig(socketDir, database string) (*pgx.ConnConfig, error) {
	params := [][2]string{
		{"host", socketDir}, {"port", port}, {"user", User}, {"dbname", database},
		{"password", "none"}, // with one, pgx opens no password file
		{"sslmode", "disable"}, {"sslcertmode", "disable"}, {"sslnegotiation", "postgres"}, {"channel_binding", "disable"},
		{"require_auth", ""}, {"target_session_attrs", "any"}, {"connect_timeout", "5"},
		{"min_protocol_version", "3.0"}, {"max_protocol_version", "3.0"},
	}
	if os.Getenv("PGSERVICE") != "" {
		file, err := emptyService()
		if err != nil {
			return nil, err
		}
		defer func() { _ = os.Remove(file) }()
		params = append(params, [2]string{"servicefile", file}, [2]string{"service", serviceName})
	}
	escape := strings.NewReplacer(`\`, `\\`, `'`, `\'`)
	var text strings.Builder
	for _, p := range params {
		fmt.Fprintf(&text, "%s='%s' ", p[0], escape.Replace(p[1]))
	}
	cfg, err := pgx.ParseConfig(text.String())
	if err != nil {
		return nil, err
	}
	cfg.Password = ""
	cfg.RuntimeParams = map[string]string{}
	cfg.KerberosSrvName, cfg.KerberosSpn = "", ""
	return cfg, nil
}

const serviceName = "crmctl-local"

// emptyService writes a service file that says nothing, for pgx to read instead of
// the one that PGSERVICE means.
func emptyService() (path string, err error) {
	file, err := os.CreateTemp("", "crmctl-service-") // made with mode 0600
	if err != nil {
		return "", err
	}
	_, err = file.WriteString("[" + serviceName + "]\n")
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		_ = os.Remove(file.Name())
	}
	return file.Name(), err
}
