package crm

import (
	"encoding/base64"
	"encoding/json"
)

const (
	// DefaultLimit is how many rows a page has where nobody says it.
	DefaultLimit = 50
	// MaxLimit is how many rows a page has at most.
	MaxLimit = 10_000
)

// Page says which part of a list is wanted.
type Page struct {
	Limit int    // rows; 0 is DefaultLimit
	After string // what the page before has returned as its end; "" for the first page
}

func (p Page) limit() int {
	if p.Limit <= 0 {
		return DefaultLimit
	}
	return min(p.Limit, MaxLimit)
}

// endOf returns the end of a page: the key of its last row, of which nothing is secret.
func endOf(key ...string) string {
	text, err := json.Marshal(key)
	if err != nil {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// key returns the key of the last row of the page before, nil for the first page. n is
// how many values it has.
func (p Page) key(n int) ([]string, error) {
	if p.After == "" {
		return nil, nil
	}
	var key []string
	text, err := base64.RawURLEncoding.DecodeString(p.After)
	if err != nil || json.Unmarshal(text, &key) != nil || len(key) != n {
		return nil, &InvalidError{Field: "after", Value: p.After, Reason: "not the end of a page of this list"}
	}
	return key, nil
}
