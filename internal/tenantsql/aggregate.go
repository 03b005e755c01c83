package tenantsql

import (
	"cmp"
	"fmt"
	"math/big"
	"strconv"
	"strings"
)

// Function is what an Aggregate computes of each column.
type Function string

// The functions. Each takes all rows of all tenants alike: Avg is the sum of the
// values by their number, so a tenant with twice the rows weighs twice, and the
// average of averages is what it is called, not the average of what is below them.
// As in SQL, nulls are left out, and of nothing there is no sum.
const (
	Sum   Function = "sum"
	Avg   Function = "avg"
	Min   Function = "min"
	Max   Function = "max"
	Count Function = "count" // of the values that are not null
)

// Functions returns every function.
func Functions() []Function { return []Function{Sum, Avg, Min, Max, Count} }

// avgDigits is how many decimal places an average has at the most, unless its values
// have more.
const avgDigits = 16

// Aggregate adds up the rows of all tenants into one. It is exact: numbers of the type
// numeric are added as such, floating-point numbers as the decimals that PostgreSQL
// writes for them.
type Aggregate struct {
	function Function
	columns  []total
	tenants  int
	rows     int64
	last     string // slug of the last row's tenant
}

// total is what an Aggregate knows of one column.
type total struct {
	Column

	at     int // in the rows
	count  int64
	sum    decimal
	scale  int // most decimal places of a value
	best   *decimal
	text   string // of best, as it came
	nan    bool
	inf    [2]bool // -Infinity, Infinity
	finite bool
}

// NewAggregate takes the columns of the result. Only numbers are aggregated, other
// columns are left out; everything can be counted.
func NewAggregate(function Function, columns []Column) *Aggregate {
	a := &Aggregate{function: function}
	for i, c := range columns {
		if function == Count || c.Kind() == Number {
			a.columns = append(a.columns, total{Column: c, at: i})
		}
	}
	return a
}

// Columns returns those that are aggregated, with the types they came with.
func (a *Aggregate) Columns() []Column {
	out := make([]Column, len(a.columns))
	for i, c := range a.columns {
		out[i] = c.Column
	}
	return out
}

// Add takes a row. The rows of a tenant come one after another.
func (a *Aggregate) Add(row Row) error {
	if a.rows == 0 || row.Tenant.Slug != a.last {
		a.tenants++
		a.last = row.Tenant.Slug
	}
	a.rows++
	for i := range a.columns {
		c := &a.columns[i]
		v := row.Values[c.at]
		if v.Null {
			continue
		}
		c.count++
		if a.function == Count {
			continue
		}
		if err := c.add(a.function, v.Text); err != nil {
			return fmt.Errorf("tenant %q: column %q: %w", row.Tenant.Slug, c.Name, err)
		}
	}
	return nil
}

// Tenants and Rows return how many there were.
func (a *Aggregate) Tenants() int { return a.tenants }

// Rows returns the number of rows.
func (a *Aggregate) Rows() int64 { return a.rows }

// Result returns a value for each of Columns.
func (a *Aggregate) Result() []Value {
	out := make([]Value, len(a.columns))
	for i, c := range a.columns {
		text, ok := c.result(a.function)
		out[i] = Value{Text: text, Null: !ok}
	}
	return out
}

func (t *total) add(function Function, text string) error {
	switch text {
	case "NaN":
		t.nan = true
		return nil
	case "Infinity":
		t.inf[1] = true
		return nil
	case "-Infinity":
		t.inf[0] = true
		return nil
	}
	d, err := parseDecimal(text)
	if err != nil {
		return err
	}
	t.finite = true
	switch function {
	case Min, Max:
		c := 0
		if t.best != nil {
			c = d.compare(*t.best)
		}
		if t.best == nil || function == Min && c < 0 || function == Max && c > 0 {
			t.best, t.text = &d, text
		}
	case Sum, Avg:
		t.scale = max(t.scale, d.scale)
		t.sum.add(d)
	case Count:
	}
	return nil
}

// result follows PostgreSQL: NaN is greater than Infinity, and swallows a sum.
func (t *total) result(function Function) (string, bool) {
	switch {
	case function == Count:
		return strconv.FormatInt(t.count, 10), true
	case t.count == 0:
		return "", false
	case function == Min:
		return t.least(), true
	case function == Max:
		return t.greatest(), true
	case t.nan || t.inf[0] && t.inf[1]:
		return "NaN", true
	case t.inf[0]:
		return "-Infinity", true
	case t.inf[1]:
		return "Infinity", true
	case function == Avg:
		return t.average(), true
	}
	return t.sum.String(), true
}

func (t *total) least() string {
	switch {
	case t.inf[0]:
		return "-Infinity"
	case t.finite:
		return t.text
	case t.inf[1]:
		return "Infinity"
	}
	return "NaN"
}

func (t *total) greatest() string {
	switch {
	case t.nan:
		return "NaN"
	case t.inf[1]:
		return "Infinity"
	case t.finite:
		return t.text
	}
	return "-Infinity"
}

func (t *total) average() string {
	avg := new(big.Rat).SetFrac(&t.sum.unscaled, power10(t.sum.scale))
	avg.Quo(avg, new(big.Rat).SetInt64(t.count))
	text := avg.FloatString(max(avgDigits, t.scale))
	return strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
}

// decimal is unscaled / 10^scale. Adding decimals needs no common divisors, unlike
// adding fractions. The zero decimal is 0.
type decimal struct {
	unscaled big.Int
	scale    int // 0 or more
}

// maxScale bounds the decimal places that an exponent may ask for: numeric has
// 16,383, floating-point numbers fewer.
const maxScale = 20_000

// parseDecimal reads a number as PostgreSQL writes it: 12, -0.50, 1e+300.
func parseDecimal(text string) (decimal, error) {
	mantissa, exponent, hasExponent := strings.Cut(text, "e")
	shift := 0
	if hasExponent {
		var err error
		if shift, err = strconv.Atoi(exponent); err != nil || shift > maxScale || shift < -maxScale {
			return decimal{}, fmt.Errorf("%q is not a number", text)
		}
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	var d decimal
	if _, ok := d.unscaled.SetString(whole+fraction, 10); !ok || strings.ContainsAny(mantissa, "_+") {
		return decimal{}, fmt.Errorf("%q is not a number", text)
	}
	d.scale = len(fraction) - shift
	if d.scale < 0 {
		d.unscaled.Mul(&d.unscaled, power10(-d.scale))
		d.scale = 0
	}
	return d, nil
}

func power10(n int) *big.Int { return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil) }

// rescale gives d more decimal places, without changing its value.
func (d *decimal) rescale(scale int) {
	if scale > d.scale {
		d.unscaled.Mul(&d.unscaled, power10(scale-d.scale))
		d.scale = scale
	}
}

func (d *decimal) add(other decimal) {
	other = decimal{unscaled: *new(big.Int).Set(&other.unscaled), scale: other.scale}
	d.rescale(other.scale)
	other.rescale(d.scale)
	d.unscaled.Add(&d.unscaled, &other.unscaled)
}

func (d decimal) compare(other decimal) int {
	if s := cmp.Compare(d.unscaled.Sign(), other.unscaled.Sign()); s != 0 {
		return s
	}
	a := new(big.Int).Mul(&d.unscaled, power10(max(0, other.scale-d.scale)))
	b := new(big.Int).Mul(&other.unscaled, power10(max(0, d.scale-other.scale)))
	return a.Cmp(b)
}

// String returns the decimal with all its places, as PostgreSQL does.
func (d decimal) String() string {
	digits := new(big.Int).Abs(&d.unscaled).String()
	if d.scale > 0 {
		if len(digits) <= d.scale {
			digits = strings.Repeat("0", d.scale-len(digits)+1) + digits
		}
		digits = digits[:len(digits)-d.scale] + "." + digits[len(digits)-d.scale:]
	}
	if d.unscaled.Sign() < 0 {
		return "-" + digits
	}
	return digits
}
