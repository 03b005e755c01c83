package tabular

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// writings are lists of names and cities as they are written in a language, and the
// encodings its programs use.
var writings = map[string]struct {
	encodings string
	lines     []string
}{
	"german": {"windows-1252 ibm850 macintosh", []string{"Jürgen Müller,Köln,Straße 3",
		"Käthe Groß,Düsseldorf,Österreicher Weg", "Jörg Weiß,Würzburg,Mühlgasse", "Änne Schäfer,Lübeck,Brückenstraße"}},
	"french": {"windows-1252 macintosh", []string{"Élodie Lefèvre,Orléans,Société Générale",
		"François Bérénger,Besançon,Café de la Gare", "Noël Gaëtan,Nîmes,Hôtel à la Forêt"}},
	"spanish": {"windows-1252", []string{"José Núñez,Málaga,Compañía Española", "Íñigo Muñoz,León,Tecnología y Diseño",
		"María Peña,Cádiz,Jamón Ibérico"}},
	"swedish": {"windows-1252", []string{"Åsa Sjöström,Malmö,Bäckström Ångfartyg", "Björn Åkesson,Göteborg,Sjöfart",
		"Östen Hällström,Västerås,Järnväg"}},
	"danish": {"windows-1252", []string{"Søren Kjær,Århus,Smørrebrød", "Bjørn Ærø,København,Østergård",
		"Pål Ødegård,Tromsø,Båt"}},
	"polish": {"windows-1250", []string{"Łukasz Żółkiewski,Łódź,Spółka Akcyjna",
		"Małgorzata Wójcik,Poznań,Przedsiębiorstwo Usługowe", "Paweł Gęś,Gdańsk,Źródło"}},
	"czech": {"windows-1250", []string{"Jiří Dvořák,Plzeň,Škoda Auto",
		"Zdeněk Růžička,České Budějovice,Pražské nádraží", "Tomáš Kučera,Ústí nad Labem,Žižkov", "Věra Šťastná,Olomouc,Dům"}},
	"hungarian": {"windows-1250", []string{"Szőke Győző,Győr,Vállalkozás", "Tóth Ödön,Fűzfő,Tűzoltóság",
		"Kovács Zsófia,Székesfehérvár,Üzem"}},
	"turkish": {"windows-1254", []string{"Şükrü Yıldız,İzmir,Güneş Ticaret", "Ayşe Çağlar,Diyarbakır,Işık Şirketi",
		"Gökhan Öğüt,Muğla,Dağcılık"}},
	"russian": {"windows-1251 koi8-r ibm866", []string{"Иван Петров,Москва,Общество с ограниченной ответственностью",
		"Мария Кузнецова,Санкт-Петербург,Завод", "Сергей Щукин,Екатеринбург,Объединение"}},
	"greek": {"windows-1253", []string{"Γιώργος Παπαδόπουλος,Αθήνα,Εταιρεία", "Μαρία Νικολάου,Θεσσαλονίκη,Ναυτιλιακή",
		"Δημήτρης Ιωάννου,Πάτρα,Τράπεζα"}},
	"japanese":  {"shift_jis euc-jp", []string{"山田太郎,東京都,東京商事株式会社", "鈴木花子,大阪府,大阪製作所", "佐藤ひろし,横浜市,カメラのさくら"}},
	"chinese":   {"gb18030", []string{"王小明,北京市,北京科技有限公司", "李芳,上海市,上海贸易集团", "张伟,广州市,广东电子有限公司", "刘洋,深圳市,中国移动"}},
	"taiwanese": {"big5", []string{"陳大文,台北市,台灣電子股份有限公司", "林美玲,高雄市,國際貿易有限公司", "黃志強,臺中市,科技公司"}},
	"korean":    {"euc-kr", []string{"김철수,서울특별시,삼성전자", "이영희,부산광역시,현대자동차", "박민수,대구광역시,주식회사"}},
}

// A list in any of the usual encodings is read right, or asked about with the right
// answer among the choices; it is never read wrong.
func TestLegacyEncodings(t *testing.T) {
	t.Parallel()
	asked, all := 0, 0
	for language, w := range writings {
		for name := range strings.FieldsSeq(w.encodings) {
			enc, err := encodingOf(name)
			if err != nil {
				t.Fatal(err)
			}
			for n := 1; n <= 3; n++ {
				all++
				content := "Name,City,Company\n" + strings.Join(w.lines[:min(n*n, len(w.lines))], "\n") + "\n"
				encoded, err := enc.NewEncoder().String(content)
				if err != nil {
					t.Fatalf("%s in %s: %v", language, name, err)
				}
				f, err := Open(strings.NewReader(encoded), Options{})
				if e, ok := errors.AsType[*Error](err); ok {
					asked++
					t.Logf("%s in %s, %d lines: %v %v", language, name, n*n, e, e.Choices)
					right := false
					for _, c := range e.Choices {
						right = right || c.Name == name
					}
					if e.Ask != AskEncoding || !right {
						t.Errorf("%s in %s: %v offers %v", language, name, err, e.Choices)
					}
					continue
				}
				rows, problems, err := readAll(f)
				if got := fmt.Sprint(rows); err != nil || problems != nil ||
					got != fmt.Sprint(split(w.lines[:min(n*n, len(w.lines))])) {
					t.Errorf("%s in %s, %d lines: taken for %s (%s): %s", language, name, n*n, f.Format.Encoding,
						f.Format.Evidence, got)
				}
			}
		}
	}
	if asked*5 > all {
		t.Errorf("%d of %d were asked about", asked, all)
	}
}

func split(lines []string) (rows [][]string) {
	for _, line := range lines {
		rows = append(rows, strings.Split(line, ","))
	}
	return rows
}

// Of encodings that read the same the usual one is named.
func TestUsualNameOfAnEncoding(t *testing.T) {
	t.Parallel()
	f, err := Open(strings.NewReader("Name,City\nS\xf6ren T\xe4ve N\xfc\xdflebaum,M\xf6\xdflitz\n"), Options{})
	if err != nil || f.Format.Encoding != windows1252Name {
		t.Errorf("got %+v, %v", f, err)
	}
}

// Bytes that the encoding does not have are rejects, never U+FFFD.
func TestBytesOfNoLetter(t *testing.T) {
	t.Parallel()
	f, err := Open(strings.NewReader("Name,City\nM\x81ller,Rome\nJ\xfcrgen,K\xf6ln\nKäthe,x\n"),
		Options{Encoding: "windows-1252"})
	if err != nil {
		t.Fatal(err)
	}
	rows, problems, err := readAll(f)
	if err != nil || len(problems) != 1 || problems[0] != NotUTF8 || len(rows) != 2 {
		t.Errorf("got %q, problems %v, error %v", rows, problems, err)
	}
}

// A byte order mark beats what was asked for.
func TestMarkBeatsAsking(t *testing.T) {
	t.Parallel()
	f, err := Open(strings.NewReader("\xEF\xBB\xBFname\nJürgen\n"), Options{Encoding: "windows-1252"})
	if err != nil {
		t.Fatal(err)
	}
	rows, _, err := readAll(f)
	if err != nil || fmt.Sprint(rows) != "[[Jürgen]]" || f.Format.Encoding != "utf-8" {
		t.Errorf("got %q in %s, error %v", rows, f.Format.Encoding, err)
	}
}

// UTF-16 without a mark and without Latin letters.
func TestUnmarkedUTF16(t *testing.T) {
	t.Parallel()
	for name, big := range map[string]bool{utf16leName: false, utf16beName: true} {
		var b []byte
		for _, r := range "Имя,Город\nИван Петров,Москва\nМария Кузнецова,Тверь\n" {
			if big {
				b = append(b, byte(r>>8), byte(r))
			} else {
				b = append(b, byte(r), byte(r>>8))
			}
		}
		f, err := Open(strings.NewReader(string(b)), Options{})
		if err != nil {
			t.Fatal(err)
		}
		rows, problems, err := readAll(f)
		if err != nil || problems != nil || fmt.Sprint(rows) != "[[Иван Петров Москва] [Мария Кузнецова Тверь]]" ||
			f.Format.Encoding != name {
			t.Errorf("%s: got %q in %s, %v", name, rows, f.Format.Encoding, err)
		}
	}
}

// What exports put around the rows is no row.
func TestNotes(t *testing.T) {
	t.Parallel()
	f, err := Open(strings.NewReader("Notes:\n\"When exporting your connection data, you may notice that some addresses "+
		"are missing.\"\n\n"+
		"First Name,Last Name,Email\nAnn,Lee,a@ex.org\nFirst Name,Last Name,Email\nBob,Ray,b@ex.org\nCopyright "+
		"Clearance,,\nCy,,\n\n"+
		"Contacts of May\nCopyright (c) 2000-2026 salesforce.com, inc. All rights reserved.\nConfidential Information - Do "+
		"Not Distribute\n"),
		Options{Known: known("first name", "last name", "email")})
	if err != nil {
		t.Fatal(err)
	}
	var rows, notes []string
	for {
		rec, err := f.Next()
		if err != nil {
			break
		}
		switch {
		case rec.Note:
			notes = append(notes, string(rec.Fields[0]))
		case !rec.Blank:
			rows = append(rows, string(rec.Fields[0]))
		}
	}
	if got := strings.Join(rows, "|"); got != "Ann|Bob|Copyright Clearance|Cy" {
		t.Errorf("rows %s", got)
	}
	if len(notes) != 4 || notes[1] != "Contacts of May" {
		t.Errorf("notes %q", notes)
	}
}
