package crm

import (
	"encoding/json"
	"net/mail"
	"strings"

	"golang.org/x/net/idna"

	"github.com/crmctl/crmctl/internal/crm/importer"
)

// Address is somebody's e-mail address, however it is spelled: capitals, an internationalized
// domain in either form, and a name before it make no difference. Dots and what follows a
// plus do.
type Address struct {
	canonical string
	forms     []string // in lower case, as tables may have it
}

// ParseAddress reads an address. The error does not hold it.
func ParseAddress(text string) (Address, error) {
	canonical, ok := Canonical(text)
	if !ok || !storable(text) {
		return Address{}, &InvalidError{Field: "address", Reason: "not an e-mail address"}
	}
	a := Address{canonical: canonical, forms: []string{canonical}}
	at := strings.LastIndexByte(canonical, '@') + 1
	if domain, err := idna.Lookup.ToUnicode(canonical[at:]); err == nil && domain != canonical[at:] {
		a.forms = append(a.forms, canonical[:at]+domain)
	}
	return a, nil
}

// Canonical returns the one form of an address, and reports whether a text is an address.
func Canonical(text string) (string, bool) {
	if !strings.Contains(text, "@") {
		return "", false
	}
	text = strings.TrimSpace(text)
	normal, ok := importer.NormalEmail(text)
	if !ok {
		parsed, err := mail.ParseAddress(text)
		if err != nil {
			return "", false
		}
		if normal, ok = importer.NormalEmail(parsed.Address); !ok {
			return "", false
		}
	}
	at := strings.LastIndexByte(normal, '@') + 1
	if domain, err := idna.Lookup.ToASCII(normal[at:]); err == nil {
		normal = normal[:at] + domain
	}
	return normal, true
}

// Canonical returns the one form of the address.
func (a Address) Canonical() string { return a.canonical }

// Is reports whether a text is the address.
func (a Address) Is(text string) bool {
	canonical, ok := Canonical(text)
	return ok && canonical == a.canonical
}

// inJSON returns the forms as they stand within a text of JSON.
func (a Address) inJSON() []string {
	out := make([]string, len(a.forms))
	for i, form := range a.forms {
		var text strings.Builder
		e := json.NewEncoder(&text)
		e.SetEscapeHTML(false)
		_ = e.Encode(form) // a text is always written
		out[i] = strings.Trim(strings.TrimSuffix(text.String(), "\n"), `"`)
	}
	return out
}

// holds reports whether a JSON value has a text for which is returns true: as somebody's
// address, which is anywhere under a name with "mail" in it, or elsewhere.
func holds(text string, is func(string) bool) (address, elsewhere bool) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var value any
	if d.Decode(&value) != nil {
		return false, false
	}
	var walk func(value any, mail bool)
	walk = func(value any, mail bool) {
		switch v := value.(type) {
		case string:
			switch {
			case !is(v):
			case mail:
				address = true
			default:
				elsewhere = true
			}
		case []any:
			for _, e := range v {
				walk(e, mail)
			}
		case map[string]any:
			for name, e := range v {
				elsewhere = elsewhere || is(name)
				walk(e, mail || strings.Contains(strings.ToLower(name), "mail"))
			}
		}
	}
	walk(value, false)
	return address, elsewhere
}
