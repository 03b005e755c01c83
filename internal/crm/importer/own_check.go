package importer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// ownCheck looks at the value of a column of the file before it is sent: the server would
// refuse all rows for one that its column cannot hold.
type ownCheck struct {
	column *TableColumn
	field  Field // whose value it is, "" for that of source
	source int
}

// checks returns what is looked at in each row.
func (o *own) checks() []ownCheck {
	var list []ownCheck
	for _, c := range o.columns {
		if c.source >= 0 && c.field != FieldCreatedAt && (c.Length > 0 || !c.textual() || len(c.Labels) > 0) {
			list = append(list, ownCheck{c.TableColumn, c.field, c.source})
		}
	}
	return list
}

// fits rejects a row of which a value does not fit its column of the table.
func (c *converter) fits(checks []ownCheck, row *contact) *rejection {
	for _, check := range checks {
		var value []byte
		switch check.field {
		case FieldEmail:
			value = row.email
		case FieldPhone:
			value = row.phone
		case FieldName:
			value = row.name
		case FieldCompany:
			value = row.company
		default:
			value = c.cells[check.source]
		}
		if len(value) == 0 {
			continue
		}
		code, why := check.column.refuses(value)
		if why != "" {
			return c.reject(code, check.source, "%s %s, as the column %s (%s) of the table needs", shorten(value), why,
				check.column.Name, check.column.Type)
		}
	}
	return nil
}

// refuses says why a column cannot hold a value, "" where it can, or where only the server
// knows.
func (c *TableColumn) refuses(value []byte) (RejectCode, string) {
	if c.Length > 0 {
		// Blanks beyond the length are cut off by the server.
		if n := utf8.RuneCount(bytes.TrimRight(value, " ")); n > c.Length {
			return RejectLongValue, fmt.Sprintf("has %d characters, not at most %d", n, c.Length)
		}
		return "", ""
	}
	text := string(trimAll(value))
	if len(c.Labels) > 0 {
		if slices.Contains(c.Labels, text) {
			return "", ""
		}
		return RejectBadValue, "is none of " + labelList(c.Labels)
	}
	var ok bool
	var what string
	switch c.Base {
	case "int2", "int4", "int8":
		ok, what = c.holdsInteger(text)
	case "numeric":
		ok, what = c.holdsNumeric(text)
	case "float4", "float8":
		_, err := strconv.ParseFloat(text, 64)
		ok, what = err == nil, "is no number"
	case "bool":
		ok, what = isBool(text), "is neither true nor false"
	case "uuid":
		ok, what = isUUID(text), "is no UUID"
	case "json", "jsonb":
		ok, what = json.Valid(value) && !bytes.Contains(value, []byte(`\u0000`)), "is no JSON"
	case "date", "timestamp", "timestamptz":
		if _, ok = parseTime(value); !ok {
			_, ok = parsePresetTime(value)
		}
		what = "is no date that can be read in one way only, like 2026-11-23"
	default:
		ok, what = !strings.HasPrefix(c.Base, "_") || strings.HasPrefix(text, "{"), "is no list like {a,b}"
	}
	if ok {
		return "", ""
	}
	return RejectBadValue, what
}

// labelList returns the first labels of an enum.
func labelList(labels []string) string {
	const most = 6
	text := strings.Join(labels[:min(len(labels), most)], ", ")
	if more := len(labels) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// holdsInteger reads what every version of the server does: digits and a sign. Other ways
// to write one (0x10, 1_000) are for the server to judge.
func (c *TableColumn) holdsInteger(text string) (bool, string) {
	bits := map[string]int{"int2": 16, "int4": 32, "int8": 64}[c.Base]
	digits := strings.TrimLeft(text, "+-")
	switch {
	case digits == "" || len(text)-len(digits) > 1 || digits[0] < '0' || digits[0] > '9':
		return false, "is no whole number"
	case strings.Trim(digits, "0123456789") != "":
		other := strings.Contains(digits, "_") || digits[0] == '0' && len(digits) > 1 && digits[1] > '9'
		return other && !strings.ContainsAny(digits, ".,: "), "is no whole number"
	}
	_, err := strconv.ParseInt(text, 10, bits)
	return err == nil, "is too large a number"
}

// holdsNumeric reads a decimal number and looks whether it fits precision and scale.
func (c *TableColumn) holdsNumeric(text string) (bool, string) {
	if strings.Contains(text, "_") || strings.ContainsAny(text, "xXnNiI") && !strings.ContainsAny(text, " ,") {
		return true, "" // NaN, infinity, 0x10: the server's
	}
	if strings.Trim(text, "0123456789.eE+-") != "" || len(text) > 1000 {
		return false, "is no number"
	}
	if e := strings.IndexAny(text, "eE"); e >= 0 && len(text)-e > 5 {
		return false, "is no number"
	}
	n, ok := new(big.Rat).SetString(text)
	if !ok {
		return false, "is no number"
	}
	if c.Precision == 0 {
		return true, ""
	}
	limit := new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(c.Precision-c.Scale, 0))), nil))
	return n.Abs(n).Cmp(limit) < 0, "is too large a number"
}

// isBool reports whether the server takes a text for true or false: the words and their
// beginnings, where only one begins so.
func isBool(text string) bool {
	text = strings.ToLower(text)
	if text == "" || text == "o" {
		return false
	}
	for _, word := range []string{"true", "false", "yes", "no", "on", "off", "1", "0"} {
		if strings.HasPrefix(word, text) {
			return true
		}
	}
	return false
}

func isUUID(text string) bool {
	if strings.HasPrefix(text, "{") && strings.HasSuffix(text, "}") {
		text = text[1 : len(text)-1]
	}
	digits := strings.ReplaceAll(text, "-", "")
	return len(digits) == 32 && strings.Trim(strings.ToLower(digits), "0123456789abcdef") == ""
}
