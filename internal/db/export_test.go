package db

import (
	"time"

	"github.com/jackc/pgx/v5"
)

// Impatient makes connections give a silent server up within seconds.
func Impatient(cfg *pgx.ConnConfig) {
	cfg.DialFunc = dialer{patience: patience{after: 300 * time.Millisecond, every: 100 * time.Millisecond,
		answer: 300 * time.Millisecond, failures: 3, grace: 500 * time.Millisecond}}.dial
}
