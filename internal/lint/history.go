package lint

import "strings"

// history is what the files before a statement said of the schema.
type history struct {
	tables map[string]*table
	// functions holds whether a function of the files is volatile.
	functions map[string]bool
	// temporary holds the tables that files make for themselves.
	temporary map[string]bool
}

type table struct {
	columns map[string]*column
	checks  map[string]*check
}

type column struct {
	typ      dataType
	notNull  bool
	volatile bool // its default calls a volatile function
}

// check is a constraint that says that a column is not null.
type check struct {
	column string
	valid  bool
	file   *source
}

func newHistory() *history {
	return &history{tables: map[string]*table{}, functions: map[string]bool{}, temporary: map[string]bool{}}
}

// table returns what is known of a table; a table no file made is empty.
func (h *history) table(name string) *table {
	t := h.tables[name]
	if t == nil {
		t = &table{columns: map[string]*column{}, checks: map[string]*check{}}
		h.tables[name] = t
	}
	return t
}

// remember takes in what a statement of Up does.
func (c *checker) remember(s *statement) {
	n := s.tree
	switch n.kind {
	case "CreateStmt":
		name := n.child("relation").text("relname")
		if n.flag("if_not_exists") && c.history.tables[name] != nil {
			return // it is there already, most likely with rows
		}
		delete(c.history.tables, name)
		c.created[name] = true
		c.history.temporary[name] = n.child("relation").text("relpersistence") == temporary
		t := c.history.table(name)
		for _, element := range n.list("tableElts") {
			if element.kind == "ColumnDef" {
				c.rememberColumn(t, element)
			}
		}
	case "CreateTableAsStmt":
		c.madeFrom(n.child("into"))
	case "SelectStmt":
		if into := n.child("intoClause"); into.there() {
			c.madeFrom(into)
		}
	case "CreateFunctionStmt":
		if words := n.words("funcname"); len(words) > 0 {
			c.history.functions[words[len(words)-1]] = isVolatile(n)
		}
	case "DropStmt":
		if n.text("removeType") == "OBJECT_TABLE" {
			for _, name := range droppedNames(n) {
				delete(c.history.tables, name)
				delete(c.created, name)
			}
		}
	case "RenameStmt":
		c.rememberRename(n)
	case "AlterTableStmt":
		name := n.child("relation").text("relname")
		t := c.history.table(name)
		for _, cmd := range n.list("cmds") {
			c.rememberAlter(s, t, cmd)
		}
	}
}

const temporary = "t" // RELPERSISTENCE_TEMP

// madeFrom takes in the table that is made of a query's rows.
func (c *checker) madeFrom(into node) {
	name := into.child("rel").text("relname")
	c.created[name] = true
	c.history.temporary[name] = into.child("rel").text("relpersistence") == temporary
}

func isVolatile(function node) bool {
	for _, option := range function.list("options") {
		if option.text("defname") == "volatility" {
			return strings.EqualFold(option.child("arg").text("sval"), "volatile")
		}
	}
	return true
}

func (c *checker) rememberColumn(t *table, def node) {
	col := &column{typ: typeOf(def.child("typeName"))}
	for _, con := range def.list("constraints") {
		switch con.text("contype") {
		case "CONSTR_NOTNULL", "CONSTR_PRIMARY":
			col.notNull = true
		case "CONSTR_DEFAULT":
			col.volatile = c.volatileCall(con.child("raw_expr")) != ""
		}
	}
	t.columns[def.text("colname")] = col
}

func (c *checker) rememberRename(n node) {
	from := n.child("relation").text("relname")
	switch n.text("renameType") {
	case "OBJECT_TABLE":
		if t := c.history.tables[from]; t != nil {
			c.history.tables[n.text("newname")] = t
			delete(c.history.tables, from)
		}
		c.created[n.text("newname")] = c.created[from]
	case "OBJECT_COLUMN":
		t := c.history.table(from)
		if col := t.columns[n.text("subname")]; col != nil {
			t.columns[n.text("newname")] = col
			delete(t.columns, n.text("subname"))
		}
		for _, chk := range t.checks {
			if chk.column == n.text("subname") {
				chk.column = n.text("newname")
			}
		}
	}
}

func (c *checker) rememberAlter(s *statement, t *table, cmd node) {
	name := cmd.text("name")
	def := cmd.child("def")
	switch cmd.text("subtype") {
	case "AT_AddColumn":
		c.rememberColumn(t, def)
	case "AT_DropColumn":
		delete(t.columns, name)
	case "AT_AlterColumnType":
		if col := t.columns[name]; col != nil {
			col.typ = typeOf(def.child("typeName"))
		} else {
			t.columns[name] = &column{typ: typeOf(def.child("typeName"))}
		}
	case "AT_AddConstraint":
		valid := !def.flag("skip_validation")
		if col := notNullColumn(s, def); col != "" || !valid {
			t.checks[def.text("conname")] = &check{column: col, valid: valid, file: c.src}
		}
	case "AT_ValidateConstraint":
		if chk := t.checks[name]; chk != nil {
			chk.valid = true
		}
	case "AT_DropConstraint":
		delete(t.checks, name)
	}
}

// notNullColumn returns the column that a constraint keeps from being null:
// CHECK (column IS NOT NULL), or NOT NULL column of PostgreSQL 18.
func notNullColumn(s *statement, constraint node) string {
	expr := constraint.child("raw_expr")
	switch {
	case constraint.text("contype") == "CONSTR_NOTNULL":
		if keys := constraint.words("keys"); len(keys) > 0 {
			return keys[0]
		}
	case constraint.text("contype") != "CONSTR_CHECK":
	case s.newer && expr.kind == "ColumnRef":
		return expr.column()
	case expr.kind == "NullTest" && expr.text("nulltesttype") == "IS_NOT_NULL":
		return expr.child("arg").column()
	}
	return ""
}

// knownNotNull reports whether a column is known to hold no null, so that SET NOT
// NULL need not look.
func (t *table) knownNotNull(name string) bool {
	if col := t.columns[name]; col != nil && col.notNull {
		return true
	}
	for _, chk := range t.checks {
		if chk.column == name && chk.valid {
			return true
		}
	}
	return false
}

// isVolatileFunction knows the volatile functions of PostgreSQL and its usual
// extensions that people put into defaults.
func isVolatileFunction(name string) bool {
	switch name {
	case "random", "random_normal", "gen_random_uuid", "gen_random_bytes", "uuidv4", "uuidv7",
		"uuid_generate_v1", "uuid_generate_v1mc", "uuid_generate_v4", "clock_timestamp", "timeofday",
		"nextval", "setval", "lastval", "currval", "set_config":
		return true
	}
	return false
}

// volatileCall returns the first volatile function that an expression calls.
func (c *checker) volatileCall(expr node) string {
	found := ""
	expr.walk(func(n node) {
		name := n.function()
		if name == "" || found != "" {
			return
		}
		if own, known := c.history.functions[name]; own || !known && isVolatileFunction(name) {
			found = name
		}
	})
	return found
}

// keepsRows reports whether a column can change from one type to another without
// its table being written anew: the binary-compatible changes of
// ALTER TABLE … ALTER COLUMN … TYPE.
func keepsRows(from, to dataType) bool {
	if from.array || to.array {
		return from.String() == to.String()
	}
	grows := func(i int) bool {
		return len(to.mods) <= i || len(from.mods) > i && to.mods[i] >= from.mods[i]
	}
	switch {
	case from.String() == to.String():
		return true
	case to.name == "text":
		return from.name == "varchar"
	case to.name == "varchar":
		return from.name == "varchar" && grows(0) || from.name == "text" && len(to.mods) == 0
	case to.name == "inet":
		return from.name == "cidr"
	case from.name != to.name:
		return false
	}
	switch to.name {
	case "numeric":
		if len(to.mods) == 0 || len(from.mods) == 0 {
			return len(to.mods) == 0
		}
		return grows(0) && scale(from) == scale(to)
	case "varbit", "timestamp", "timestamptz", "time", "timetz":
		return grows(0)
	case "interval":
		return len(to.mods) == 0
	}
	return false
}

func scale(t dataType) int {
	if len(t.mods) < 2 {
		return 0
	}
	return t.mods[1]
}

func droppedNames(n node) []string {
	var names []string
	for _, object := range n.list("objects") {
		if words := object.words("items"); len(words) > 0 {
			names = append(names, words[len(words)-1])
		}
		if object.kind == "String" {
			names = append(names, object.text("sval"))
		}
	}
	return names
}
