package cli

import (
	"bytes"
	"encoding/json"
	"math"
	"reflect"
	"slices"
	"time"
)

// record is a row or an object as JSON has it: facts in the order of their columns.
type record []fact

type fact struct {
	name  string
	value any
}

// Ordered returns what becomes a JSON object whose names keep their order, for the rows
// of a List whose names are made by somebody else.
func Ordered(names []string, values []any) any {
	r := make(record, len(names))
	for i, name := range names {
		r[i] = fact{name, values[i]}
	}
	return r
}

// add appends a fact, unless it is optional and empty.
func (r record) add(name string, value any, optional bool) record {
	v := datum(value)
	if optional && isEmpty(v) {
		return r
	}
	return append(r, fact{name, v})
}

// MarshalJSON implements json.Marshaler.
func (r record) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, f := range r {
		if i > 0 {
			b.WriteByte(',')
		}
		name, err := MarshalJSON(f.name, "", "")
		if err != nil {
			return nil, err
		}
		value, err := MarshalJSON(f.value, "", "")
		if err != nil {
			return nil, err
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// datum returns a value as JSON has it: sizes are bytes, durations seconds, times
// RFC 3339 in UTC and null where there is none.
func datum(v any) any {
	switch v := v.(type) {
	case ByteSize:
		return int64(v)
	case Numeral:
		return json.Number(v)
	case time.Duration:
		return math.Round(v.Seconds()*1e6) / 1e6
	case Day:
		return datum(time.Time(v))
	case time.Time:
		if v.IsZero() {
			return (*time.Time)(nil)
		}
		return v.UTC()
	case *time.Time:
		if v == nil {
			return (*time.Time)(nil)
		}
		return datum(*v)
	case Styled:
		return datum(v.Value)
	case Either:
		if v.Document != nil {
			return datum(v.Document)
		}
		return datum(v.Machine)
	}
	return v
}

// isEmpty reports whether there is no value. A time that is not known is a value: null.
func isEmpty(v any) bool {
	if _, is := v.(*time.Time); is {
		return false
	}
	if v == nil {
		return true
	}
	r := reflect.ValueOf(v)
	return r.IsZero() || (r.Kind() == reflect.Slice || r.Kind() == reflect.Map) && r.Len() == 0
}

// Documents returns rows as documents have them, for a list within an object.
func Documents[T any](columns []Column[T], rows []T) []any {
	l := List[T]{Columns: columns}
	out := make([]any, len(rows))
	for i, row := range rows {
		out[i] = l.encode(row)
	}
	return out
}

// FieldsOf returns the columns of a list as the fields of one of its rows.
func FieldsOf[T any](columns []Column[T], row T) []Field {
	fields := make([]Field, len(columns))
	for i, c := range columns {
		fields[i] = Field{Name: c.Name, Value: c.Value(row), Wide: c.Wide, Optional: c.Optional, Document: c.Document}
	}
	return fields
}

// Documented returns columns, followed by those of all that are not among them, for
// documents alone.
func Documented[T any](columns, all []Column[T]) []Column[T] {
	for _, c := range all {
		if !slices.ContainsFunc(columns, func(o Column[T]) bool { return o.Name == c.Name }) {
			c.Document = true
			columns = append(columns, c)
		}
	}
	return columns
}
