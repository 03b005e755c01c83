package db_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/pgtest"
)

// commitMessage stands in the message of a COMMIT, with its length, and in no other.
const commitMessage = "\x0bcommit\x00"

// What became of a transaction whose connection was cut in its commit is found out.
func TestFateOfACommit(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		cut  func(p *pgtest.Proxy)
		want error // nil where it is committed
		rows string
	}{
		"committed":   {func(p *pgtest.Proxy) { p.CutAfter(commitMessage, 1) }, nil, "1"},
		"rolled back": {func(p *pgtest.Proxy) { p.CutBefore(commitMessage, 1) }, db.ErrNotCommitted, "0"},
		"nobody to ask": {func(p *pgtest.Proxy) {
			p.CutAfter(commitMessage, 1)
			p.RefuseAfterCut()
		}, db.ErrCommitUnknown, "1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := pgtest.Empty(t)
			direct := connect(t, dsn)
			exec(t, direct, "create table public.t (x int)")
			proxy := pgtest.NewProxy(t, dsn, 0)
			conn := connect(t, proxy.DSN)
			c.cut(proxy)
			err := db.InTx(t.Context(), conn, db.Locals{Follow: true}, func(ctx context.Context, q db.Querier) error {
				_, err := q.Exec(ctx, "insert into public.t values (1)")
				return err
			})
			if !errors.Is(err, c.want) || proxy.Cuts() != 0 {
				t.Errorf("got %v, want %v; %d cuts left", err, c.want, proxy.Cuts())
			}
			if again := db.Retryable(err); again != errors.Is(err, db.ErrNotCommitted) {
				t.Errorf("Retryable(%v) is %t", err, again)
			}
			if got := value(t, direct, "select count(*)::text from public.t"); got != c.rows {
				t.Errorf("%s rows, want %s", got, c.rows)
			}
			if c.want == nil {
				if !conn.IsClosed() {
					t.Error("the connection was not cut")
				}
			}
		})
	}
}

// A commit that has been sent is waited for, whoever loses patience.
func TestCommitIsWaitedFor(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Empty(t)
	direct := connect(t, dsn)
	exec(t, direct, "create table public.t (x int)",
		"create function public.slow() returns trigger language plpgsql as $$ begin perform pg_catalog.pg_sleep(0.5); "+
			"return null; end $$",
		"create constraint trigger slow after insert on public.t initially deferred for each row execute function "+
			"public.slow()")
	conn := connect(t, dsn)
	ctx, cancel := context.WithCancel(t.Context())
	err := db.InTx(ctx, conn, db.Locals{Follow: true}, func(ctx context.Context, q db.Querier) error {
		_, err := q.Exec(ctx, "insert into public.t values (1)")
		time.AfterFunc(100*time.Millisecond, cancel)
		return err
	})
	if got := value(t, direct, "select count(*)::text from public.t"); err != nil || ctx.Err() == nil || got != "1" {
		t.Errorf("%v, %v, %s rows", err, ctx.Err(), got)
	}
}
