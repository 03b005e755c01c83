package importer

import (
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/tabular"
)

// The headers of Outlook and Thunderbird, and of other exports, in their languages: each
// becomes what a person would say. "-" is no field of a contact.
func TestHeadersInTheirLanguages(t *testing.T) {
	t.Parallel()
	for language, files := range map[string][]string{
		"de": {
			"Anrede=-|Vorname=first_name|Weitere Vornamen=-|Nachname=last_name|Firma=company|Abteilung=-|Position=-|" +
				"E-Mail-Adresse=email|E-Mail 2: Adresse=email|Telefon geschäftlich=phone|Telefon privat=phone|" +
				"Mobiltelefon=phone|Haupttelefon=phone",
			"Vorname=first_name|Nachname=last_name|Anzeigename=name|Primäre E-Mail-Adresse=email|" +
				"Sekundäre E-Mail-Adresse=email|Tel. dienstlich=phone|Mobil-Tel.-Nr.=phone|Organisation=company",
		},
		"fr": {
			"Titre=-|Prénom=first_name|Deuxième prénom=-|Nom=last_name|Société=company|Adresse de messagerie=email|" +
				"Type de messagerie=-|Téléphone (bureau)=phone|Téléphone (domicile)=phone|Tél. mobile=phone|" +
				"Téléphone principal=phone",
			"Nom à afficher=name|Adresse électronique principale=email|Tél. professionnel=phone|Portable=phone",
		},
		"es": {
			"Nombre=first_name|Apellidos=last_name|Organización=company|Teléfono del trabajo=phone|Teléfono móvil=phone|" +
				"Dirección de correo electrónico principal=email|Dirección de correo electrónico 2=email",
			"Nombre=name|Correo=email",
		},
		"it": {
			"Nome=first_name|Cognome=last_name|Società=company|Indirizzo E-mail=email|Telefono di Lavoro=phone|" +
				"Telefono Mobile=phone",
			"Nome visualizzato=name|Organizzazione=company|Email principale=email|Numero cellulare=phone",
		},
		"ar": {"الاسم الأول=first_name|اسم العائلة=last_name|البريد الإلكتروني=email|رقم الهاتف=phone|الجوال=phone|الشركة=company",
			"الاسم=name|البريد=email|الهاتف=phone"},
		"hi": {"नाम=name|ईमेल=email|फ़ोन=phone|मोबाइल नंबर=phone|कंपनी=company"},
		"he": {"שם פרטי=first_name|שם משפחה=last_name|דוא\"ל=email|טלפון נייד=phone|חברה=company"},
		"vi": {"Họ và tên=name|Email=email|Số điện thoại=phone|Công ty=company"},
		"id": {"Nama Lengkap=name|Alamat Email=email|No HP=phone|Perusahaan=company"},
		"pt-BR": {
			"Primeiro nome=first_name|Último nome=last_name|Empresa=company|Endereço de E-mail=email|Fone comercial=phone|" +
				"Celular=phone|Fone Primario=phone",
			"Mostrar nome=name|E-mail primário=email",
		},
		"nl": {"Voornaam=first_name|Achternaam=last_name|Bedrijf=company|Telefoon op werk=phone|Mobiele telefoon=phone|" +
			"E-mailadres=email"},
		"pl": {"Imię=first_name|Nazwisko=last_name|Firma=company|Adres e-mail=email|Telefon służbowy=phone|" + //nolint:misspell // Polish
			"Telefon komórkowy=phone|Telefon domowy=phone|Telefon główny=phone"},
		"ru": {"Имя=first_name|Фамилия=last_name|Отображаемое имя=name|Организация=company|" +
			"Адрес электронной почты=email|Рабочий телефон=phone|Номер сотового телефона=phone"},
		"zh": {"姓名=name|电子邮件=email|手机=phone|公司=company"},
		"ja": {"名=first_name|姓=last_name|会社名=company|電子メール アドレス=email|携帯電話=phone"},
		"no": {"Navn=name|E-post=email|Mobil=phone", "Fornavn=first_name|Etternavn=last_name|Telefon=phone"},
		"others": {
			"Email (required)=email|Phone number (recommended)=phone|Full name (optional)=name|Notes (optional)=-",
			"First Name=first_name|Last Name=last_name|Labels=-|E-mail 1 - Label=-|E-mail 1 - Value=email|Phone 1 - Label=-|" +
				"Phone 1 - Value=phone|Organization Name=company|Organization Title=-|Birthday=-|Notes=-",
			"First Name=first_name|Last Name=last_name|E-mail Address=email|E-mail 2 Address=email|Home Phone=phone|" +
				"Business Phone=phone|Mobile Phone=phone|Pager=-|Business Fax=-|Home Fax=-|Company Main " +
				"Phone=phone|Company=company",
			"First Name=first_name|Last Name=last_name|Display Name=name|Primary Email=email|Secondary Email=email|" +
				"Work Phone=phone|Home Phone=phone|Fax Number=-|Pager Number=-|Mobile Number=phone|Organisation=company",
			"First Name=first_name|Last Name=last_name|URL=-|Email Address=email|Company=company|Position=-",
			"Email Address=email|First Name=first_name|Last Name=last_name|Phone Number=phone|OPTIN_IP=-|NOTES=-|TAGS=-",
			"Record ID=-|First Name=first_name|Email=email|Phone Number=phone|Contact owner=-|Associated Company=company",
			"Person - ID=-|Person - Name=name|Person - Organization=company|Person - Email - Work=email|" +
				"Person - Email - Home=email|Person - Email - Other=email|Person - Phone - Work=phone|Person - Phone - " +
				"Mobile=phone",
			"ID=-|ACCOUNTID=-|LASTNAME=last_name|FIRSTNAME=first_name|SALUTATION=-|NAME=name|PHONE=phone|FAX=-|" +
				"MOBILEPHONE=phone|EMAIL=email|TITLE=-",
			"Name / First Name=first_name|Name / Last Name=last_name|Emails / Primary Email=email|" +
				"Emails / Additional Emails=email|Phones / Primary Phone Number=phone|Phones / Additional Phones=phone",
			"id=-|name=name|email=email|phone_number=phone|identifier=-|company_name=company|city=-",
		},
	} {
		for _, file := range files {
			var header, want []string
			for pair := range strings.SplitSeq(file, "|") {
				i := strings.LastIndexByte(pair, '=')
				header, want = append(header, pair[:i]), append(want, pair[i+1:])
			}
			m, err := newMapping(tabular.Format{Header: header, Delimiter: ','}, nil, nil, nil)
			if err != nil {
				t.Errorf("%s: %v", language, err)
				continue
			}
			for i, c := range m.columns {
				got := string(c.Field)
				if c.Field == FieldMetadata {
					got = "-"
				}
				if got != want[i] {
					t.Errorf("%s: %q became %s, want %s", language, c.Header, got, want[i])
				}
			}
		}
	}
}
