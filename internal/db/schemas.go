package db

// pg_stat_statements keeps an entry for each text of a statement, and a schema's name is
// part of it. A DO block whose text is the same for all is one entry; the names stand in a
// setting.

// eachSchema returns a block that runs a statement for each of the schemas of queueSchemas,
// whose name is %I in it.
func eachSchema(sql string) string {
	return `do $crmctl$ declare home pg_catalog.text; begin
		foreach home in array pg_catalog.current_setting('crmctl.schemas')::pg_catalog.text[] loop
			execute pg_catalog.format('` + sql + `', home);
		end loop; end $crmctl$`
}

// schemas adds a statement for each of some schemas. A distributed engine is sent the
// statements themselves, of which it takes note.
func (p *Pipeline) schemas(names []string, before, after string) {
	p.add(step{statement: Statement{SQL: `select pg_catalog.set_config('crmctl.schemas',
		$1::pg_catalog.text[]::pg_catalog.text, true)`}, block: true}, []any{names})
	p.add(step{statement: Statement{SQL: eachSchema(before + "%I" + after)}, block: true}, nil)
	for _, name := range names {
		p.add(step{statement: Statement{SQL: before + Quoted(name) + after}, spelled: true}, nil)
	}
}

// CreateSchema adds the making of a schema that is to hold a tenant, on one of the nodes
// where there are several. Whether they spread schemas is a setting, which is off in a new database.
func (p *Pipeline) CreateSchema(name string) {
	p.distributed("set local citus.enable_schema_based_sharding = on")
	p.schemas([]string{name}, "create schema ", "")
}

// DropSchemas adds the drop of schemas, with everything in them and what depends on that.
// One that is not there is none.
func (p *Pipeline) DropSchemas(schemas ...Schema) {
	names := make([]string, len(schemas))
	for i, s := range schemas {
		names[i] = s.name
	}
	p.schemas(names, "drop schema if exists ", " cascade")
}
