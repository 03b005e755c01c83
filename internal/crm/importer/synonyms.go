package importer

import (
	"slices"
	"strings"
	"unicode"
)

// synonyms are headers that say what their column holds, without anything but
// letters and digits and in lower case. The order within a field is the order of
// preference when a row has several: they come from the exports of Google,
// Outlook, Salesforce and HubSpot and from what people write by hand.
var synonyms = map[Field][]string{
	FieldEmail: {
		"email", "emailaddress", "mail", "mailaddress", "primaryemail", "contactemail", "emailprimary",
		"emailadresse", "mailadresse", "correoelectrónico", "correoelectronico", "correo", "courriel", "adressemail", "adresseemail",
		"workemail", "businessemail", "personalemail", "homeemail", "otheremail", "alternateemail", "secondaryemail",
	},
	FieldPhone: {
		"phone", "phonenumber", "telephone", "telephonenumber", "tel", "primaryphone", "contactphone", "contactphonenumber", "mainphone",
		"telefon", "telefonnummer", "teléfono", "telefono", "téléphone",
		"mobile", "mobilephone", "mobilenumber", "mobilephonenumber", "cell", "cellphone", "handy", "mobil", "móvil", "movil", "portable",
		"businessphone", "workphone", "officephone", "companymainphone", "homephone", "otherphone",
	},
	FieldName: {
		"name", "fullname", "contactname", "displayname", "contact", "contactfullname", "customername",
		"vollständigername", "nombrecompleto", "nomcomplet",
	},
	FieldFirstName: {"firstname", "givenname", "forename", "first", "fname", "contactfirstname", "vorname", "prénom", "prenom"},
	FieldLastName:  {"lastname", "surname", "familyname", "last", "lname", "contactlastname", "nachname", "nom", "nomdefamille", "apellidos", "apellido"},
	FieldCompany: {
		"company", "companyname", "organization", "organisation", "organizationname", "organisationname", "account", "accountname",
		"account1name", "associatedcompany", "companyorganization", "employer", "firm", "businessname",
		"firma", "unternehmen", "empresa", "société", "societe", "entreprise",
	},
}

// notTheContacts are words in a header that make an address or a number somebody
// else's, or no address at all.
var notTheContacts = []string{
	"owner", "manager", "assistant", "created", "modified", "parent", "referrer", "sender", "unsubscribed", "opt", "out", "opted",
	"last", "first", "date", "bounced", "verified", "status", "type", "count", "number", "preferred", "fax", "domain", "label",
}

// squeeze returns the letters and digits of s in lower case.
func squeeze(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, s)
}

// recognizer finds the field of a header.
type recognizer map[string]recognized

type recognized struct {
	field Field
	rank  int // among the columns of one field the lowest is preferred
}

func newRecognizer() recognizer {
	r := recognizer{}
	for field, names := range synonyms {
		for i, name := range names {
			r[name] = recognized{field, i}
		}
	}
	return r
}

// find returns the field of a header by its name alone.
func (r recognizer) find(header string) (recognized, bool) {
	name := squeeze(header)
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
	found.rank += number * len(r)
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

// guess returns the field of a header that no synonym fits but whose last word
// says it: "Security contact email".
func (r recognizer) guess(header string) (Field, bool) {
	if strings.ContainsAny(header, ",;\t|") {
		return "", false // a whole line, split with the wrong delimiter
	}
	words := strings.FieldsFunc(strings.ToLower(header), func(c rune) bool { return !unicode.IsLetter(c) && !unicode.IsDigit(c) })
	if n := len(words); n >= 2 && words[n-2] == "e" && words[n-1] == "mail" {
		words = append(words[:n-2], "email")
	} else if n >= 2 && words[n-1] == "address" {
		words = words[:n-1]
	}
	if len(words) < 2 {
		return "", false
	}
	for _, word := range words {
		if slices.Contains(notTheContacts, word) {
			return "", false
		}
	}
	switch words[len(words)-1] {
	case "email", "mail":
		return FieldEmail, true
	case "phone", "telephone", "mobile":
		return FieldPhone, true
	}
	return "", false
}
