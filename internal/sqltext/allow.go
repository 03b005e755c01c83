package sqltext

import "strings"

// Allow is a comment "-- crmctl:allow RULE reason" in a file of migrations.
type Allow struct {
	Rule   string
	Reason string
	Offset int // of the comment
	// File tells that it stands before the first command and speaks for all of them.
	// Otherwise it speaks for the command that begins at Command, or for none (-1).
	File    bool
	Command int
}

// AllowPrefix is what such a comment begins with.
const AllowPrefix = "crmctl:allow"

// Allows finds the comments that lift a rule. One within a command, or behind it on its
// last line, speaks for that command, another one for the command that follows.
func Allows(text string) []Allow {
	if !strings.Contains(text, AllowPrefix) {
		return nil
	}
	var (
		out     []Allow
		pending []int
		cut     Cutter
		start   = -1 // of the command under way
		last    = -1 // start of the command before
		end     = -1
	)
	finish := func() {
		if start < 0 {
			return
		}
		for _, i := range pending {
			out[i].Command = start
		}
		last, start, pending, cut = start, -1, nil, Cutter{}
	}
	scanner := NewScanner(text)
	for t, ok := scanner.Next(); ok; t, ok = scanner.Next() {
		if t.Kind != Comment {
			if start < 0 && !t.Is(";") {
				start = t.Offset
			}
			if cut.End(t) {
				end = t.End()
				finish()
			}
			continue
		}
		if endsStatement(t.Text) {
			end = t.Offset
			finish()
		}
		a, is := readAllow(t)
		if !is {
			continue
		}
		a.File = start < 0 && last < 0
		out = append(out, a)
		if start < 0 && last >= 0 && !strings.Contains(text[end:t.Offset], "\n") {
			out[len(out)-1].Command = last
			continue
		}
		pending = append(pending, len(out)-1)
	}
	finish()
	for i := range out {
		out[i].File = out[i].File || last < 0
	}
	return out
}

// endsStatement reports whether a comment is an annotation of goose that ends a
// statement.
func endsStatement(comment string) bool {
	if !strings.HasPrefix(comment, "--") || !strings.Contains(comment, "+goose") {
		return false
	}
	word := strings.ToLower(strings.TrimSpace(strings.Replace(strings.ReplaceAll(comment, "--", ""), "+goose", "", 1)))
	return word == "statementend" || word == "up" || word == "down"
}

func readAllow(t Token) (Allow, bool) {
	text, isLine := strings.CutPrefix(strings.TrimRight(t.Text, "\r\n"), "--")
	text, isAllow := strings.CutPrefix(strings.TrimSpace(text), AllowPrefix)
	if !isLine || !isAllow {
		return Allow{}, false
	}
	a := Allow{Offset: t.Offset, Command: -1}
	a.Rule, a.Reason, _ = strings.Cut(strings.TrimSpace(text), " ")
	a.Reason = strings.TrimSpace(a.Reason)
	return a, true
}

// Lifts reports whether the comment lifts a rule for a command that begins on a line
// (1-based) of the text. Without a reason it lifts nothing.
func (a Allow) Lifts(rule Rule, text string, line int) bool {
	if a.Rule != string(rule) || a.Reason == "" {
		return false
	}
	return a.File || a.Command >= 0 && line == 1+strings.Count(text[:a.Command], "\n")
}
