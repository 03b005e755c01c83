package tenantsql_test

import (
	"math/big"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/tenantsql"
)

// compute aggregates one column; "null" is null.
func compute(t testing.TB, function tenantsql.Function, values ...string) string {
	t.Helper()
	a := tenantsql.NewAggregate(function, []tenantsql.Column{{Name: "text", OID: pgtype.TextOID},
		{Name: "n", OID: pgtype.NumericOID}})
	for i, v := range values {
		row := tenantsql.Row{Tenant: registry.Tenant{Slug: string(rune('a' + i/2))},
			Values: []tenantsql.Value{{Text: "x"}, {Text: v, Null: v == "null"}}}
		if err := a.Add(row); err != nil {
			t.Fatal(err)
		}
	}
	result := a.Result()
	last := result[len(result)-1]
	if last.Null {
		return "null"
	}
	return last.Text
}

func TestAggregate(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		function tenantsql.Function
		values   []string
		want     string
	}{
		{tenantsql.Sum, []string{"1", "2", "null", "3"}, "6"},
		{tenantsql.Sum, []string{"0.1", "0.2"}, "0.3"}, // as floating point it is not
		{tenantsql.Sum, []string{"99999999999999999999999999999999.00", "0.01"}, "99999999999999999999999999999999.01"},
		{tenantsql.Sum, []string{"1e+300", "1", "-1e+300"}, "1"},
		{tenantsql.Sum, []string{"1e-05", "2.5"}, "2.50001"},
		{tenantsql.Sum, []string{"-0.001"}, "-0.001"},
		{tenantsql.Sum, []string{"null"}, "null"},
		{tenantsql.Sum, nil, "null"},
		{tenantsql.Sum, []string{"NaN", "1"}, "NaN"},
		{tenantsql.Sum, []string{"Infinity", "-Infinity"}, "NaN"},
		{tenantsql.Sum, []string{"-Infinity", "5"}, "-Infinity"},
		{tenantsql.Avg, []string{"1", "2", "null"}, "1.5"},
		{tenantsql.Avg, []string{"1", "1", "2"}, "1.3333333333333333"},
		{tenantsql.Avg, []string{"10", "20"}, "15"},
		{tenantsql.Min, []string{"3", "-2.50", "null", "NaN"}, "-2.50"},
		{tenantsql.Min, []string{"NaN"}, "NaN"},
		{tenantsql.Max, []string{"3", "10", "9.99"}, "10"},
		{tenantsql.Max, []string{"-3", "-10"}, "-3"},
		{tenantsql.Max, []string{"1", "NaN", "Infinity"}, "NaN"},
		{tenantsql.Count, []string{"1", "null", "3"}, "2"},
	} {
		if got := compute(t, c.function, c.values...); got != c.want {
			t.Errorf("%s of %v is %s, want %s", c.function, c.values, got, c.want)
		}
	}
}

// TestAggregateAgreesWithPostgreSQL lets the server compute the same.
func TestAggregateAgreesWithPostgreSQL(t *testing.T) {
	t.Parallel()
	f := schemas(t, 3)
	f.Exec(t, "create table t0001.x as select round((random() * 1e12 - 5e11)::numeric, (random() * 9)::int) as n from "+
		"generate_series(1, 500)",
		"create table t0002.x as select -n * 3 as n from t0001.x", "create table t0003.x (n numeric)")
	for _, function := range []tenantsql.Function{tenantsql.Sum, tenantsql.Min, tenantsql.Max} {
		rows, columns, _ := f.run(t, "select n from x", tenantsql.Options{})
		a := tenantsql.NewAggregate(function, columns)
		for _, row := range rows {
			tenant, n, _ := strings.Cut(row, "|")
			if err := a.Add(tenantsql.Row{Tenant: registry.Tenant{Slug: tenant},
				Values: []tenantsql.Value{{Text: n}}}); err != nil {
				t.Fatal(err)
			}
		}
		var want string
		f.Scan(t, []any{&want}, "select "+string(function)+"(n)::text from (table t0001.x union all table t0002.x) u")
		if got := a.Result()[0].Text; got != want {
			t.Errorf("%s is %s, PostgreSQL says %s", function, got, want)
		}
		if a.Rows() != 1000 || a.Tenants() != 2 {
			t.Errorf("%d rows of %d tenants", a.Rows(), a.Tenants())
		}
	}
}

// FuzzSum compares sums with fractions, which are exact too.
func FuzzSum(f *testing.F) {
	f.Add("1.5", "-0.25", "1e+20")
	f.Add("9007199254740993", "0", "-1e-7")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		want := new(big.Rat)
		agg := tenantsql.NewAggregate(tenantsql.Sum, []tenantsql.Column{{OID: pgtype.NumericOID}})
		for _, text := range []string{a, b, c} {
			if len(text) > 40 || strings.ContainsAny(text, "/_pPxXoObBE+") && !strings.Contains(text, "e+") {
				t.Skip()
			}
			if err := agg.Add(tenantsql.Row{Values: []tenantsql.Value{{Text: text}}}); err != nil {
				t.Skip()
			}
			n, ok := new(big.Rat).SetString(text)
			if !ok {
				t.Skip()
			}
			want.Add(want, n)
		}
		got, ok := new(big.Rat).SetString(agg.Result()[0].Text)
		if !ok || got.Cmp(want) != 0 {
			t.Errorf("%s + %s + %s = %s, want %s", a, b, c, agg.Result()[0].Text, want)
		}
	})
}
