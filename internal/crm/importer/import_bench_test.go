package importer

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/crm/crmtest"
	"github.com/crmctl/crmctl/internal/db"
)

// benchRows is how many contacts a benchmark loads; CRM_BENCH_ROWS changes it.
func benchRows(b *testing.B) int {
	b.Helper()
	n := 100_000
	if s := os.Getenv("CRM_BENCH_ROWS"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			b.Fatal(err)
		}
	}
	return n
}

// generated is a file of contacts made while it is read. Raw has the columns of
// the table, with metadata as JSON, for COPY; otherwise they are those of an
// export. Of a thousand rows, repeats have the address of an earlier one and
// bad have none that is valid.
type generated struct {
	rows, next   int
	repeats, bad int
	raw          bool
	changed      bool // every second row has another note
	rest         []byte
	buf          bytes.Buffer
}

func (g *generated) Read(p []byte) (int, error) {
	for len(g.rest) == 0 {
		if g.next > g.rows {
			return 0, io.EOF
		}
		g.buf.Reset()
		for range 1000 {
			g.row()
		}
		g.rest = g.buf.Bytes()
	}
	n := copy(p, g.rest)
	g.rest = g.rest[n:]
	return n, nil
}

func (g *generated) row() {
	i := g.next
	g.next++
	if i == 0 {
		if g.raw {
			g.buf.WriteString("email,phone,name,company,metadata\n")
		} else {
			g.buf.WriteString("Email,Phone,Name,Company,City,Source,Score,Note\n")
		}
		return
	}
	if i > g.rows {
		return
	}
	x := uint32(i) * 2654435761 // scatters the addresses as real files do
	id, first := x, [...]string{"ada", "grace", "alan", "edsger", "barbara", "donald", "ken", "margaret"}[x%8]
	email := fmt.Sprintf("%s.%08x@mail%d.example.com", first, id, i%977)
	if !g.raw {
		switch {
		case i%1000 < g.repeats && i > 10_000:
			j := i - 9973
			y := uint32(j) * 2654435761
			email = fmt.Sprintf("%s.%08x@mail%d.example.com", [...]string{"ada", "grace", "alan", "edsger", "barbara", "donald",
				"ken", "margaret"}[y%8], y, j%977)
		case i%1000 >= 1000-g.bad:
			email = "bad address"
		}
	}
	note := "imported from the old system"
	if g.changed && i%2 == 0 {
		note = "looked at again since then"
	}
	city := [...]string{"London", "Berlin", "Paris", "Madrid", "Rome"}[x%5]
	if g.raw {
		fmt.Fprintf(&g.buf, `%s,+49 %010d,"Lovelace, %s %d",Sons & Daughters %d Inc,"{""City"": ""%s"", ""Source"": ""webinar %d"", ""Score"": ""%d"", ""Note"": ""%s""}"`+"\n",
			email, x, first, i%1000, i%5000, city, i%50, x%1000, note)
		return
	}
	fmt.Fprintf(&g.buf, "%s,+49 %010d,\"Lovelace, %s %d\",Sons & Daughters %d Inc,%s,webinar %d,%d,%s\n",
		email, x, first, i%1000, i%5000, city, i%50, x%1000, note)
}

// BenchmarkImport compares the import with what COPY and SQL alone do to the same
// contacts, which then need no checking. Compare only within one run.
func BenchmarkImport(b *testing.B) {
	rows := benchRows(b)
	const (
		copyIn  = "copy contacts (email, phone, name, company, metadata) from stdin (format csv, header)"
		columns = "email, phone, name, company, metadata"
	)
	copyTo := func(ctx context.Context, conn *pgx.Conn, sql string, g *generated) error {
		_, err := conn.PgConn().CopyFrom(ctx, g, sql)
		return err
	}
	half := func(b *testing.B, conn *pgx.Conn, schema db.Schema) {
		b.Helper()
		inTenant(b, conn, schema, func(ctx context.Context, q db.Querier) error {
			return copyTo(ctx, conn, copyIn, &generated{rows: rows / 2, raw: true})
		})
		crmtest.Exec(b, conn, schema, "analyze contacts")
	}
	byImport := func(o Options, g generated) func(b *testing.B, conn *pgx.Conn, schema db.Schema) {
		return func(b *testing.B, conn *pgx.Conn, schema db.Schema) {
			b.Helper()
			o, g := o, g
			o.Schema = schema
			r, err := Import(b.Context(), conn, loaded{&g}, o)
			if err != nil {
				b.Fatal(err)
			}
			b.Log(tally(r), r.FastPath, r.Duration)
		}
	}
	// Phone numbers and names become others in an import: only what was imported is there again.
	halfImported := byImport(Options{}, generated{rows: rows / 2})
	handed := func(b *testing.B, conn *pgx.Conn, schema db.Schema, changed bool) {
		b.Helper()
		inTenant(b, conn, schema, func(ctx context.Context, q db.Querier) error {
			if _, err := q.Exec(ctx, "create temporary table by_hand (email text, phone text, name text, company text, "+
				"metadata jsonb) on commit drop"); err != nil {
				return err
			}
			if err := copyTo(ctx, conn, "copy pg_temp.by_hand from stdin (format csv, header)",
				&generated{rows: rows, raw: true, changed: changed}); err != nil {
				return err
			}
			_, err := q.Exec(ctx, "insert into contacts as c ("+columns+") select "+columns+` from pg_temp.by_hand
				on conflict (email) do update set phone = excluded.phone, name = excluded.name, company = excluded.company,
				metadata = c.metadata || excluded.metadata, updated_at = now()`)
			return err
		})
	}
	byHand := func(b *testing.B, conn *pgx.Conn, schema db.Schema) { b.Helper(); handed(b, conn, schema, false) }
	changedByHand := func(b *testing.B, conn *pgx.Conn, schema db.Schema) { b.Helper(); handed(b, conn, schema, true) }
	dirty := generated{rows: rows, repeats: 10, bad: 5}
	for _, bench := range []struct {
		name   string
		before func(b *testing.B, conn *pgx.Conn, schema db.Schema)
		run    func(b *testing.B, conn *pgx.Conn, schema db.Schema)
	}{
		{name: "empty/bare-copy-then-index", run: func(b *testing.B, conn *pgx.Conn, schema db.Schema) {
			inTenant(b, conn, schema, func(ctx context.Context, q db.Querier) error {
				table, err := inspectTable(ctx, q, schema, db.Path{})
				if err != nil {
					return err
				}
				indexes, err := dropIndexes(ctx, q, schema, db.Path{}, table.OID)
				if err != nil {
					return err
				}
				if err := copyTo(ctx, conn, copyIn, &generated{rows: rows, raw: true}); err != nil {
					return err
				}
				for _, i := range indexes {
					if _, err := q.Exec(ctx, i.Definition); err != nil {
						return err
					}
				}
				return nil
			})
		}},
		{name: "empty/copy-indexed", run: func(b *testing.B, conn *pgx.Conn, schema db.Schema) {
			inTenant(b, conn, schema, func(ctx context.Context, q db.Querier) error {
				return copyTo(ctx, conn, copyIn, &generated{rows: rows, raw: true})
			})
		}},
		{name: "empty/import", run: byImport(Options{}, generated{rows: rows})},
		{name: "empty/import-dirty", run: byImport(Options{}, dirty)},
		{name: "half/by-hand", before: half, run: byHand},
		{name: "half/import", before: halfImported, run: byImport(Options{}, generated{rows: rows})},
		{name: "half/import-dirty", before: halfImported, run: byImport(Options{}, dirty)},
		{name: "again/by-hand", before: byHand, run: byHand},
		{name: "again/import", before: byImport(Options{}, generated{rows: rows}),
			run: byImport(Options{}, generated{rows: rows})},
		{name: "changed/by-hand", before: byHand, run: changedByHand},
		{name: "changed/import", before: byImport(Options{}, generated{rows: rows}),
			run: byImport(Options{}, generated{rows: rows, changed: true})},
		{name: "empty/import-kept", run: byImport(Options{Keep: keepID(1)}, generated{rows: rows})},
		{name: "half/import-kept", before: halfImported, run: byImport(Options{Keep: keepID(1)}, generated{rows: rows})},
		{name: "changed/import-kept", before: byImport(Options{}, generated{rows: rows}),
			run: byImport(Options{Keep: keepID(1)}, generated{rows: rows, changed: true})},
	} {
		b.Run(bench.name, func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				conn, schema := crmtest.Tenant(b)
				if bench.before != nil {
					bench.before(b, conn, schema)
				}
				crmtest.Exec(b, conn, schema, "select 1")
				_, _ = conn.Exec(b.Context(), "checkpoint")
				runtime.GC()
				start, server := time.Now(), serverCPU(conn)
				b.StartTimer()
				bench.run(b, conn, schema)
				b.ReportMetric(float64(rows)/time.Since(start).Seconds(), "rows/s")
				b.ReportMetric(serverCPU(conn)-server, "server-cpu-s")
			}
		})
	}
}

func inTenant(b *testing.B, conn *pgx.Conn, schema db.Schema, fn func(context.Context, db.Querier) error) {
	b.Helper()
	if err := db.InTx(b.Context(), conn, db.Locals{Schema: schema}, fn); err != nil {
		b.Fatal(err)
	}
}

// serverCPU returns the processor seconds that a connection's backend, and the
// parallel workers and others that have ended, have used. They say more than the
// clock on a machine that others use too. It is 0 where it cannot be read.
func serverCPU(conn *pgx.Conn) float64 {
	const ticks = 100 // a second, on every Linux
	times := func(pid string) (ppid string, own, ended float64) {
		stat, err := os.ReadFile("/proc/" + pid + "/stat")
		if err != nil {
			return "0", 0, 0
		}
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		at := func(i int) float64 { n, _ := strconv.ParseFloat(fields[i], 64); return n / ticks }
		return fields[1], at(11) + at(12), at(13) + at(14)
	}
	postmaster, own, _ := times(strconv.Itoa(int(conn.PgConn().PID())))
	_, _, ended := times(postmaster)
	return own + ended
}
