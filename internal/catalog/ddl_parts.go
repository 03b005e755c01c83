package catalog

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/crmctl/crmctl/internal/db"
)

// ownSchema is what stands for the schema itself in the text of a function.
const ownSchema = "{own schema}"

// The details of objects, as shape.sql writes them. What is null there is empty.
type (
	tableDetail struct {
		Unlogged    bool   `json:"unlogged"`
		Foreign     bool   `json:"foreign"`
		Key         string `json:"key"`     // of a partitioned table
		Parents     string `json:"parents"` // identifiers
		Partition   bool   `json:"partition"`
		Bound       string `json:"bound"`
		Method      string `json:"method"`
		Tablespace  string `json:"tablespace"`
		Options     string `json:"options"`
		Identity    string `json:"identity"` // replica identity: d, n, f, i
		RowSecurity bool   `json:"rls"`
		ForceRows   bool   `json:"force_rls"`
	}
	columnDetail struct {
		Type        string          `json:"type"`
		Collation   string          `json:"collation"`
		Storage     string          `json:"storage"`
		Compression string          `json:"compression"`
		Expression  string          `json:"expression"` // default, or what is generated
		Generated   string          `json:"generated"`  // "", s, v
		Identity    string          `json:"identity"`   // "", always, by default
		Sequence    *sequenceDetail `json:"sequence"`   // of an identity
		NotNull     bool            `json:"not_null"`
		NotNullName string          `json:"not_null_name"` // of its constraint, if it has one
		Statistics  *int            `json:"statistics"`
		Options     string          `json:"options"`
		Foreign     string          `json:"fdw"`
		Inherited   bool            `json:"inherited"` // from a parent, and not the table's own
	}
	sequenceDetail struct {
		Name      string `json:"name"` // of an identity's sequence
		As        string `json:"as"`
		Increment string `json:"increment"`
		Min       string `json:"minvalue"`
		Max       string `json:"maxvalue"`
		Start     string `json:"start"`
		Cache     string `json:"cache"`
		Cycle     bool   `json:"cycle"`
		Owner     string `json:"owner"` // table.column, identifiers
		Unlogged  bool   `json:"unlogged"`
	}
	constraintDetail struct {
		Type       string `json:"type"` // p, u, x, c, f
		Valid      bool   `json:"valid"`
		Definition string `json:"definition"`
		Clustered  bool   `json:"clustered"`
		Identity   bool   `json:"identity"`
		Invalid    bool   `json:"invalid"` // its index
		Options    string `json:"options"`
		Tablespace string `json:"tablespace"`
		References string `json:"references"` // of a foreign key: an identifier
	}
	indexDetail struct {
		Definition  string `json:"definition"`
		Unique      bool   `json:"unique"`
		Partitioned bool   `json:"partitioned"`
		Name        string `json:"name"` // an identifier
		Rest        string `json:"rest"` // from the table on
		Clustered   bool   `json:"clustered"`
		Identity    bool   `json:"identity"`
		Invalid     bool   `json:"invalid"`
		Tablespace  string `json:"tablespace"`
	}
	viewDetail struct {
		Definition string `json:"definition"`
		Options    string `json:"options"`
		Method     string `json:"method"`
		Tablespace string `json:"tablespace"`
	}
	stateDetail struct { // of a trigger or a rule
		Definition string `json:"definition"`
		State      string `json:"state"`
	}
	statisticsDetail struct {
		Definition string `json:"definition"`
		Target     *int   `json:"target"`
	}
)

// detailOf reads an object's detail. An object that was not read by Read has
// none, and gives the zero T.
func detailOf[T any](o Object) T {
	var detail T
	if o.detail != nil {
		// shape.sql writes it, so it can only fail where the two do not fit.
		_ = json.Unmarshal(o.detail, &detail)
	}
	return detail
}

// words joins what is not empty.
func words(parts ...string) string {
	var out []string
	for _, p := range parts {
		if p != "" {
			out = append(out, p)
		}
	}
	return strings.Join(out, " ")
}

// when returns text if yes.
func when(yes bool, text string) string {
	if yes {
		return text
	}
	return ""
}

// clause returns before, text and after, or nothing where text is empty.
func clause(before, text, after string) string { return when(text != "", before+text+after) }

// sql returns the column as CREATE TABLE and ADD COLUMN take it. What they do not
// take is in settings.
func (c columnDetail) sql(name string) string {
	value := clause("default ", c.Expression, "")
	switch c.Generated {
	case "s":
		value = "generated always as (" + c.Expression + ") stored"
	case "v":
		value = "generated always as (" + c.Expression + ") virtual"
	}
	identity := ""
	if c.Identity != "" {
		identity = "generated " + c.Identity + " as identity"
		if c.Sequence != nil {
			identity += " (sequence name " + db.Quoted(c.Sequence.Name) + " " + c.Sequence.parameters() + ")"
		}
	}
	return words(db.Quoted(name), c.Type, clause("compression ", c.Compression, ""), clause("collate ", c.Collation, ""),
		value, identity, when(c.NotNull, clause("constraint ", quotedOrNone(c.NotNullName), " ")+"not null"))
}

// sameBut reports whether CREATE TABLE says the same of two columns, but for the default.
func (c columnDetail) sameBut(other columnDetail) bool {
	c.Expression, other.Expression = "", ""
	c.NotNullName, other.NotNullName = "", ""
	return c.sql("") == other.sql("")
}

// settings returns what is said of a column in statements of its own.
func (c columnDetail) settings(table, name string) []string {
	alter := "alter table " + db.Quoted(table) + " alter column " + db.Quoted(name) + " set "
	var out []string
	if c.Storage != "" {
		out = append(out, alter+"storage "+c.Storage)
	}
	if c.Statistics != nil {
		out = append(out, alter+"statistics "+strconv.Itoa(*c.Statistics))
	}
	if c.Options != "" {
		out = append(out, alter+"("+c.Options+")")
	}
	return out
}

// parameters returns all of a sequence's parameters: what a default would be
// depends on the others.
func (s sequenceDetail) parameters() string {
	return words("increment by "+s.Increment, "minvalue "+s.Min, "maxvalue "+s.Max, "start with "+s.Start, "cache "+
		s.Cache, when(s.Cycle, "cycle"))
}

func (s sequenceDetail) sql(name string) string {
	return words("create", when(s.Unlogged, "unlogged"), "sequence", db.Quoted(name), "as", s.As, s.parameters())
}

func (v viewDetail) sql(kind Kind, name string) string {
	return words("create", string(kind), db.Quoted(name), clause("using ", quotedOrNone(v.Method), ""),
		clause("with (", v.Options, ")"),
		clause("tablespace ", quotedOrNone(v.Tablespace), ""), "as", strings.TrimSuffix(strings.TrimSpace(v.Definition), ";"))
}

func quotedOrNone(name string) string {
	if name == "" {
		return ""
	}
	return db.Quoted(name)
}
