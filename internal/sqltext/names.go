package sqltext

// Names returns every name that a text has, each once, in the order in which they come:
// identifiers and keywords as PostgreSQL folds them, also those in the code within
// strings.
func Names(text string) []string {
	text, _ = withoutRows(text)
	var out []string
	seen := map[string]bool{}
	for _, t := range everyToken(text) {
		if name := t.Name(); name != "" && !seen[name] {
			seen[name] = true
			out = append(out, name)
		}
	}
	return out
}

// Made returns the name of the relation or the type that a command makes in the schema
// it runs in, "" where it makes none, or something else.
func Made(sql string) string {
	j := judge{tokens: Tokens(sql)}
	if !j.has(0, "create") {
		return ""
	}
	switch kind, next := j.kindAt(); kind {
	case "table", "view", "sequence", "type", "domain", "index":
		return j.at(j.skipIf(next)).Name()
	}
	return ""
}

// Strings returns what the string constants of a text say, those in the code within
// strings too.
func Strings(text string) []string {
	var out []string
	for _, t := range everyToken(text) {
		if t.Kind == String {
			out = append(out, unquoted(t.Text))
		}
	}
	return out
}
