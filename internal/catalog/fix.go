package catalog

import (
	"reflect"
	"slices"
	"strings"

	"github.com/crmctl/crmctl/internal/db"
)

// Fix is how to mend a schema: SQL for the cases where nothing can be lost and
// nothing has to be guessed, and what is left to a person.
type Fix struct {
	// Unmended are the differences that no statement of the fix touches.
	Unmended []Difference
	// Notes say what to know before the statements are run.
	Notes []string

	// before and after are each one transaction in the schema, validate another:
	// what waits for a scan of a table holds no strong lock. alone are statements
	// between them that no transaction can hold.
	before, alone, after, validate []string
}

// Empty reports whether there is nothing to run.
func (f Fix) Empty() bool {
	return len(f.before)+len(f.alone)+len(f.after)+len(f.validate) == 0
}

// SQL returns the statements for one schema, transactions and their settings
// included, to be run in this order, each on its own.
func (f Fix) SQL(schema db.Schema) []string {
	var out []string
	inTx := func(statements []string) {
		if len(statements) == 0 {
			return
		}
		out = append(out, "begin", "set local search_path to "+schema.Quoted()+", pg_temp", "set local lock_timeout to '2s'")
		out = append(out, statements...)
		out = append(out, "commit")
	}
	inTx(f.before)
	out = append(out, f.alone...)
	inTx(f.after)
	inTx(f.validate)
	for i := range out {
		out[i] = strings.ReplaceAll(out[i], "'"+ownSchema+"'", db.Literal(schema.String()))
		out[i] = strings.ReplaceAll(out[i], ownSchema, schema.Quoted())
	}
	return out
}

// Mend returns how to make got what want is. It adds what is missing: columns,
// defaults, constraints (NOT VALID first, where that is possible), indexes
// (CONCURRENTLY), sequences, functions, views, triggers, rules, statistics and
// comments. It validates what was not validated and rebuilds an invalid index. It
// never drops, replaces or overwrites anything.
func Mend(want, got *Shape) Fix {
	m := mender{want: want, got: got, mended: map[key]bool{}}
	all := compare(want, got)
	for _, d := range all {
		if m.mend(d) {
			m.mended[d.Object.key()] = true
		}
	}
	m.fix.before = slices.Concat(m.sequences, m.functions, m.fix.before, m.owners)
	m.fix.after = slices.Concat(m.fix.after, m.views(), m.onViews, m.comments)
	for _, d := range Diff(want, got) {
		if !m.mended[d.Object.key()] {
			m.fix.Unmended = append(m.fix.Unmended, d)
		}
	}
	m.misplaced()
	return m.fix
}

type mender struct {
	want, got *Shape
	fix       Fix
	mended    map[key]bool
	sequences []string
	functions []string
	owners    []string // sequences get theirs when the columns are there
	newViews  []Object
	onViews   []string // what may belong to a view
	comments  []string
}

// mend takes care of one difference, if it can.
func (m *mender) mend(d Difference) bool {
	o := d.Object
	if o.Parent != "" && !m.there(o.Parent) && (d.Change != Missing || !m.makes(o.Parent)) {
		return false // its table is missing too
	}
	switch d.Change {
	case Missing:
		return m.add(o)
	case Changed:
		return m.change(d)
	case Extra:
	}
	return false
}

// there reports whether got has a table, a view or something else that others
// belong to.
func (m *mender) there(name string) bool {
	return slices.ContainsFunc(m.got.Objects, func(o Object) bool { return o.Parent == "" && o.Name == name })
}

// makes reports whether the fix makes something of that name which others belong
// to.
func (m *mender) makes(name string) bool {
	return slices.ContainsFunc(m.want.Objects, func(o Object) bool {
		switch o.Kind {
		case KindView, KindMaterializedView, KindSequence, KindFunction, KindProcedure, KindStatistics:
			return o.Parent == "" && o.Name == name
		}
		return false
	})
}

func (m *mender) add(o Object) bool {
	f := &m.fix
	switch o.Kind {
	case KindColumn:
		c := detailOf[columnDetail](o)
		if c.NotNull && c.Expression == "" && c.Identity == "" {
			f.Notes = append(f.Notes, "column "+o.Parent+"."+o.Name+
				" is NOT NULL without a default: where the table has rows, adding it fails")
		}
		f.before = append(f.before, "alter table "+db.Quoted(o.Parent)+" add column "+c.sql(o.Name))
		f.before = append(f.before, c.settings(o.Parent, o.Name)...)
	case KindConstraint:
		return m.addConstraint(o)
	case KindIndex:
		return m.addIndex(o)
	case KindSequence:
		s := detailOf[sequenceDetail](o)
		m.sequences = append(m.sequences, s.sql(o.Name))
		if s.Owner != "" {
			m.owners = append(m.owners, "alter sequence "+db.Quoted(o.Name)+" owned by "+s.Owner)
		}
	case KindFunction, KindProcedure:
		// Its body may name what is made later.
		m.functions = append(m.functions, "set local check_function_bodies to off", strings.TrimSpace(o.Definition))
	case KindView, KindMaterializedView:
		m.newViews = append(m.newViews, o)
	case KindTrigger, KindRule:
		t := detailOf[stateDetail](o)
		m.onViews = append(m.onViews, t.Definition)
		if t.State != "" {
			m.onViews = append(m.onViews, alterState(o, t.State))
		}
	case KindStatistics:
		f.after = append(f.after, detailOf[statisticsDetail](o).Definition)
	case KindComment:
		return m.comment(o)
	default:
		return false
	}
	return true
}

func (m *mender) addConstraint(o Object) bool {
	c := detailOf[constraintDetail](o)
	if c.Clustered || c.Identity || c.Invalid || c.Options != "" || c.Tablespace != "" || c.Type == "n" {
		return false
	}
	add := "alter table " + db.Quoted(o.Parent) + " add constraint " + db.Quoted(o.Name) + " " + c.Definition
	switch c.Type {
	case "c", "f":
		table, _ := m.want.find(key{KindTable, "", o.Parent})
		if c.Valid && detailOf[tableDetail](table).Key == "" {
			add += " not valid"
			m.fix.validate = append(m.fix.validate, "alter table "+db.Quoted(o.Parent)+" validate constraint "+db.Quoted(o.Name))
		}
	default:
		m.fix.Notes = append(m.fix.Notes, "constraint "+o.Name+" builds its index while "+o.Parent+
			" is locked against writing")
	}
	// What a foreign key refers to comes before it.
	if c.Type == "f" {
		m.fix.after = append(m.fix.after, add)
	} else {
		m.fix.after = append([]string{add}, m.fix.after...)
	}
	return true
}

func (m *mender) addIndex(o Object) bool {
	i := detailOf[indexDetail](o)
	if i.Clustered || i.Identity || i.Invalid || i.Tablespace != "" {
		return false
	}
	create := words("create", when(i.Unique, "unique"), "index")
	if !m.there(o.Parent) {
		m.onViews = append(m.onViews, create+" "+i.Name+" on "+i.Rest)
		return true
	}
	if i.Partitioned || m.usesOwn(i.Rest) {
		m.fix.after = append([]string{create + " " + i.Name + " on " + i.Rest}, m.fix.after...)
		m.fix.Notes = append(m.fix.Notes, "index "+o.Name+" is built while "+o.Parent+" is locked against writing")
		return true
	}
	m.fix.alone = append(m.fix.alone, create+" concurrently "+i.Name+" on "+ownSchema+"."+i.Rest)
	return true
}

// usesOwn reports whether an expression may name a function or a type of the
// schema, which it does without the schema.
func (m *mender) usesOwn(expression string) bool {
	return slices.ContainsFunc(m.want.Objects, func(o Object) bool {
		switch o.Kind {
		case KindFunction, KindAggregate, KindType, KindDomain:
			name, _, _ := strings.Cut(o.Name, "(")
			return strings.Contains(expression, unquote(name))
		}
		return slices.Contains(otherKinds, o.Kind)
	})
}

func (m *mender) comment(o Object) bool {
	m.comments = append(m.comments, "comment on "+o.commented(db.Quoted(o.Parent))+" is "+
		strings.TrimSpace(db.Literal(o.Definition)))
	return true
}

func (m *mender) change(d Difference) bool {
	o := d.Object
	got, _ := m.got.find(o.key())
	switch o.Kind {
	case KindColumn:
		w, g := detailOf[columnDetail](o), detailOf[columnDetail](got)
		if g.Expression != "" || w.Expression == "" || w.Generated != "" {
			return false
		}
		g.NotNullName = w.NotNullName
		if g.Expression = w.Expression; !reflect.DeepEqual(w, g) {
			return false
		}
		m.fix.before = append(m.fix.before, "alter table "+db.Quoted(o.Parent)+" alter column "+db.Quoted(o.Name)+
			" set default "+w.Expression)
	case KindConstraint:
		if d.Got != d.Want+" NOT VALID" {
			return false
		}
		m.fix.validate = append(m.fix.validate, "alter table "+db.Quoted(o.Parent)+" validate constraint "+db.Quoted(o.Name))
	case KindIndex:
		if d.Got != d.Want+" invalid" || detailOf[indexDetail](o).Partitioned {
			return false
		}
		m.fix.alone = append(m.fix.alone, "reindex index concurrently "+ownSchema+"."+db.Quoted(o.Name))
	default:
		return false
	}
	return true
}

// views returns the missing views, each after those it names.
func (m *mender) views() []string {
	var out []string
	for _, o := range inOrder(m.newViews) {
		out = append(out, detailOf[viewDetail](o).sql(o.Kind, o.Name))
	}
	return out
}

// inOrder puts each object after those whose names occur in its definition. Of
// those that name each other the order stays.
func inOrder(objects []Object) []Object {
	left, out := slices.Clone(objects), []Object{}
	for len(left) > 0 {
		next := slices.IndexFunc(left, func(o Object) bool {
			return !slices.ContainsFunc(left, func(other Object) bool {
				name, _, _ := strings.Cut(other.Name, "(")
				return other.key() != o.key() && strings.Contains(o.Definition, unquote(name))
			})
		})
		next = max(next, 0)
		out = append(out, left[next])
		left = slices.Delete(left, next, next+1)
	}
	return out
}

// misplaced adds the tables whose columns will be all there, but in another
// order: a column can only be added at the end.
func (m *mender) misplaced() {
	for _, w := range m.want.Objects {
		if w.Kind != KindColumnOrder {
			continue
		}
		g, found := m.got.find(w.key())
		if !found || !sameOrder(w, g) {
			continue // missing, or among the differences already
		}
		will := columnsOf(g)
		for _, c := range columnsOf(w) {
			if !slices.Contains(will, c) {
				will = append(will, c)
			}
		}
		if common := slices.DeleteFunc(slices.Clone(will), func(c string) bool {
			return !slices.Contains(columnsOf(w), c)
		}); !slices.Equal(common, columnsOf(w)) {
			m.fix.Unmended = append(m.fix.Unmended, Difference{Change: Changed, Object: w, Want: w.Definition,
				Got: strings.Join(will, ", ")})
		}
	}
}

// alterState returns how to switch a trigger or a rule off, or on for replicas.
func alterState(o Object, state string) string {
	switch state {
	case "disabled":
		state = "disable"
	case "enabled replica":
		state = "enable replica"
	case "enabled always":
		state = "enable always"
	}
	return "alter table " + db.Quoted(o.Parent) + " " + state + " " + string(o.Kind) + " " + db.Quoted(o.Name)
}
