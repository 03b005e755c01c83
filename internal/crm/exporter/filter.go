package exporter

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/crmctl/crmctl/internal/db"
)

// Filter says which rows are meant; the zero Filter means all.
type Filter struct {
	Since    time.Time // contacts and conversations changed since then, messages made since then
	Search   string    // contacts whose fields hold it; messages by the words of their text
	Metadata string    // a JSON object that the metadata of a contact contains
	Status   []string  // of a conversation
	Contact  string    // the address of the contact whose conversations or messages they are
	Limit    int64     // rows of each tenant, 0 for all
}

// FilterError says that a table has not what a filter asks for.
type FilterError struct {
	Schema, Table, Column string
}

func (e *FilterError) Error() string {
	return fmt.Sprintf("table %s of schema %s has no column %s, which the filter needs", e.Table, e.Schema, e.Column)
}

// conditions are a filter in SQL. COPY takes no parameters, so its values are settings of the
// transaction: the text of a statement stays with the server, and may be an address. On a
// cluster, whose other nodes do not know the setting, they are literals.
type conditions struct {
	spread   bool // on a cluster
	clauses  []func(named names) string
	settings [][2]string
	needs    []string // columns
	tables   []string // that are read beside the table
	limit    int64
}

// newConditions returns the conditions for a table; spread tells that it is on a cluster.
func newConditions(table Table, f Filter, spread bool) *conditions {
	c := &conditions{limit: f.Limit, spread: spread}
	if !f.Since.IsZero() {
		column := "updated_at"
		if table == Messages {
			column = "created_at"
		}
		c.add("c."+column+" operator(pg_catalog.>=) "+c.value("since", f.Since.UTC().Format(time.RFC3339Nano))+
			"::timestamp with time zone", column)
	}
	if f.Search != "" && table == Messages {
		c.add("pg_catalog.to_tsvector('pg_catalog.english'::pg_catalog.regconfig, c.content) operator(pg_catalog.@@) "+
			"pg_catalog.websearch_to_tsquery('pg_catalog.english'::pg_catalog.regconfig, "+c.value("search", f.Search)+")",
			"content")
	}
	if f.Search != "" && table == Contacts {
		pattern := "%" + strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(f.Search) + "%"
		like := " operator(pg_catalog.~~*) " + c.value("search", pattern)
		c.add("(c.email"+like+" or c.phone"+like+" or c.name"+like+" or c.company"+like+")", "email", "phone", "name",
			"company")
	}
	if f.Metadata != "" {
		c.add("c.metadata operator(pg_catalog.@>) "+c.value("metadata", f.Metadata)+"::pg_catalog.jsonb", "metadata")
	}
	if len(f.Status) > 0 {
		c.add("c.status operator(pg_catalog.=) any (pg_catalog.string_to_array("+
			c.value("status", strings.Join(f.Status, ","))+", ','))", "status")
	}
	if f.Contact != "" {
		c.addContact(table, strings.ToLower(strings.TrimSpace(f.Contact)))
	}
	return c
}

// addContact adds whose conversations or messages they are.
func (c *conditions) addContact(table Table, address string) {
	value := c.value("contact", address)
	c.tables = append(c.tables, string(Contacts))
	column := "contact_id"
	if table == Messages {
		column = "conversation_id"
		c.tables = append(c.tables, string(Conversations))
	}
	c.needs = append(c.needs, column)
	c.clauses = append(c.clauses, func(named names) string {
		ids := "select p.id from " + named("contacts") + " p where p.email operator(pg_catalog.=) " + value
		if table == Messages {
			ids = "select v.id from " + named("conversations") + " v where v.contact_id operator(pg_catalog.=) " +
				"any (" + ids + ")"
		}
		return "c." + column + " operator(pg_catalog.=) any (" + ids + ")"
	})
}

func (c *conditions) add(clause string, columns ...string) {
	c.needs = append(c.needs, columns...)
	c.clauses = append(c.clauses, func(names) string { return clause })
}

// value keeps a value, and returns the expression that has it.
func (c *conditions) value(name, value string) string {
	if c.spread {
		return db.Literal(value) + "::pg_catalog.text"
	}
	name = "crmctl.export_" + name
	c.settings = append(c.settings, [2]string{name, value})
	return "pg_catalog.current_setting('" + name + "')"
}

// check reports what of the conditions a table cannot have.
func (c *conditions) check(schema db.Schema, table Table, s *shape) error {
	for _, name := range c.needs {
		if !slices.Contains(s.Names, name) {
			return &FilterError{Schema: schema.String(), Table: string(table), Column: name}
		}
	}
	return nil
}

// queue adds the values to a transaction.
func (c *conditions) queue(p *db.Pipeline) {
	for _, s := range c.settings {
		p.Exec("select pg_catalog.set_config($1, $2, true)", s[0], s[1])
	}
}

// where returns what comes behind the table.
func (c *conditions) where(named names) string {
	list := make([]string, len(c.clauses))
	for i, clause := range c.clauses {
		list[i] = clause(named)
	}
	text := ""
	if len(list) > 0 {
		text = " where " + strings.Join(list, " and ")
	}
	if c.limit > 0 {
		text += " limit " + strconv.FormatInt(c.limit, 10)
	}
	return text
}
