package importer

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"testing"

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
}

type modelRow struct {
	email string
	bad   bool
	modelContact
}

func (m *model) load(rows []modelRow, policy ConflictPolicy) {
	m.inserted, m.updated, m.same, m.rejected = 0, 0, 0, 0
	groups := map[string][]modelRow{}
	var order []string
	for _, row := range rows {
		switch {
		case row.bad:
			m.rejected++
		case row.email == "":
			if key := row.String(); m.noEmail[key] {
				m.same++
			} else {
				m.noEmail[key] = true
				m.inserted++
			}
		default:
			if groups[row.email] == nil {
				order = append(order, row.email)
			}
			groups[row.email] = append(groups[row.email], row)
		}
	}
	for _, email := range order {
		m.group(email, groups[email], policy)
	}
}

// group loads the rows with one address.
func (m *model) group(email string, rows []modelRow, policy ConflictPolicy) {
	before, exists := m.byEmail[email]
	if policy != ConflictUpdate {
		left := int64(len(rows))
		if !exists {
			m.byEmail[email] = rows[0].modelContact
			m.inserted++
			left--
		}
		if policy == ConflictError {
			m.rejected += left
		} else {
			m.same += left
		}
		return
	}
	folded := modelContact{metadata: map[string]string{}}
	var news int64
	for i, row := range rows {
		if i > 0 {
			if _, says := rows[i-1].merge(row.modelContact); says {
				news++
			}
		}
		folded, _ = folded.merge(row.modelContact)
	}
	if !exists {
		m.byEmail[email] = folded
		m.inserted++
		m.updated += news
		m.same += int64(len(rows)) - 1 - news
		return
	}
	after, changed := before.merge(folded)
	m.byEmail[email] = after
	if changed {
		m.updated += 1 + news
		m.same += int64(len(rows)) - 1 - news
	} else {
		m.same += int64(len(rows))
	}
}

func (m *model) tally() string {
	return fmt.Sprintf("read %d inserted %d updated %d unchanged %d rejected %d",
		m.inserted+m.updated+m.same+m.rejected, m.inserted, m.updated, m.same, m.rejected)
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
	for _, policy := range []ConflictPolicy{ConflictUpdate, ConflictSkip, ConflictError} {
		for path, directFrom := range paths {
			t.Run(string(policy)+"/"+path, func(t *testing.T) {
				t.Parallel()
				conn, schema := crmtest.Tenant(t)
				o := Options{Schema: schema, OnConflict: policy, directFrom: directFrom}
				for seed := range uint64(6) {
					crmtest.Exec(t, conn, schema, "delete from contacts")
					m := model{byEmail: map[string]modelContact{}, noEmail: map[string]bool{}}
					r := rand.New(rand.NewPCG(seed, 1))
					for step, n := range []int{1 + r.IntN(20), 1 + r.IntN(20), 1} {
						file, rows := dirtyFile(r, n)
						m.load(rows, policy)
						dry := o
						dry.DryRun = true
						foretold := importText(t, conn, file, dry)
						got := importText(t, conn, file, o)
						if tally(got) != m.tally() || tally(foretold) != m.tally() {
							t.Fatalf("seed %d, file %d:\n%s\n got %s\n dry %s\nwant %s", seed, step, file, tally(got), tally(foretold), m.tally())
						}
						if wasEmpty := step == 0; got.FastPath != (directFrom == 1 && wasEmpty) && len(m.contacts()) > 0 && wasEmpty {
							t.Errorf("seed %d: fast path %t", seed, got.FastPath)
						}
						crmtest.SameLines(t, fmt.Sprintf("seed %d, file %d\n%s", seed, step, file), sorted(contacts(t, conn, schema)), m.contacts())
						if policy != ConflictError {
							again := importText(t, conn, file, o)
							if policy == ConflictSkip && again.Unchanged+again.Rejected != again.Read {
								t.Fatalf("seed %d, file %d: the same again: %s", seed, step, tally(again))
							}
							m.load(rows, policy)
							if tally(again) != m.tally() {
								t.Fatalf("seed %d, file %d: the same again: got %s, want %s", seed, step, tally(again), m.tally())
							}
							crmtest.SameLines(t, "the same again", sorted(contacts(t, conn, schema)), m.contacts())
						}
					}
				}
			})
		}
	}
}

func sorted(lines []string) []string {
	sort.Strings(lines)
	return lines
}
