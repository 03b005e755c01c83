package mention

import "strings"

// findQuery returns the query of Find. Its parameters are a pattern for texts ($1), a
// part of these in lower case ($2), a pattern for expressions ($3), what the schema is
// called now ($4), the number of answers ($5), and a simpler pattern for expressions ($6).
// Catalogs that only newer servers
// have are met by their dependencies alone.
//
// firstObject leaves out what initdb made.
func findQuery() string {
	const firstObject = "16384"
	text := func(expression string) string {
		return "(pg_catalog.strpos(pg_catalog.lower(" + expression + "), $2) > 0 and " + expression + " ~* $1)"
	}
	// A look behind is slow: only what has the bytes at all is looked at closely.
	tree := func(expression string) string {
		return "(pg_catalog.strpos(" + expression + "::text, ':constbyval false') > 0 and " + expression +
			"::text ~ $6 and " + expression + "::text ~ $3)"
	}
	options := func(array string) string { return text("pg_catalog.array_to_string(" + array + ", E'\\n')") }
	object := func(class, oid, where, from, condition string) string {
		return "select pg_catalog.pg_describe_object('pg_catalog." + class + "'::pg_catalog.regclass, " + oid +
			", 0) as object, '" + where + "' as place\n\t\tfrom " +
			from + "\n\t\twhere " + condition
	}
	parts := []string{
		object("pg_proc", "p.oid", "its text", "pg_catalog.pg_proc p join pg_catalog.pg_language l on l.oid = p.prolang",
			"p.oid >= "+firstObject+" and l.lanname not in ('internal', 'c') and "+text("p.prosrc")),
		object("pg_proc", "p.oid", "its settings", "pg_catalog.pg_proc p", "p.proconfig is not null and "+
			options("p.proconfig")),
		object("pg_proc", "p.oid", "a constant in it", "pg_catalog.pg_proc p",
			"p.oid >= "+firstObject+" and (p.proargdefaults is not null and "+tree("p.proargdefaults")+
				" or p.prosqlbody is not null and "+tree("p.prosqlbody")+")"),
		object("pg_rewrite", "r.oid", "a constant in it", "pg_catalog.pg_rewrite r",
			"r.oid >= "+firstObject+" and ("+tree("r.ev_action")+" or "+tree("r.ev_qual")+")"),
		object("pg_attrdef", "d.oid", "a constant in it", "pg_catalog.pg_attrdef d", tree("d.adbin")),
		object("pg_constraint", "k.oid", "a constant in it", "pg_catalog.pg_constraint k",
			"k.conrelid <> 0 and k.conbin is not null and "+tree("k.conbin")),
		`select pg_catalog.format('constraint %I on %s', k.conname,
			pg_catalog.pg_describe_object('pg_catalog.pg_type'::pg_catalog.regclass, k.contypid, 0)), 'a constant in it'
		from pg_catalog.pg_constraint k
		where k.contypid <> 0 and k.conbin is not null and ` + tree("k.conbin"),
		object("pg_policy", "o.oid", "a constant in it", "pg_catalog.pg_policy o", tree("o.polqual")+" or "+
			tree("o.polwithcheck")),
		object("pg_class", "x.indexrelid", "a constant in it", "pg_catalog.pg_index x",
			"x.indexprs is not null and "+tree("x.indexprs")+" or x.indpred is not null and "+tree("x.indpred")),
		object("pg_trigger", "g.oid", "a constant in it", "pg_catalog.pg_trigger g",
			"not g.tgisinternal and (g.tgqual is not null and "+tree("g.tgqual")+" or g.tgnargs > 0 and "+
				text(`pg_catalog.replace(pg_catalog.encode(g.tgargs, 'escape'), '\000', ' ')`)+")"),
		object("pg_class", "c.oid", "its partition bound", "pg_catalog.pg_class c", "c.relpartbound is not null and "+
			tree("c.relpartbound")),
		object("pg_class", "c.partrelid", "its partition key", "pg_catalog.pg_partitioned_table c",
			"c.partexprs is not null and "+tree("c.partexprs")),
		object("pg_statistic_ext", "s.oid", "a constant in it", "pg_catalog.pg_statistic_ext s",
			"s.stxexprs is not null and "+tree("s.stxexprs")),
		object("pg_type", "y.oid", "its default", "pg_catalog.pg_type y", "y.typdefaultbin is not null and "+
			tree("y.typdefaultbin")),
		object("pg_class", "f.ftrelid", "its options", "pg_catalog.pg_foreign_table f", options("f.ftoptions")),
		object("pg_foreign_server", "f.oid", "its options", "pg_catalog.pg_foreign_server f", options("f.srvoptions")),
		object("pg_class", "a.attrelid", "the options of a column", "pg_catalog.pg_attribute a",
			"a.attfdwoptions is not null and "+options("a.attfdwoptions")),
		object("pg_ts_dict", "d.oid", "its options", "pg_catalog.pg_ts_dict d", "d.oid >= "+firstObject+
			" and d.dictinitoption is not null and "+text("d.dictinitoption")),
		settings(options("o.setconfig")),
		replicated,
	}
	return "with found as (\n\t\t" + strings.Join(parts, "\n\t\tunion\n\t\t") + `
	)
	select coalesce(object, 'something that was dropped just now') as object, place as where
	from found order by 1, 2 limit $5`
}

// settings finds what is set for roles and databases, as far as it counts here.
func settings(condition string) string {
	return `select pg_catalog.concat_ws(' in ', case when o.setrole <> 0 then pg_catalog.format('role %s',
		pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(o.setrole))) end,
			case when o.setdatabase <> 0 then 'database ' || pg_catalog.quote_ident(pg_catalog.current_database())
				end), 'its settings'
		from pg_catalog.pg_db_role_setting o
		where o.setdatabase in (0, (select b.oid from pg_catalog.pg_database b
			where b.datname = pg_catalog.current_database())) and ` + condition
}

// replicated finds what other servers know by name: the tables of the schema, or all
// of it, in publications (6237 is pg_publication_namespace, since 15) and in
// subscriptions. A publication of all tables names none.
const replicated = `select pg_catalog.pg_describe_object(d.classid, d.objid, 0), 'its subscribers go by the name'
		from pg_catalog.pg_depend d join pg_catalog.pg_namespace n on n.nspname = $4::text::name
		where d.classid = 6237 and d.refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass and d.refobjid = n.oid
		union
		select pg_catalog.pg_describe_object('pg_catalog.pg_publication_rel'::pg_catalog.regclass, r.oid, 0),
			'its subscribers go by the name'
		from pg_catalog.pg_publication_rel r join pg_catalog.pg_class c on c.oid = r.prrelid
			join pg_catalog.pg_namespace n on n.oid = c.relnamespace
		where n.nspname = $4::text::name
		union
		select 'subscription to ' || pg_catalog.pg_describe_object('pg_catalog.pg_class'::pg_catalog.regclass, c.oid, 0),
			'its publisher goes by the name'
		from pg_catalog.pg_subscription_rel r join pg_catalog.pg_class c on c.oid = r.srrelid
			join pg_catalog.pg_namespace n on n.oid = c.relnamespace
		where n.nspname = $4::text::name`
