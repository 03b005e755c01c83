package report_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/crmctl/crmctl/internal/catalog"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/doctor"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/report"
	"github.com/crmctl/crmctl/internal/stats"
)

const hostile = `<img src=http://evil.example/x onerror=alert(1)>"'&</title></script><script>`

var now = time.Date(2026, 11, 29, 9, 30, 0, 0, time.UTC)

func words() report.Words {
	return report.Words{Size: cli.HumanSize, Count: cli.HumanCount, Duration: cli.HumanDuration,
		Minute: func(t time.Time) string { return t.Format("2006-01-02 15:04") }, Visible: cli.Visible,
		Error: func(err error) string { return err.Error() }}
}

// names returns the names of a fleet: the first ones as companies have them, one very long.
func names(n int) []string {
	out := []string{"acme-corp", "globex", "the-international-holding-of-many-companies-of-springfield-1881", "initech",
		"hooli", "umbrella", "soylent", "stark-industries", "wonka", "wayne-enterprises", "tyrell", "cyberdyne-systems"}
	for i := len(out); i < n; i++ {
		out = append(out, fmt.Sprintf("customer-%05d", i))
	}
	return out[:n]
}

// sample is a fleet of n tenants with everything that a page may show.
func sample(n int) *report.Fleet {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	f := &report.Fleet{Head: report.Head{Place: "crm_prod on db1:5432", Program: "crmctl 1.4.0", At: now}, Newest: 6,
		Backups: map[string]time.Time{}, Unread: map[report.Section]error{}}
	slugs := names(n)
	f.Sizes = stats.Report{At: now, Mode: stats.Exact, History: true}
	if n > 500 {
		f.Sizes.Mode = stats.Estimate
	}
	size := 9.1e9
	for i, slug := range slugs {
		t := stats.TenantSize{ID: fmt.Sprint(i), Slug: slug, Known: true, Exact: n <= 500,
			TableBytes: int64(size * 0.68), IndexBytes: int64(size * 0.32)}
		if i%9 != 8 {
			t.Growth = &stats.Growth{Bytes: int64(size * (r.ExpFloat64()*0.09 - 0.02)), Since: now.AddDate(0, 0, -30)}
		}
		f.Sizes.Tenants = append(f.Sizes.Tenants, t)
		size = max(2e5*(1+r.Float64()), size*math.Pow(float64(i+1)/float64(i+2), 0.8))
		f.Backups[slug] = now.Add(-time.Duration(r.ExpFloat64() * float64(30*time.Hour)))
		if i%7 == 6 {
			f.Backups[slug] = time.Time{}
		}
	}
	total := stats.Sum(f.Sizes.Tenants).TotalBytes()
	for i := range 60 {
		f.History = append(f.History, stats.Past{At: now.AddDate(0, 0, i-60),
			Bytes: int64(float64(total) * (0.86 + 0.0022*float64(i) + 0.004*math.Sin(float64(i))))})
	}
	f.Counts = registry.Counts{Statuses: map[registry.Status]int{registry.Active: n - n/12, registry.Suspended: n / 12,
		registry.Leaving: 1, registry.Moved: 4,
		registry.Deleted: 2 + n/50}, Versions: map[int64]int{6: n - n/6, 5: n / 6, 4: 1}, Dirty: 1}
	f.Counts.Versions[6]--
	sampleRuns(f, slugs, r)
	sampleTrouble(f, slugs)
	return f
}

func sampleRuns(f *report.Fleet, slugs []string, r *rand.Rand) {
	for id := int64(42); id > 34; id-- {
		begun := now.Add(-time.Duration(43-id) * 26 * time.Hour)
		end := begun.Add(time.Duration(2+len(slugs)*6) * time.Millisecond * 3)
		run := registry.Run{ID: id, Kind: "migrate", State: "finished", Actor: "alice@desk", Target: 6, Tenants: len(slugs),
			StartedAt: begun, FinishedAt: &end}
		detail := report.Run{}
		for i, slug := range slugs {
			o := registry.RunTenant{Slug: slug, State: "migrated", From: 5, To: 6, Attempts: 1,
				Duration: time.Duration((8 + r.ExpFloat64()*14) * float64(time.Millisecond))}
			switch {
			case i%97 == 3 && id > 40:
				o.State, o.To, o.SQLState, o.Place = "failed", 5, "42701", "00006_add_company.sql:3"
				o.Message = `column "company" of relation "contacts" already exists`
				run.Failed++
			case i%31 == 5:
				o.Attempts, o.Duration = 3, o.Duration+1800*time.Millisecond
			case id == 41 && i%5 == 0:
				o.State, o.Duration = "current", 0
			}
			detail.Outcomes = append(detail.Outcomes, o)
		}
		run.Succeeded = run.Tenants - run.Failed
		if id == 39 {
			run.State, run.Reason, run.NotStarted, run.Succeeded = "stopped", "the canary failed", run.Tenants-1, 0
			run.Failed = 1
		}
		detail.Run = run
		f.Runs = append(f.Runs, run)
		if id > 40 {
			f.Details = append(f.Details, detail)
		}
	}
}

func sampleTrouble(f *report.Fleet, slugs []string) {
	group := func(version int64, slugs []string, d ...catalog.Difference) catalog.Group {
		g := catalog.Group{Version: version, Differences: d}
		for _, s := range slugs {
			g.Tenants = append(g.Tenants, catalog.Tenant{Slug: s, Version: version})
		}
		return g
	}
	index := catalog.Difference{Change: catalog.Missing, Object: catalog.Object{Kind: catalog.KindIndex, Parent: "contacts",
		Name: "idx_contacts_phone"}}
	column := catalog.Difference{Change: catalog.Extra, Object: catalog.Object{Kind: catalog.KindColumn, Parent: "contacts",
		Name: "nickname"}}
	f.Drift = catalog.Drift{Tenants: len(slugs), Wanted: 1,
		Groups: []catalog.Group{group(6, slugs[2:min(40, len(slugs)-3)], index), group(6, slugs[1:2], column, index)}}
	f.Drift.Clean = f.Drift.Tenants - f.Drift.Differing() - 1
	for i, slug := range []string{"old-customer", "another-old-customer-with-a-long-name"} {
		due, deleted := now.AddDate(0, 0, -3-20*i), now.AddDate(0, 0, -33-20*i)
		f.Overdue = append(f.Overdue, registry.Tenant{Slug: slug, DisplayName: "Old Customer, Inc.", Status: registry.Deleted,
			DeletedAt: &deleted, PurgeAfter: &due})
	}
	f.Findings = doctor.Report{Tenants: len(slugs), Checked: doctor.Classes()}
	add := func(s doctor.Severity, c doctor.Class, subject, what, why, command string) {
		f.Findings.Findings = append(f.Findings.Findings, doctor.Finding{Class: c, Severity: s, Subject: subject,
			Tenant: subject, What: what, Why: why, Command: command})
	}
	add(doctor.Error, doctor.GhostRow, slugs[3], "the schema tenant_"+slugs[3]+" is not there",
		"Every command that reaches the tenant fails.", "crmctl doctor --fix ghost-row")
	for _, slug := range slugs[4:min(len(slugs), 60)] {
		add(doctor.Warning, doctor.Behind, slug, slug+" is at version 5, the newest is 6",
			"The application may expect what they do not have yet.", "crmctl migrate all-tenants")
	}
	add(doctor.Info, doctor.Autovacuum, "server", "autovacuum takes 3 workers for 140,000 tables",
		"Tables and the catalog of thousands of schemas grow without end.",
		"alter system set autovacuum_max_workers = 8")
	f.Findings.NotChecked = []doctor.NotChecked{{Class: doctor.Prepared, Why: "permission denied for view pg_prepared_xacts"}}
	f.Sessions = stats.Sessions{At: now, Sessions: []stats.Session{
		{PID: 8123, Tenant: slugs[1], Whose: stats.ByLocks, User: "app", Application: "web", State: "idle in transaction",
			Query: "update contacts set name = $1 where id = $2", InTransaction: 14 * time.Minute},
		{PID: 9120, Tenant: slugs[1], Whose: stats.ByLocks, User: "migrator", Application: "crmctl", State: "active", Waits: true,
			Wants: "AccessExclusiveLock on contacts", Waited: 4100 * time.Millisecond, InTransaction: 5 * time.Second,
			Query: "alter table contacts add column company text", Blockers: []stats.Blocker{{PID: 8123}}},
		{PID: 9131, Tenant: slugs[1], Whose: stats.ByLocks, User: "app", Application: "web", State: "active", Waits: true,
			Wants: "AccessShareLock on contacts", Waited: 2600 * time.Millisecond, Query: "select * from contacts where email = $1",
			Blockers: []stats.Blocker{{PID: 9120}}},
	}}
}

// spoiled is a fleet in which everything that others name is hostile.
func spoiled() *report.Fleet {
	f := sample(30)
	f.Place = hostile
	for i := range f.Sizes.Tenants {
		f.Sizes.Tenants[i].Slug = fmt.Sprint(hostile, i)
	}
	for i := range f.Details {
		f.Details[i].Actor, f.Details[i].Reason = hostile, hostile
		for j := range f.Details[i].Outcomes {
			o := &f.Details[i].Outcomes[j]
			o.Slug, o.Message, o.Place = fmt.Sprint(hostile, j), hostile, hostile
		}
	}
	for i := range f.Runs {
		f.Runs[i].Actor = hostile
	}
	for i := range f.Overdue {
		f.Overdue[i].Slug, f.Overdue[i].DisplayName = hostile, hostile
	}
	f.Backups = map[string]time.Time{hostile: now.AddDate(0, 0, -9), hostile + "2": {}}
	for i := range f.Findings.Findings {
		d := &f.Findings.Findings[i]
		d.Subject, d.Tenant, d.What, d.Command = hostile, hostile, hostile+"what", hostile
	}
	for i := range f.Sessions.Sessions {
		s := &f.Sessions.Sessions[i]
		s.User, s.Application, s.Query, s.Wants, s.Tenant = hostile, hostile, hostile, hostile, hostile
	}
	for i := range f.Drift.Groups {
		for j := range f.Drift.Groups[i].Tenants {
			f.Drift.Groups[i].Tenants[j].Slug = hostile
		}
		for j := range f.Drift.Groups[i].Differences {
			f.Drift.Groups[i].Differences[j].Object.Name = hostile
		}
	}
	f.Unread[report.Backups] = errors.New(hostile)
	return f
}

// empty is a fleet without tenants.
func empty() *report.Fleet {
	return &report.Fleet{Head: report.Head{Place: "crm on db1:5432", Program: "crmctl 1.4.0", At: now}, Newest: 6,
		Findings: doctor.Report{Checked: doctor.Classes()}}
}
