package doctor_test

import (
	"context"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/cluster"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/doctor"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/pgtest"
)

// onCitus makes a healthy fleet of three tenants on a cluster.
func onCitus(t *testing.T) *patient {
	t.Helper()
	p := &patient{Fleet: fleettest.OnCitus(t), plan: fleettest.TenantPlan(t, 0)}
	p.Create(t, p.plan, fleettest.Names(3)...)
	p.Exec(t, "alter database "+p.database(t)+" set citus.enable_schema_based_sharding = on")
	return p
}

// worker returns where the first worker of a cluster is.
func (p *patient) worker(t *testing.T) (host string, port int) {
	t.Helper()
	p.Scan(t, []any{&host, &port}, "select nodename::text, nodeport from pg_dist_node where groupid = 1")
	return host, port
}

// onWorker runs statements on the first worker of a cluster.
func (p *patient) onWorker(t *testing.T, statements ...string) {
	t.Helper()
	host, port := p.worker(t)
	cfg, err := pgx.ParseConfig(os.Getenv(pgtest.EnvCitus))
	if err != nil {
		t.Fatal(err)
	}
	cfg.Host, cfg.Port, cfg.Database = host, uint16(port), p.database(t)
	conn, err := pgx.ConnectConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	for _, sql := range statements {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}

// TestClassesOfACluster: what only a cluster has is found, told apart, and mended by what
// the findings say.
func TestClassesOfACluster(t *testing.T) {
	t.Parallel()
	p := onCitus(t)
	o := doctor.Options{Skip: append(serverWide(), doctor.PublicWritable)}
	p.exactly(t, o, nil)
	schema := func(slug string) db.Schema {
		s, err := db.SchemaForSlug(slug)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	conn := p.Connect(t)
	place := func(to func(context.Context, db.Querier, db.Schema) error, slug string) {
		t.Helper()
		err := db.InTx(t.Context(), conn, db.Locals{}, func(ctx context.Context, q db.Querier) error {
			return to(ctx, q, schema(slug))
		})
		if err != nil {
			t.Fatal(err)
		}
	}

	// One that was made by something else, and one whose local rows stayed.
	for _, slug := range []string{"t0001", "t0002"} {
		p.Exec(t, "insert into tenant_"+slug+".contacts (name) values ('x')")
		place(cluster.Undistribute, slug)
	}
	place(cluster.Distribute, "t0002")
	p.Exec(t, "do $$ begin create table tenant_t0003.made (id int primary key); end $$",
		"insert into pg_dist_cleanup values (7, 7, 1, 'tenant_t0009.contacts_102999', 1, 1)",
		"alter database "+p.database(t)+" reset citus.enable_schema_based_sharding")
	role := "app_" + strings.TrimPrefix(p.database(t), "crmctl_test_")
	p.Exec(t, "create role "+role+" nologin", "update public.tenants set role_name = '"+role+"' where slug = 't0003'")
	t.Cleanup(func() { p.Exec(t, "drop owned by "+role, "drop role "+role) })
	p.onWorker(t, "begin", "create table lost (n int)", "prepare transaction 'lost_"+p.database(t)+"'")
	o.Skip = append(o.Skip, doctor.Grants)
	host, port := p.worker(t)
	node := net.JoinHostPort(host, strconv.Itoa(port))
	o.Now = func() time.Time { return time.Now().Add(time.Hour) }
	p.exactly(t, o, []string{
		"error local-table t0003: table made stands on the coordinator, the others on a node | select " +
			`create_distributed_table('"tenant_t0003"."made"', null, colocate_with => 'tenant_t0003.contacts')`,
		"error node-login " + role + `: role of 1 tenant, and may not log in | alter role "` + role + `" login`,
		"warning prepared lost_" + p.database(t) + ": prepared on " + node + " by " + conn.Config().User + " 1h0m0s ago, and neither " +
			"committed nor rolled back | ask its owner, then on that node: rollback prepared 'lost_" + p.database(t) + "'",
		"warning local-tenant t0001: stands on the coordinator | crmctl tenant distribute t0001",
		"warning leftovers t0002: what it took before it went to its node is still on the coordinator: contacts, " +
			"goose_db_version | crmctl tenant distribute t0002",
		"warning leftovers tenant_t0009.contacts_102999: left by a move that was cut short, on " + node + " | call " +
			"citus_cleanup_orphaned_resources()",
		"info spread server: citus.enable_schema_based_sharding is off | alter database \"" + p.database(t) +
			"\" set citus.enable_schema_based_sharding = on",
	})

	p.onWorker(t, "rollback prepared 'lost_"+p.database(t)+"'")
	for _, class := range []doctor.Class{doctor.LocalTable, doctor.NodeLogin, doctor.Spread} {
		commanded(class)(t, p)
	}
	p.Exec(t, "call citus_cleanup_orphaned_resources()")
	place(cluster.Distribute, "t0001")
	for _, slug := range []string{"t0001", "t0002", "t0003"} {
		if err := cluster.DropCopies(t.Context(), conn, schema(slug)); err != nil {
			t.Fatal(err)
		}
	}
	p.exactly(t, o, nil)
	if n := p.Int(t, "select (select count(*) from tenant_t0001.contacts) + (select count(*) from "+
		"tenant_t0002.contacts)"); n != 2 {
		t.Errorf("%d contacts are left of 2", n)
	}
}
