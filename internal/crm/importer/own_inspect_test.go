package importer

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/crm/crmtest"
)

// An inspection for an application's table says what fills its columns, what is missing,
// and which values they do not take.
func TestInspectForATable(t *testing.T) {
	t.Parallel()
	conn, schema := crmtest.Tenant(t)
	if table, err := ReadTable(t.Context(), conn, schema); err != nil || table.Columns != nil {
		t.Errorf("a table of ours: %+v, %v", table, err)
	}
	crmtest.Exec(t, conn, schema, "drop table contacts cascade", "create type mood as enum ('new', 'vip')",
		`create table contacts (id bigserial primary key, name varchar(20), email varchar unique, phone_number varchar,
			account_id int not null, mood mood not null default 'new', age int check (age > 0), created_at timestamp not null,
			updated_at timestamp not null)`)
	table, err := ReadTable(t.Context(), conn, schema)
	if err != nil {
		t.Fatal(err)
	}
	const file = "Name,Email,Phone,Mood,Age,City,Customer\nAnn,a@ex.org,1,vip,30,Rome,7\nBob,b@ex.org,,odd,,,7\n" +
		"Cy,c@ex.org,,,x,,7\nDee,,,,,,7\n"
	in, err := Inspect(strings.NewReader(file), Options{Table: table})
	var asked *MappingError
	if !errors.As(err, &asked) || !strings.Contains(err.Error(), "account_id (integer)") || len(in.Table) != 9 ||
		!in.Table[4].Missing() {
		t.Fatalf("a column that is needed: %v, %+v", err, in.Table)
	}
	in, err = Inspect(strings.NewReader(file), Options{Table: table, Map: []string{"Customer=account_id"}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range in.Table {
		got = append(got, fmt.Sprintf("%s %s %v%s", c.Name, c.Type, c.From, c.Fills))
	}
	crmtest.SameLines(t, "columns", got, []string{
		"id bigint []", "name character varying(20) [Name]", "email character varying [Email]",
		"phone_number character varying [Phone]", "account_id integer [Customer]", "mood " + schema.String() + ".mood [Mood]",
		"age integer [Age]", "created_at timestamp without time zone []the time of the import",
		"updated_at timestamp without time zone []the time of the import",
	})
	if codes := fmt.Sprint(in.RejectedByCode, in.NoPlace, in.Table[6].Checks); codes !=
		"[{bad_value 2} {no_key 1}] [City] [CHECK ((age > 0))]" {
		t.Errorf("got %s", codes)
	}
	if in, err = Inspect(strings.NewReader(file), Options{Table: table, Key: KeyPhone,
		Map: []string{"Customer=account_id"}}); err != nil ||
		fmt.Sprint(in.RejectedByCode) != "[{no_key 3}]" {
		t.Errorf("by phone: %v, %v", in.RejectedByCode, err)
	}
}
