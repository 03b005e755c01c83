package importer

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/crm/crmtest"
)

// modelContact is a contact of the model.
type modelContact struct {
	phone, name, company string
	metadata             map[string]string
}

func (c modelContact) String() string {
	var meta []string
	for _, k := range slices.Sorted(maps.Keys(c.metadata)) {
		meta = append(meta, fmt.Sprintf("%q: %q", k, c.metadata[k]))
	}
	return c.phone + "|" + c.name + "|" + c.company + "|{" + strings.Join(meta, ", ") + "}"
}

// merge returns c with what row says, and whether that changes anything.
func (c modelContact) merge(row modelContact) (modelContact, bool) {
	out := modelContact{c.phone, c.name, c.company, maps.Clone(c.metadata)}
	for _, f := range []struct {
		to   *string
		from string
	}{{&out.phone, row.phone}, {&out.name, row.name}, {&out.company, row.company}} {
		if f.from != "" {
			*f.to = f.from
		}
	}
	maps.Copy(out.metadata, row.metadata)
	return out, out.String() != c.String()
}

// model is a tenant as an import should leave it, written down in the simplest
// way.
type model struct {
	byEmail  map[string]modelContact
	noEmail  map[string]bool
	inserted int64
	updated  int64
	same     int64
	rejected int64
	repeated int64
}

type modelRow struct {
	email string
	bad   bool
	modelContact
}

func (m *model) load(rows []modelRow, policy ConflictPolicy, inFile RepeatPolicy) {
	m.inserted, m.updated, m.same, m.rejected, m.repeated = 0, 0, 0, 0, 0
	groups := map[string][]modelRow{}
	alike := map[string]bool{}
	var order []string
	for _, row := range rows {
		switch {
		case row.bad:
			m.rejected++
		case row.email == "":
			key := row.String()
			switch {
			case alike[key]:
				m.repeated++
			case m.noEmail[key]:
				m.same++
			default:
				m.noEmail[key] = true
				m.inserted++
			}
			alike[key] = true
		default:
			if groups[row.email] == nil {
				order = append(order, row.email)
			}
			groups[row.email] = append(groups[row.email], row)
		}
	}
	for _, email := range order {
		m.group(email, groups[email], policy, inFile)
	}
}

// group loads the rows with one address.
func (m *model) group(email string, rows []modelRow, policy ConflictPolicy, inFile RepeatPolicy) {
	one := rows[0].modelContact
	switch inFile {
	case RepeatLast:
		one = rows[len(rows)-1].modelContact
	case RepeatMerge:
		for _, row := range rows[1:] {
			one, _ = one.merge(row.modelContact)
		}
	}
	further := int64(len(rows)) - 1
	before, exists := m.byEmail[email]
	if inFile == RepeatError || exists && policy == ConflictError {
		m.rejected += further
	} else {
		m.repeated += further
	}
	after, changed := before, false
	switch {
	case !exists:
		m.byEmail[email] = one
		m.inserted++
		return
	case policy == ConflictError:
		m.rejected++
		return
	case policy == ConflictUpdate:
		after, changed = before.merge(one)
	case policy == ConflictMerge:
		after, _ = one.merge(before)
		changed = after.String() != before.String()
	}
	m.byEmail[email] = after
	if changed {
		m.updated++
	} else {
		m.same++
	}
}

func (m *model) tally() string {
	return tally(Result{
		Read: m.inserted + m.updated + m.same + m.rejected + m.repeated, Inserted: m.inserted, Updated: m.updated,
		Unchanged: m.same,
		Rejected:  m.rejected, Repeated: m.repeated,
	})
}

func (m *model) contacts() []string {
	var out []string
	for email, c := range m.byEmail {
		out = append(out, email+"|"+c.String())
	}
	for key := range m.noEmail {
		out = append(out, "|"+key)
	}
	sort.Strings(out)
	return out
}

// dirtyFile makes a file of rows that collide in every way, and what they mean.
func dirtyFile(r *rand.Rand, n int) (string, []modelRow) {
	var b strings.Builder
	b.WriteString("email,phone,name,company,x,y\n")
	var rows []modelRow
	maybe := func(values ...string) string {
		if r.IntN(2) == 0 {
			return ""
		}
		return values[r.IntN(len(values))]
	}
	for range n {
		row := modelRow{modelContact: modelContact{
			phone: maybe("1", "2"), name: maybe("Ann", "Bob", "=x()"), company: maybe("Acme"), metadata: map[string]string{},
		}}
		for _, key := range []string{"x", "y"} {
			if v := maybe("a", "b"); v != "" {
				row.metadata[key] = v
			}
		}
		if r.IntN(4) > 0 {
			row.email = fmt.Sprintf("%c@example.com", 'a'+r.IntN(n))
		}
		shown := row.email
		switch {
		case r.IntN(15) == 0:
			shown, row.bad = "nobody", true
		case row.email == "" && row.phone == "" && row.name == "" && row.company == "":
			row.bad = true
			if len(row.metadata) == 0 {
				row.metadata["x"] = "a"
			}
		case r.IntN(3) == 0:
			shown = " " + strings.ToUpper(shown) + "  "
		}
		fmt.Fprintf(&b, "%s,%s,%s,%s,%s,%s\n", shown, row.phone, row.name, row.company, row.metadata["x"], row.metadata["y"])
		rows = append(rows, row)
	}
	return b.String(), rows
}

// Whatever collides with whatever, on either path and with each policy: the
// counts and the contacts are those of the model, a dry run foretells them, and
// the same file again changes nothing.
func TestImportAgreesWithModel(t *testing.T) {
	t.Parallel()
	for _, policy := range []ConflictPolicy{ConflictUpdate, ConflictMerge, ConflictSkip, ConflictError} {
		for _, inFile := range []RepeatPolicy{RepeatMerge, RepeatFirst, RepeatLast, RepeatError} {
			for path, directFrom := range paths {
				t.Run(string(policy)+"/"+string(inFile)+"/"+path, func(t *testing.T) {
					t.Parallel()
					conn, schema := crmtest.Tenant(t)
					o := Options{Schema: schema, OnConflict: policy, InFile: inFile, directFrom: directFrom}
					for seed := range uint64(4) {
						crmtest.Exec(t, conn, schema, "delete from contacts")
						if o.Keep = ""; seed%2 > 0 { // what is replaced is kept
							o.Keep = keepID(0)
						}
						if seed >= 2 {
							o.sliceFrom = 1
						}
						agreesWithModel(t, conn, o, seed)
					}
				})
			}
		}
	}
}

func agreesWithModel(t *testing.T, conn *pgx.Conn, o Options, seed uint64) {
	t.Helper()
	m := model{byEmail: map[string]modelContact{}, noEmail: map[string]bool{}}
	r := rand.New(rand.NewPCG(seed, 1))
	for step, n := range []int{1 + r.IntN(20), 1 + r.IntN(20), 1} {
		file, rows := dirtyFile(r, n)
		m.load(rows, o.OnConflict, o.InFile)
		dry := o
		dry.DryRun = true
		foretold := importText(t, conn, file, dry)
		got := importText(t, conn, file, o)
		if tally(got) != m.tally() || tally(foretold) != m.tally() {
			t.Fatalf("seed %d, file %d:\n%s\n got %s\n dry %s\nwant %s", seed, step, file, tally(got),
				tally(foretold), m.tally())
		}
		if wasEmpty := step == 0; got.FastPath != (o.directFrom == 1 && wasEmpty) && len(m.contacts()) > 0 && wasEmpty {
			t.Errorf("seed %d: fast path %t", seed, got.FastPath)
		}
		crmtest.SameLines(t, fmt.Sprintf("seed %d, file %d\n%s", seed, step, file), sorted(contacts(t, conn, o.Schema)),
			m.contacts())
		again := importText(t, conn, file, o)
		m.load(rows, o.OnConflict, o.InFile)
		if tally(again) != m.tally() || again.Inserted+again.Updated != 0 {
			t.Fatalf("seed %d, file %d: the same again: got %s, want %s", seed, step, tally(again), m.tally())
		}
		crmtest.SameLines(t, "the same again", sorted(contacts(t, conn, o.Schema)), m.contacts())
	}
}

func sorted(lines []string) []string {
	sort.Strings(lines)
	return lines
}
