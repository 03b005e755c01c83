package importer

import (
	_ "embed" // for the table of headers
	"slices"
	"strings"
	"unicode"
)

//go:embed headers.tsv
var headerTable string

// What a header can say beside the fields of a contact; see headers.tsv.
const (
	headerGiven   Field = "name/given"
	headerFamily  Field = "name/family"
	headerForeign Field = "foreign"
	headerKnown   Field = "known"
)

// recognizer finds the field of a header.
type recognizer map[string]recognized

type recognized struct {
	field Field
	kind  string // "work", "home", "mobile", "other", or ""
	rank  int    // among the columns of one field the lowest is preferred
}

func newRecognizer() recognizer {
	r := recognizer{}
	rank := 0
	for line := range strings.Lines(headerTable) {
		parts := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if strings.HasPrefix(line, "#") || len(parts) != 3 {
			continue
		}
		for header := range strings.SplitSeq(parts[2], "|") {
			rank++
			if name := squeeze(header); name != "" {
				if _, taken := r[name]; !taken {
					r[name] = recognized{Field(parts[0]), parts[1], rank}
				}
			}
		}
	}
	return r
}

// squeeze returns the letters and digits of s in lower case.
func squeeze(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.Is(unicode.Mn, r) {
			return unicode.ToLower(r)
		}
		return -1
	}, s)
}

// withoutNote cuts off what a template says of how a column is to be filled in: "Phone
// number (recommended)".
func withoutNote(header string) string {
	text := strings.TrimSpace(header)
	at := strings.LastIndexByte(text, '(')
	if at <= 0 || !strings.HasSuffix(text, ")") {
		return header
	}
	switch squeeze(text[at:]) {
	case "recommended", "optional", "required", "mandatory":
		return text[:at]
	}
	return header
}

// find returns the field of a header by its name alone.
func (r recognizer) find(header string) (recognized, bool) {
	name := squeeze(withoutNote(header))
	if strings.Contains(header, "__") {
		// Salesforce's own names: NPSP__CONTACT1_FIRSTNAME__C.
		name = strings.TrimSuffix(strings.TrimPrefix(name, "npsp"), "c")
	}
	if found, ok := r[name]; ok {
		return found, true
	}
	// Exports number what there can be several of: "E-mail 1 - Value", "E-mail 2
	// Address", "Organization 1 - Name", "Home Phone 2", "Contact1 Last Name".
	base, number := cutNumber(name)
	for _, prefix := range []string{"contact", "person"} {
		if rest, ok := strings.CutPrefix(base, prefix); ok && number == 1 {
			if found, ok := r[rest]; ok {
				return found, true
			}
		}
	}
	if number == 0 {
		return recognized{}, false
	}
	found, ok := r[strings.TrimSuffix(base, "value")]
	if !ok || found.field != FieldEmail && found.field != FieldPhone && (found.field != FieldCompany || number != 1) {
		return recognized{}, false
	}
	found.rank += number * 10_000
	return found, true
}

// cutNumber takes the first run of one or two digits out of name. The number is
// 0 when there is none.
func cutNumber(name string) (base string, number int) {
	i := strings.IndexAny(name, "0123456789")
	if i < 0 {
		return name, 0
	}
	j := i
	for j < len(name) && j < i+2 && name[j] >= '0' && name[j] <= '9' {
		number = number*10 + int(name[j]-'0')
		j++
	}
	return name[:i] + name[j:], number
}

// whose tells whose address or number a header speaks of.
type whose int

const (
	ownerUnknown whose = iota // the header has a word that nothing is known of
	ownerContact              // the contact's own: "Email (work)", "PrimaryEmailAddress"
	ownerSubject              // of somebody the rows may be about: "Candidate e-mail"
	ownerOther                // of somebody else, or no address: "Recruiter email", "Email status"
)

// The words that headers put beside "email" or "phone".
var (
	ownWords = map[string]bool{
		"address": true, "addr": true, "id": true, "ids": true, "no": true, "nr": true, "num": true, "number": true,
		"value": true,
		"work":  true, "home": true, "private": true, "personal": true, "business": true, "office": true, "company": true,
		"corporate": true,
		"direct":    true, "official": true, "primary": true, "main": true, "default": true, "current": true,
		"own": true, "my": true,
		"other": true, "secondary": true, "alternate": true, "alternative": true, "additional": true, "preferred": true,
		"best":    true,
		"contact": true, "contacts": true, "person": true, "s": true, "mobile": true, "cell": true, "e": true, "the": true,
		"of": true, "security": true, "full": true,
	}
	subjectWords = map[string]bool{
		"candidate": true, "applicant": true, "customer": true, "client": true, "member": true, "student": true,
		"pupil": true, "employee": true,
		"lead": true, "prospect": true, "attendee": true, "participant": true, "guest": true, "subscriber": true,
		"patient": true, "donor": true,
		"volunteer": true, "user": true, "buyer": true, "registrant": true, "delegate": true, "visitor": true, "tenant": true,
		"resident": true,
	}
	otherWords = map[string]bool{
		"owner": true, "manager": true, "assistant": true, "created": true, "modified": true, "updated": true, "by": true,
		"parent": true, "mother": true,
		"father": true, "guardian": true, "spouse": true, "partner": true, "emergency": true, "referrer": true,
		"referred": true, "referral": true,
		"sender": true, "recipient": true, "recruiter": true, "rep": true, "reps": true, "representative": true,
		"sales": true, "salesperson": true, "agent": true, "broker": true,
		"supervisor": true, "boss": true, "coach": true, "tutor": true, "teacher": true, "advisor": true, "adviser": true,
		"billing": true, "invoice": true,
		"accounting": true, "support": true, "reply": true, "cc": true, "bcc": true, "unsubscribed": true,
		"subscribed": true, "opt": true,
		"out": true, "opted": true, "last": true, "first": true, "date": true, "time": true, "bounced": true, "bounce": true,
		"verified": true, "valid": true,
		"status": true, "type": true, "count": true, "sent": true, "opened": true, "clicked": true, "fax": true,
		"pager": true, "telex": true,
		"domain": true, "label": true, "format": true, "consent": true, "hash": true, "md5": true, "reason": true,
		"source": true, "display": true, "code": true, "country": true, "extension": true, "ext": true,
	}
	mailWords  = map[string]bool{"email": true, "emails": true, "mail": true, "mails": true, "emailaddress": true}
	phoneWords = map[string]bool{"phone": true, "phones": true, "telephone": true, "tel": true, "mobile": true,
		"cell": true, "cellphone": true, "handphone": true, "whatsapp": true}
)

// headerWords splits a header into lower-case words: at anything but letters and
// digits, and where a capital follows a small letter. "E-mail" is one word.
func headerWords(header string) []string {
	var b strings.Builder
	var last rune
	for _, r := range header {
		if unicode.IsUpper(r) && unicode.IsLower(last) {
			b.WriteByte(' ')
		}
		b.WriteRune(unicode.ToLower(r))
		last = r
	}
	text := strings.NewReplacer("e-mail", "email", "e_mail", "email", "e mail", "email", "whats app", "whatsapp",
		"'s ", " ", "’s ",
		" ").Replace(b.String())
	words := strings.FieldsFunc(text, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsMark(r) })
	return words
}

// speaks returns whether a header that no synonym fits speaks of an e-mail address
// or a phone number, and of whose.
func speaks(header string) (Field, whose, string) {
	if strings.ContainsAny(header, ",;\t|^~") {
		return "", ownerUnknown, "" // a whole line, split with the wrong delimiter
	}
	words := headerWords(header)
	var field Field
	of, subject := ownerContact, ""
	for _, word := range words {
		switch {
		case mailWords[word]:
			field = FieldEmail
		case phoneWords[word] && field == "":
			field = FieldPhone
		}
	}
	for _, word := range words {
		switch {
		case mailWords[word], field == FieldPhone && phoneWords[word], ownWords[word]:
		case otherWords[word]:
			return field, ownerOther, ""
		case subjectWords[word]:
			if of == ownerContact {
				of = ownerSubject
			}
			subject += word
		default:
			of = ownerUnknown
		}
	}
	if field == "" && of != ownerOther {
		of = ownerUnknown
	}
	return field, of, subject
}

// speaksOfName returns which name of whom a header speaks of that is no synonym, "" for none.
func speaksOfName(header string) (field Field, who string) {
	for _, word := range headerWords(header) {
		switch {
		case subjectWords[word]:
			who += word
		case word == "name" || word == "full":
			if field == "" {
				field = FieldName
			}
		case word == "first" || word == "given" || word == "firstname":
			field = FieldFirstName
		case word == "last" || word == "family" || word == "surname" || word == "lastname":
			field = FieldLastName
		case word != "s" && word != "the" && word != "of":
			return "", ""
		}
	}
	if who == "" {
		return "", ""
	}
	return field, who
}

// isFax reports whether a header or a label speaks of a machine.
func isFax(words []string) bool {
	return slices.ContainsFunc(words, func(w string) bool {
		return w == "pager" || w == "telex" || strings.Contains(w, "fax") || w == "телефакс" || w == "факс"
	})
}
