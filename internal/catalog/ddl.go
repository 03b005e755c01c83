package catalog

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/crmctl/crmctl/internal/db"
)

// IrreproducibleError says which objects of a shape DDL cannot make.
type IrreproducibleError struct{ Objects []Object }

// Error names them.
func (e *IrreproducibleError) Error() string {
	names := make([]string, len(e.Objects))
	for i, o := range e.Objects {
		names[i] = o.Subject()
	}
	return "not to be made from the catalog alone: " + strings.Join(names, ", ")
}

// DDL returns the statements that make an empty schema one of this shape, to be
// run in the order given with the schema alone on the search path, by the role
// that owns it. They name no schema and fit any.
//
// The version table is left out: whoever records versions makes it. What stands
// before what is found by looking for names in definitions, so a schema of twisted
// dependencies may need another order; whoever uses the script compares the
// fingerprint of what it made.
//
// The error is an *IrreproducibleError where an object is of a kind that cannot be
// made from what a shape knows, or is in a state that no statement reaches.
func (s *Shape) DDL() ([]db.Statement, error) {
	before, after, err := s.Halves()
	return slices.Concat(before, after), err
}

// Halves returns the statements of DDL in two parts, between which rows may be put
// into the tables: before foreign keys, triggers, rules and policies are there, so
// that the order of the tables does not matter and nothing changes the rows.
func (s *Shape) Halves() (before, after []db.Statement, err error) {
	b := builder{shape: s}
	for _, o := range b.topLevel() {
		b.make(o)
	}
	for _, k := range []Kind{
		KindColumn, KindConstraint, KindConstraintTriggers, KindIndex, KindRule, KindTrigger, KindPolicy, KindStatistics,
		KindComment, KindGrant, KindDefaultPrivileges, KindOwner,
	} {
		for o := range s.of(k) {
			b.finish(o)
		}
	}
	if len(b.refused) > 0 {
		return nil, nil, &IrreproducibleError{Objects: b.refused}
	}
	before = []db.Statement{{SQL: "set local check_function_bodies to off"}}
	for _, sql := range b.first {
		before = append(before, db.Statement{SQL: anywhere(sql)})
	}
	for _, sql := range slices.Concat(b.keys, b.last, b.parts) {
		after = append(after, db.Statement{SQL: anywhere(sql)})
	}
	return before, after, nil
}

// builder collects the statements of DDL.
type builder struct {
	shape   *Shape
	first   []string // tables and what else stands by itself
	keys    []string // foreign keys and what else needs all tables
	last    []string
	parts   []string // rights on columns
	refused []Object
}

func (b *builder) refuse(o Object) { b.refused = append(b.refused, o) }

// topLevel returns what stands by itself, each object after those it needs.
func (b *builder) topLevel() []Object {
	var left []Object
	for _, k := range append([]Kind{
		KindType, KindDomain, KindSequence, KindFunction, KindProcedure, KindAggregate, KindTable, KindView,
		KindMaterializedView,
	}, otherKinds...) {
		for o := range b.shape.of(k) {
			left = append(left, o)
		}
	}
	// What each waits for, found once: to look for a name in a text is what costs.
	waits := make([][]int, len(left))
	for i, o := range left {
		text := b.needs(o)
		if text == "" {
			continue
		}
		for j, other := range left {
			if i != j && mentions(text, other) {
				waits[i] = append(waits[i], j)
			}
		}
	}
	out := make([]Object, 0, len(left))
	made := make([]bool, len(left))
	for len(out) < len(left) {
		next := -1
		for i := range left {
			if made[i] {
				continue
			}
			if next < 0 {
				next = i // in a circle the order of kinds decides
			}
			if !slices.ContainsFunc(waits[i], func(j int) bool { return !made[j] }) {
				next = i
				break
			}
		}
		made[next] = true
		out = append(out, left[next])
	}
	return out
}

// needs returns the text in which an object names those it needs.
func (b *builder) needs(o Object) string {
	switch o.Kind {
	case KindTable:
		t := detailOf[tableDetail](o)
		text := []string{t.Parents}
		for c := range b.shape.partsOf(KindColumn, o.Name) {
			d := detailOf[columnDetail](c)
			text = append(text, d.Type, d.Expression)
		}
		for c := range b.shape.partsOf(KindConstraint, o.Name) {
			if d := detailOf[constraintDetail](c); d.Type == "c" {
				text = append(text, d.Definition)
			}
		}
		return strings.Join(text, " ")
	case KindFunction, KindProcedure:
		// The body is not looked at until it runs.
		header, _, _ := strings.Cut(o.Definition, "\nAS ")
		return header
	case KindSequence:
		return "" // its owner comes later
	}
	return o.Definition
}

// mentions reports whether a text names an object. A table is told from a column of
// its name only by where the text comes from; a function is followed by its
// arguments.
func mentions(text string, o Object) bool {
	name, _, isFunction := strings.Cut(o.Name, "(")
	if o.Kind == KindFunction || o.Kind == KindProcedure || o.Kind == KindAggregate {
		name = unquote(name)
	} else {
		name, isFunction = o.Name, false
	}
	name = strings.ReplaceAll(name, `"`, `""`)
	for at := 0; ; {
		i := strings.Index(text[at:], name)
		if i < 0 {
			return false
		}
		start, end := at+i, at+i+len(name)
		at = start + 1
		if start > 0 && isWord(text[start-1]) || end < len(text) && isWord(text[end]) {
			continue
		}
		if !isFunction || strings.HasPrefix(strings.TrimPrefix(text[end:], `"`), "(") {
			return true
		}
	}
}

func isWord(c byte) bool {
	return c == '_' || c == '$' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

// make adds what makes an object that stands by itself.
func (b *builder) make(o Object) {
	switch o.Kind {
	case KindType:
		definition, composite := strings.CutPrefix(o.Definition, "composite ")
		if !composite && !strings.HasPrefix(o.Definition, "enum ") {
			b.refuse(o)
			return
		}
		b.first = append(b.first, "create type "+db.Quoted(o.Name)+" as "+definition)
	case KindDomain:
		if strings.Contains(o.Definition, " NOT VALID") {
			b.refuse(o)
			return
		}
		b.first = append(b.first, "create domain "+db.Quoted(o.Name)+" as "+o.Definition)
	case KindSequence:
		s := detailOf[sequenceDetail](o)
		b.first = append(b.first, s.sql(o.Name))
		if s.Owner != "" {
			b.last = append(b.last, "alter sequence "+db.Quoted(o.Name)+" owned by "+s.Owner)
		}
	case KindFunction, KindProcedure:
		b.first = append(b.first, strings.TrimSpace(o.Definition))
	case KindTable:
		b.table(o)
	case KindView, KindMaterializedView:
		b.first = append(b.first, detailOf[viewDetail](o).sql(o.Kind, o.Name))
	default:
		b.refuse(o)
	}
}

// anywhere returns a statement that names its schema in a form that finds out the
// name when it runs. What a comment says is a person's.
func anywhere(sql string) string {
	if !strings.Contains(sql, ownSchema) || strings.HasPrefix(sql, "comment on ") {
		return sql
	}
	tag := "$crmctl$"
	for i := 1; strings.Contains(sql, tag); i++ {
		tag = "$crmctl" + strconv.Itoa(i) + "$"
	}
	outer := strings.TrimSuffix(tag, "$") + "_do$"
	return "do " + outer + " begin execute pg_catalog.replace(pg_catalog.replace(" + tag + sql + tag +
		", '''" + ownSchema + "''', pg_catalog.quote_literal(pg_catalog.current_schema())), '" + ownSchema +
		"', pg_catalog.quote_ident(pg_catalog.current_schema())); end " + outer
}

// table adds a table with the constraints that it can be made with.
func (b *builder) table(o Object) {
	t := detailOf[tableDetail](o)
	if strings.HasPrefix(o.Definition, "versions (") {
		return
	}
	if t.Foreign {
		b.refuse(o)
		return
	}
	// A partition that was a table of its own before, with its columns in another order
	// or with other defaults, is one here too, and attached.
	attached := t.Partition && !b.likeParent(o)
	var parts, otherDefault []string
	ordered := true
	if !t.Partition || attached {
		var listed []string
		listed, otherDefault, ordered = b.listed(o)
		for _, name := range listed {
			c, _ := b.shape.find(key{KindColumn, o.Name, name})
			parts = append(parts, detailOf[columnDetail](c).sql(name))
		}
	}
	for c := range b.shape.partsOf(KindConstraint, o.Name) {
		if b.inline(c) {
			parts = append(parts, "constraint "+db.Quoted(c.Name)+" "+detailOf[constraintDetail](c).Definition)
		}
	}
	list := "(" + strings.Join(parts, ", ") + ")"
	if t.Partition && !attached {
		list = words("partition of", t.Parents, when(len(parts) > 0, list), t.Bound)
	} else if t.Parents != "" && !attached && ordered {
		list += " inherits (" + t.Parents + ")"
	}
	b.first = append(b.first, words("create", when(t.Unlogged, "unlogged"), "table", db.Quoted(o.Name), list,
		clause("partition by ", t.Key, ""),
		clause("using ", quotedOrNone(t.Method), ""), clause("with (", t.Options, ")"),
		clause("tablespace ", quotedOrNone(t.Tablespace), "")))
	alter := "alter table " + db.Quoted(o.Name) + " "
	if !ordered {
		for parent := range strings.SplitSeq(t.Parents, ", ") {
			b.first = append(b.first, alter+"inherit "+parent)
		}
	}
	for _, name := range otherDefault {
		c, _ := b.shape.find(key{KindColumn, o.Name, name})
		value := detailOf[columnDetail](c).Expression
		b.first = append(b.first, "alter table only "+db.Quoted(o.Name)+" alter column "+db.Quoted(name)+
			cmp.Or(clause(" set default ", value, ""), " drop default"))
	}
	if attached {
		b.first = append(b.first, "alter table "+t.Parents+" attach partition "+db.Quoted(o.Name)+" "+t.Bound)
	}
	switch t.Identity {
	case "f":
		b.last = append(b.last, alter+"replica identity full")
	case "n":
		b.last = append(b.last, alter+"replica identity nothing")
	}
	if t.RowSecurity {
		b.last = append(b.last, alter+"enable row level security")
	}
	if t.ForceRows {
		b.last = append(b.last, alter+"force row level security")
	}
}

// listed returns the columns that CREATE TABLE has to name, and those that a parent gives
// it with another default. Columns of a parent are left to it where they have the same
// definition but for that. ordered is false where they would come out in another order:
// then the table has to become a child afterwards.
func (b *builder) listed(o Object) (listed, otherDefault []string, ordered bool) {
	columns := b.shape.columns(o.Name)
	t := detailOf[tableDetail](o)
	if t.Parents == "" || t.Partition {
		return columns, nil, true
	}
	given := map[string]columnDetail{}
	var inherited, own []string
	for parent := range strings.SplitSeq(t.Parents, ", ") {
		for _, name := range b.shape.columns(unquote(parent)) {
			if _, merged := given[name]; !merged {
				c, _ := b.shape.find(key{KindColumn, unquote(parent), name})
				given[name] = detailOf[columnDetail](c)
				inherited = append(inherited, name)
			}
		}
	}
	for _, name := range columns {
		c, _ := b.shape.find(key{KindColumn, o.Name, name})
		mine, theirs := detailOf[columnDetail](c), given[name]
		if !slices.Contains(inherited, name) {
			own = append(own, name)
		}
		switch same := mine.sameBut(theirs); {
		case !mine.Inherited || !same || mine.Expression != theirs.Expression && mine.Generated != "":
			listed = append(listed, name)
		case mine.Expression != theirs.Expression:
			otherDefault = append(otherDefault, name)
		}
	}
	if !slices.Equal(slices.Concat(inherited, own), columns) {
		return columns, nil, false
	}
	return listed, otherDefault, true
}

// inline reports whether a constraint can be made with its table: it holds for all
// rows, and refers to no other table.
func (b *builder) inline(o Object) bool {
	c := detailOf[constraintDetail](o)
	return c.Valid && (c.Type == "p" || c.Type == "u" || c.Type == "x" || c.Type == "c")
}

// likeParent reports whether a partition has the columns of its parent, so that it
// can be made without listing them.
func (b *builder) likeParent(o Object) bool {
	parent := unquote(detailOf[tableDetail](o).Parents)
	columns := b.shape.columns(o.Name)
	return slices.Equal(columns, b.shape.columns(parent)) && !slices.ContainsFunc(columns, func(name string) bool {
		mine, _ := b.shape.find(key{KindColumn, o.Name, name})
		theirs, _ := b.shape.find(key{KindColumn, parent, name})
		return mine.Definition != theirs.Definition
	})
}

// finish adds what comes after all tables, views and functions.
func (b *builder) finish(o Object) {
	switch o.Kind {
	case KindColumn:
		b.column(o)
	case KindConstraint:
		b.constraint(o)
	case KindIndex:
		b.index(o)
	case KindTrigger, KindRule:
		t := detailOf[stateDetail](o)
		b.last = append(b.last, t.Definition)
		if t.State != "" {
			b.last = append(b.last, alterState(o, t.State))
		}
	case KindPolicy:
		if strings.Contains(o.Definition, "{role}") {
			b.refuse(o)
			return
		}
		b.last = append(b.last, "create policy "+db.Quoted(o.Name)+" on "+db.Quoted(o.Parent)+" "+
			strings.Replace(o.Definition, "{owner}", "current_user", 1))
	case KindStatistics:
		s := detailOf[statisticsDetail](o)
		b.last = append(b.last, s.Definition)
		if s.Target != nil {
			b.last = append(b.last, "alter statistics "+db.Quoted(o.Name)+" set statistics "+strconv.Itoa(*s.Target))
		}
	case KindComment:
		b.last = append(b.last, "comment on "+o.commented(db.Quoted(o.Parent))+" is "+
			strings.TrimSpace(db.Literal(o.Definition)))
	case KindGrant, KindDefaultPrivileges:
		b.grant(o)
	default:
		b.refuse(o)
	}
}

func (b *builder) column(o Object) {
	c := detailOf[columnDetail](o)
	if _, isView := b.shape.find(key{KindView, "", o.Parent}); isView {
		b.last = append(b.last, "alter view "+db.Quoted(o.Parent)+" alter column "+db.Quoted(o.Name)+
			" set default "+c.Expression)
		return
	}
	b.last = append(b.last, c.settings(o.Parent, o.Name)...)
}

func (b *builder) constraint(o Object) {
	c := detailOf[constraintDetail](o)
	if c.Invalid || c.Type == "n" {
		b.refuse(o)
		return
	}
	if !b.inline(o) {
		b.keys = append(b.keys, "alter table "+db.Quoted(o.Parent)+" add constraint "+db.Quoted(o.Name)+" "+c.Definition)
	}
	b.indexState(o, c.Options, c.Tablespace, c.Clustered, c.Identity)
}

func (b *builder) index(o Object) {
	i := detailOf[indexDetail](o)
	if i.Invalid {
		b.refuse(o)
		return
	}
	// A foreign key may refer to it.
	b.first = append(b.first, words("create", when(i.Unique, "unique"), "index", i.Name, "on", i.Rest))
	b.indexState(o, "", i.Tablespace, i.Clustered, i.Identity)
}

func (b *builder) indexState(o Object, options, tablespace string, clustered, identity bool) {
	index, table := "alter index "+db.Quoted(o.Name)+" set ", "alter table "+db.Quoted(o.Parent)+" "
	if options != "" {
		b.last = append(b.last, index+"("+options+")")
	}
	if tablespace != "" {
		b.last = append(b.last, index+"tablespace "+db.Quoted(tablespace))
	}
	if clustered {
		b.last = append(b.last, table+"cluster on "+db.Quoted(o.Name))
	}
	if identity {
		b.last = append(b.last, table+"replica identity using index "+db.Quoted(o.Name))
	}
}

// grantDetail is the detail of a grant or of default privileges.
type grantDetail struct {
	On     string `json:"on"`     // as in SQL, or "schema"
	Column string `json:"column"` // of which On is "column table.column"
	To     string `json:"to"`
	Of     string `json:"of"` // whose default privileges, "" for the owner
}

// grant gives a grantee the rights that it has, and no other.
func (b *builder) grant(o Object) {
	g := detailOf[grantDetail](o)
	if g.To == "{role}" || g.Of != "" || g.On == "" {
		b.refuse(o)
		return
	}
	to := strings.ReplaceAll(g.To, "{owner}", "current_user")
	before, on := "", g.On
	switch kind, name, _ := strings.Cut(g.On, " "); {
	case o.Kind == KindDefaultPrivileges:
		before = "alter default privileges in schema " + ownSchema + " "
	case g.On == "schema":
		on = "schema " + ownSchema
	case g.Column != "":
		on = "table " + db.Quoted(o.Parent)
	case kind == "view", kind == "materialized", kind == "foreign":
		on = "table " + db.Quoted(o.Parent)
	case kind == "aggregate":
		on = "function " + name
	}
	if before == "" && g.Column == "" {
		b.last = append(b.last, "revoke all on "+on+" from "+to)
	}
	if o.Definition == "nothing" {
		return
	}
	for privilege := range strings.SplitSeq(o.Definition, ", ") {
		privilege, option := strings.CutSuffix(privilege, " with grant option")
		// To revoke all on a table is to revoke all on its columns.
		into, columns := &b.last, ""
		if g.Column != "" {
			into, columns = &b.parts, " ("+db.Quoted(g.Column)+")"
		}
		*into = append(*into, before+"grant "+strings.ToLower(privilege)+columns+" on "+on+" to "+to+
			when(option, " with grant option"))
	}
}
