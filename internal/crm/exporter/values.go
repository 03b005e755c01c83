package exporter

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"

	"github.com/crmctl/crmctl/internal/crm/contactfile"
)

// values turns the fields of a row into texts.
type values struct {
	out     [][]byte
	scratch []byte
}

// texts returns what is written for a row, nil for null. It is valid until the next row.
func (v *values) texts(slug string, columns []Column, fields [][]byte, o Options) ([][]byte, error) {
	v.out, v.scratch = v.out[:0], v.scratch[:0]
	if o.WithTenant {
		name := []byte(slug)
		if o.Anonymize != nil {
			name = o.Anonymize.tenant(name)
		}
		v.out = append(v.out, name)
	}
	for i, field := range fields {
		if field != nil && o.Anonymize != nil {
			field = o.Anonymize.replace(i, field)
		}
		if field == nil {
			v.out = append(v.out, nil)
			continue
		}
		start := len(v.scratch)
		switch columns[i].Kind {
		case UUID:
			if len(field) != 16 {
				return nil, errCopy
			}
			v.scratch = appendUUID(v.scratch, field)
		case Time:
			if len(field) != 8 {
				return nil, errCopy
			}
			micros := int64(binary.BigEndian.Uint64(field))
			v.scratch = contactfile.AppendTime(v.scratch, micros)
		default:
			v.out = append(v.out, field)
			continue
		}
		v.out = append(v.out, v.scratch[start:len(v.scratch):len(v.scratch)])
	}
	return v.out, nil
}

// appendUUID appends 16 bytes as a UUID is written.
func appendUUID(dst, id []byte) []byte {
	for i, part := range [][]byte{id[:4], id[4:6], id[6:8], id[8:10], id[10:]} {
		if i > 0 {
			dst = append(dst, '-')
		}
		dst = hex.AppendEncode(dst, part)
	}
	return dst
}

// appendJSON appends a value as JSON.
func appendJSON(dst []byte, kind Kind, text []byte) []byte {
	switch kind {
	case JSON, Bool:
		return append(dst, text...)
	case Number:
		if c := text[len(text)-1]; c >= '0' && c <= '9' && json.Valid(text) { // not NaN
			return append(dst, text...)
		}
	case Text, UUID, Time, Other:
	}
	return contactfile.AppendString(dst, text)
}

// oneLine returns JSON without line ends: jsonb has none, json may.
func oneLine(text []byte) []byte {
	if bytes.IndexByte(text, '\n') < 0 && bytes.IndexByte(text, '\r') < 0 {
		return text
	}
	var b bytes.Buffer
	if json.Compact(&b, text) != nil {
		return text
	}
	return b.Bytes()
}
