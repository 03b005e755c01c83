package main

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/cluster"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/stats"
)

// tenantListOptions are the options of `crmctl tenant list`.
type tenantListOptions struct {
	selection

	statuses []string
	behind   bool
	sort     string
	limit    int
}

// tenantSorts returns the orders of a list, the default first.
func tenantSorts() []string { return []string{"name", "created", "size", "version", "status"} }

// statusWords returns what a tenant's status may be called.
func statusWords() []string {
	all := registry.Statuses()
	out := make([]string, len(all))
	for i, s := range all {
		out[i] = string(s)
	}
	return out
}

func (o *tenantListOptions) validate() error {
	for _, s := range o.statuses {
		if !slices.Contains(registry.Statuses(), registry.Status(s)) {
			return cli.Usagef("--status %s: want one of %s", s, strings.Join(statusWords(), ", "))
		}
	}
	if o.limit < 0 {
		return cli.Usagef("--limit %d: want 0 (all) or more", o.limit)
	}
	return nil
}

func newTenantListCmd(f *factory) *cobra.Command {
	opts := &tenantListOptions{}
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "every tenant with its state, version and size",
		Long:    "List the tenants of the registry. Sizes are exact for a small fleet and estimated for a large one.",
		Example: `crmctl tenant list
crmctl tenant list --status deleted --sort created -o json
crmctl tenant list --tenant 'acme*' -q`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := opts.validate(); err != nil {
				return err
			}
			return runTenantList(cmd.Context(), f, opts)
		},
	}
	opts.addFlags(f, cmd)
	fs := cmd.Flags()
	fs.StringSliceVar(&opts.statuses, "status", nil, "only these `STATES`: "+strings.Join(statusWords(), ", "))
	fs.BoolVar(&opts.behind, "behind", false, "only tenants with pending migrations")
	fs.Var(cli.NewEnum(&opts.sort, "name", tenantSorts()), "sort", "`ORDER`: "+strings.Join(tenantSorts(), ", "))
	fs.IntVar(&opts.limit, "limit", 0, "at most `N` tenants; 0 for all")
	cli.RegisterCompletion(cmd, "status", cli.CompleteWords(statusWords()...))
	cli.RegisterCompletion(cmd, "sort", cli.CompleteWords(tenantSorts()...))
	readOnly(cmd)
	cli.DocumentExits(cmd, cli.ExitUnreachable, exitNoTenant)
	return cmd
}

// listedTenant is a row of the list.
type listedTenant struct {
	registry.Tenant

	size  *int64 // nil when unknown
	place cluster.Place
	head  int64
	// invalid is why the row of the registry is not valid, "" where it is.
	invalid string
	schema  string // as the registry has it
}

// invalidListed is the row of what stands in the registry and is no tenant as crmctl
// would have written it.
func invalidListed(r registry.InvalidRow, head int64) listedTenant {
	return listedTenant{Tenant: registry.Tenant{ID: r.ID, Slug: r.Slug, Status: statusInvalid, Version: head}, head: head,
		invalid: r.Why, schema: r.Schema}
}

// statusInvalid is shown in the place of a status.
const statusInvalid registry.Status = "invalid"

func runTenantList(ctx context.Context, f *factory, opts *tenantListOptions) error {
	m, err := opts.read(f)
	if err != nil {
		return err
	}
	head, p, conn, err := f.openForList(ctx, opts)
	if err != nil {
		return err
	}
	defer closeConn(ctx, conn)
	statuses := make([]registry.Status, len(opts.statuses))
	for i, s := range opts.statuses {
		statuses[i] = registry.Status(s)
	}
	a, err := f.app()
	if err != nil {
		return err
	}
	tenants, invalid, err := a.Tenants(ctx, conn, m, statuses...)
	if err != nil {
		return err
	}
	rows := make([]listedTenant, 0, len(tenants))
	for _, t := range tenants {
		if row := (listedTenant{Tenant: t, head: head, schema: t.Schema.String()}); !opts.behind ||
			isBehind(t, row.head) {
			rows = append(rows, row)
		}
	}
	for _, r := range invalid {
		if len(statuses) == 0 && !opts.behind && !p.NamesOnly() {
			rows = append(rows, invalidListed(r, head))
		}
		f.Note("crmctl: warning: %s", cli.Visible(r.Err().Error()))
	}
	if !p.NamesOnly() || opts.sort == "size" {
		var wanted []string // all
		if len(invalid) > 0 {
			wanted = make([]string, len(tenants))
			for i, t := range tenants {
				wanted[i] = t.Slug
			}
		}
		sizes, err := stats.TotalBytes(ctx, conn, f.registry(), wanted)
		if err != nil {
			return err
		}
		for i := range rows {
			if n, ok := sizes[rows[i].Slug]; ok {
				rows[i].size = &n
			}
		}
	}
	places, err := cluster.FindPlaces(ctx, conn)
	if err != nil {
		return err
	}
	for i := range rows {
		rows[i].place = places.Of(rows[i].schema)
	}
	sortTenants(rows, opts.sort)
	all := rows
	rows = firstOf(rows, opts.limit)
	l := tenantList(rows, p.Show)
	l.Footer = func() string { return tenantFooter(all, len(rows), head) }
	if a.RefuseSourced("create", registry.Tenant{}) != nil {
		l.Empty = "no tenants; take in the application's: " + syncCommand
	}
	if !p.IsDocument() {
		return cli.PrintList(p, l, rows)
	}
	return cli.PrintRows(p, l, withSettings(ctx, f.registry(), conn, rows))
}

// openForList opens what a list needs. Which tenants are behind has to be known where they
// alone are asked for.
func (f *factory) openForList(ctx context.Context, opts *tenantListOptions) (int64, *cli.Printer, *pgx.Conn, error) {
	if !opts.behind {
		return f.openWithHead(ctx)
	}
	plan, p, conn, err := f.openWithPlan(ctx)
	if err != nil {
		return 0, nil, nil, err
	}
	return plan.Head(), p, conn, nil
}

// withSettings reads the settings of some rows at a time, while they are printed: those
// of a fleet may be more than memory holds.
func withSettings(ctx context.Context, reg registry.Registry, conn *pgx.Conn,
	rows []listedTenant) iter.Seq2[listedTenant, error] {
	const atOnce = 200
	return func(yield func(listedTenant, error) bool) {
		for some := range slices.Chunk(rows, atOnce) {
			var ids []string
			for _, t := range some {
				if t.invalid == "" {
					ids = append(ids, t.ID)
				}
			}
			settings, err := reg.Settings(ctx, conn, ids)
			if err != nil {
				yield(listedTenant{}, err)
				return
			}
			for _, t := range some {
				if t.Settings = settings[t.ID]; !yield(t, nil) {
					return
				}
			}
		}
	}
}

// sortTenants sorts rows that are in the order of their names. The largest and
// the newest come first, but the oldest version, since that is what one looks
// for.
func sortTenants(rows []listedTenant, order string) {
	slices.SortStableFunc(rows, func(a, b listedTenant) int {
		switch order {
		case "created":
			return b.CreatedAt.Compare(a.CreatedAt)
		case "size":
			return cmp.Compare(known(b.size), known(a.size))
		case "version":
			return cmp.Compare(a.Version, b.Version)
		case "status":
			return cmp.Compare(a.Status, b.Status)
		}
		return 0
	})
}

func known(n *int64) int64 {
	if n == nil {
		return -1
	}
	return *n
}

func tenantList(rows []listedTenant, show cli.Presentation) cli.List[listedTenant] {
	l := cli.List[listedTenant]{
		Plural: "tenants",
		Columns: cli.Documented([]cli.Column[listedTenant]{
			{Name: "tenant", Value: func(t listedTenant) any { return t.Slug }},
			{Name: "status", Value: func(t listedTenant) any { return statusCell(t.State()) }},
			{Name: "schema_version", Title: "VERSION", Value: func(t listedTenant) any {
				if t.invalid != "" {
					return nil
				}
				if isBehind(t.Tenant, t.head) {
					return cli.Styled{Value: cli.Either{Human: fmt.Sprintf("%d *", t.Version), Machine: t.Version}, Color: cli.Yellow}
				}
				return cli.Serial(t.Version)
			}},
			{Name: "size_bytes", Title: "SIZE", Right: true, Value: func(t listedTenant) any { return sizeCell(t.size) }},
			{Name: "created_at", Title: "CREATED", Spare: true, Value: func(t listedTenant) any {
				if t.invalid != "" {
					return nil
				}
				return cli.Day(t.CreatedAt)
			}},
			{Name: "schema", Wide: true, Value: func(t listedTenant) any { return t.schema }},
			{Name: "role", Wide: true, Optional: true, Value: func(t listedTenant) any { return t.Role }},
			{Name: "id", Wide: true, Value: func(t listedTenant) any { return t.ID }},
			{Name: "display_name", Spare: true, Value: func(t listedTenant) any { return t.DisplayName }},
			{Name: "purge_after", Blank: true, Value: func(t listedTenant) any {
				switch {
				case t.PurgeAfter == nil:
					return t.PurgeAfter
				case t.PurgeStartedAt != nil:
					return cli.Either{Human: "", Machine: t.PurgeAfter}
				}
				return cli.Styled{Value: cli.Either{Human: "purged after " + show.Human(cli.Day(*t.PurgeAfter)),
					Machine: *t.PurgeAfter}, Color: cli.Dim}
			}},
			{Name: "invalid", Document: true, Optional: true, Value: func(t listedTenant) any { return t.invalid }},
		}, tenantColumns(func(t listedTenant) (registry.Tenant, int64, *int64) { return t.Tenant, t.head, t.size })),
		Name:  func(t listedTenant) string { return t.Slug },
		Empty: "no tenants; create one: crmctl tenant create NAME",
	}
	if slices.ContainsFunc(rows, func(t listedTenant) bool { return t.place.Kind != "" }) { // in a cluster
		l.Columns = append(l.Columns,
			cli.Column[listedTenant]{Name: "kind", Wide: true, Value: func(t listedTenant) any { return string(t.place.Kind) }},
			cli.Column[listedTenant]{Name: "node", Wide: true, Value: func(t listedTenant) any { return t.place.Node }})
	}
	return l
}

func sizeCell(n *int64) any {
	if n == nil {
		return cli.Either{Human: "?", Machine: nil}
	}
	return cli.ByteSize(*n)
}

// tenantFooter counts all the tenants of a list of which some are shown.
func tenantFooter(rows []listedTenant, shown int, head int64) string {
	behind := 0
	for _, r := range rows {
		if isBehind(r.Tenant, head) {
			behind++
		}
	}
	text := cli.Plural(len(rows), "tenant")
	if shown < len(rows) {
		text += fmt.Sprintf(", %s shown", cli.HumanCount(int64(shown)))
	}
	switch {
	case head == unknownHead:
		return text
	case behind > 0:
		return fmt.Sprintf("%s, %s behind version %d (*)", text, cli.HumanCount(int64(behind)), head)
	}
	return fmt.Sprintf("%s, newest version %d", text, head)
}
