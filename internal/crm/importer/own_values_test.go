package importer

import (
	"encoding/csv"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/crm/crmtest"
)

// A value that the application's table does not take rejects its row, with line, column and
// reason, and the other rows go in; a dry run foretells all but what keys and triggers say.
func TestValuesThatATableRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		table   []string
		file    string
		o       Options
		want    string
		rejects string // line|column|code|message
		unseen  int64  // rejects that a dry run does not foresee
		sql     string
		rows    []string
	}{
		{
			name: "types, checks and lengths",
			table: []string{
				"create type mood as enum ('new', 'vip', 'it''s over')",
				"create domain plz as text check (value ~ '^[0-9]{5}$')",
				`create table contacts (id serial primary key, name varchar(10), email varchar(255) unique,
					phone_number varchar(20),
					age smallint check (age > 0), score numeric(5,2), blocked boolean default false not null, birthday date, zip plz,
					mood mood not null default 'new', ref uuid, extra jsonb, tags text[], constraint polite check (name <> 'Bad'))`,
			},
			file: "Name,Email,Phone,Age,Score,Blocked,Birthday,Zip,Mood,Ref,Extra,Tags\n" +
				"Ann,a@ex.org,0171 1,30,1.5,yes,1990-02-03,12345,vip,6f9619ff-8b86-d011-b42d-00c04fc964ff,\"{\"\"a\"\":1}\",\"{a,b}\"\n" +
				"Bob,b@ex.org,,thirty,,,,,,,,\n" +
				"Cy,c@ex.org,,-3,,,,,,,,\n" +
				"Dee,d@ex.org,,,1000,,,,,,,\n" +
				"Eve,e@ex.org,,,,maybe,,,,,,\n" +
				"Fay,f@ex.org,,,,,03/04/1990,,,,,\n" +
				"Gus,g@ex.org,,,,,,1234,,,,\n" +
				"Hal,h@ex.org,,,,,,,VIP,,,\n" +
				"Ike,i@ex.org,,,,,,,,12,,\n" +
				"Jo,j@ex.org,,,,,,,,,{a},\n" +
				"Kate the Great,k@ex.org,,,,,,,,,,\n" +
				"Bad,l@ex.org,,,,,,,,,,\n" +
				"Max,m@ex.org,,99999,,,,,,,,\n" +
				"Ned,n@ex.org,,,,,,,,,,\"a, b\"\n" +
				"Oz,o@ex.org,0171 123456789012345678,,,,,,it's over,,,\n" +
				"Pat,p@ex.org,,,,,,,it's over,,,\n",
			want: "read 16 inserted 2 updated 0 unchanged 0 rejected 14",
			rejects: `3|Age|bad_value|"thirty" is no whole number, as the column age (smallint) of the table needs
5|Score|bad_value|"1000" is too large a number, as the column score (numeric(5,2)) of the table needs
6|Blocked|bad_value|"maybe" is neither true nor false, as the column blocked (boolean) of the table needs
7|Birthday|bad_value|"03/04/1990" is no date that can be read in one way only, like 2026-11-23, as the column birthday (date) of the table needs
9|Mood|bad_value|"VIP" is none of new, vip, it's over, as the column mood (SCHEMA.mood) of the table needs
10|Ref|bad_value|"12" is no UUID, as the column ref (uuid) of the table needs
11|Extra|bad_value|"{a}" is no JSON, as the column extra (jsonb) of the table needs
12|Name|value_too_long|"Kate the Great" has 14 characters, not at most 10, as the column name (character varying(10)) of the table needs
14|Age|bad_value|"99999" is too large a number, as the column age (smallint) of the table needs
15|Tags|bad_value|"a, b" is no list like {a,b}, as the column tags (text[]) of the table needs
16|Phone|value_too_long|"0171 123456789012345678" has 23 characters, not at most 20, as the column phone_number (character varying(20)) of the table needs
4|Age|refused|the table refuses it: new row for relation "contacts" violates check constraint "contacts_age_check" (23514)
8|Zip|refused|the table refuses it: value for domain plz violates check constraint "plz_check" (23514)
13|Name|refused|the table refuses it: new row for relation "contacts" violates check constraint "polite" (23514)`,
			sql: "select name, phone_number, age, score::text, blocked, birthday::text, zip::text, mood::text, extra::text, " +
				"tags::text from contacts " +
				"order by 1",
			rows: []string{`Ann|0171 1|30|1.50|true|1990-02-03|12345|vip|{"a": 1}|{a,b}`, "Pat||||false|||it's over||"},
		},
		{
			name: "keys and triggers",
			table: []string{
				"create table firms (id int primary key)", "insert into firms values (1)",
				`create table contacts ("Id" uuid primary key default gen_random_uuid(), "Email" text not null, "FirstName" text,
					"Code" text unique, "FirmId" int references firms deferrable initially deferred, "CreatedAt" timestamptz not null,
					"UpdatedAt" timestamptz not null)`,
				`create function nobody() returns trigger language plpgsql as $$ begin
					if new."FirstName" = 'Nobody' then raise 'nobody is nobody'; end if; return new; end $$`,
				"create trigger nobody before insert or update on contacts for each row execute function nobody()",
				`insert into contacts ("Email", "FirstName", "Code", "CreatedAt", "UpdatedAt")
					values ('z@ex.org', 'Zoe', 'Z', '2020-01-01', '2020-01-01')`,
			},
			file: "First name,E-mail,Code,Firm ID\nAnn,a@ex.org,A,1\nBob,b@ex.org,A,\nCy,c@ex.org,,2\nNobody,d@ex.org,,\n" +
				"Nobody,z@ex.org,,\nEve,e@ex.org,Z,\nFay,f@ex.org,F,\n",
			want: "read 7 inserted 2 updated 0 unchanged 0 rejected 5", unseen: 5,
			rejects: `3|Code|refused|the table refuses it: duplicate key value violates unique constraint "contacts_Code_key" (23505); Key ("Code")=(A) already exists.
4|Firm ID|refused|the table refuses it: insert or update on table "contacts" violates foreign key constraint "contacts_FirmId_fkey" (23503); Key (FirmId)=(2) is not present in table "firms".
5||refused|the table refuses it: nobody is nobody (P0001)
6||refused|the table refuses it: nobody is nobody (P0001)
7|Code|refused|the table refuses it: duplicate key value violates unique constraint "contacts_Code_key" (23505); Key ("Code")=(Z) already exists.`,
			sql:  `select "Email", "FirstName", "Code", "FirmId" from contacts order by 1`,
			rows: []string{"a@ex.org|Ann|A|1", "f@ex.org|Fay|F|", "z@ex.org|Zoe|Z|"},
		},
		{
			name: "a value that is needed, and a default that stands in",
			table: []string{`create table contacts (id bigint generated always as identity primary key, first_name varchar,
				last_name varchar not null, phone_number varchar not null unique, stage text not null default 'new'
				check (stage in ('new', 'old')), note text not null default '', n numeric not null default -1)`},
			o:    Options{Key: KeyPhone},
			file: "First Name,Last Name,Mobile,Stage,Note,N\nAnn,Lee,1,,,\nBob,,2,old,x,2\nCy,No,3,odd,,\n",
			want: "read 3 inserted 1 updated 0 unchanged 0 rejected 2",
			rejects: `3||missing_value|the column last_name of the table needs a value, and the row has none
4|Stage|refused|the table refuses it: new row for relation "contacts" violates check constraint "contacts_stage_check" (23514)`,
			sql:  "select first_name, last_name, phone_number, stage, note, n::text from contacts",
			rows: []string{"Ann|Lee|1|new||-1"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			conn, schema := crmtest.Tenant(t)
			crmtest.Exec(t, conn, schema, append([]string{"drop table contacts cascade"}, tt.table...)...)
			o := tt.o
			o.Schema, o.RejectPath = schema, filepath.Join(t.TempDir(), "r.csv")
			dry := o
			dry.DryRun, dry.RejectPath = true, ""
			foretold := importText(t, conn, tt.file, dry)
			if foretold.Rejected+tt.unseen != int64(strings.Count(tt.rejects, "\n")+1) {
				t.Errorf("foretold %s, %v", tally(foretold), foretold.RejectedByCode)
			}
			r := importText(t, conn, tt.file, o)
			if tally(r) != tt.want {
				t.Errorf("got %s %v, want %s", tally(r), r.RejectedByCode, tt.want)
			}
			crmtest.SameLines(t, "rejects", reasons(t, r.RejectFile),
				strings.Split(strings.ReplaceAll(tt.rejects, "SCHEMA", schema.String()), "\n"))
			crmtest.SameLines(t, "contacts", crmtest.List(t, conn, schema, tt.sql), tt.rows)
		})
	}
}

// reasons returns what a reject file says of each row.
func reasons(t *testing.T, path string) []string {
	t.Helper()
	rows, err := csv.NewReader(strings.NewReader(strings.TrimPrefix(readFile(t, path), byteOrderMark))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, row := range rows[1:] {
		out = append(out, strings.Join(row[len(row)-4:], "|"))
	}
	return out
}

// A table that refuses whatever comes ends the search: by the rejects that are allowed, or
// when they are too many to be looked for.
func TestTableThatRefusesAll(t *testing.T) {
	t.Parallel()
	conn, schema := crmtest.Tenant(t)
	crmtest.Exec(t, conn, schema, "drop table contacts cascade",
		"create table contacts (id serial primary key, email text unique, check (length(email) > 100))")
	var file strings.Builder
	file.WriteString("Email\n")
	for i := range maxRefused + 100 {
		fmt.Fprintf(&file, "a%d@ex.org\n", i)
	}
	o := Options{Schema: schema, MaxRejects: 10, RejectPath: filepath.Join(t.TempDir(), "r.csv")}
	r, err := Import(t.Context(), conn, strings.NewReader(file.String()), o)
	if e, ok := errors.AsType[*TooManyRejectsError](err); !ok || e.Limit != 10 || len(reasons(t, r.RejectFile)) != 11 {
		t.Errorf("with a limit: %v, %s", err, tally(r))
	}
	o.MaxRejects = 0
	_, err = Import(t.Context(), conn, strings.NewReader(file.String()), o)
	if e, ok := errors.AsType[*RefusedError](err); !ok || !strings.Contains(e.Error(), "23514") {
		t.Errorf("without one: %v", err)
	}
	crmtest.SameLines(t, "contacts", crmtest.List(t, conn, schema, "select count(*) from contacts"), []string{"0"})
}
