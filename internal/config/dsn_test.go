package config_test

import (
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/crmctl/crmctl/internal/config"
)

func TestDSNHidesPassword(t *testing.T) {
	t.Parallel()
	tests := []struct{ dsn, shown string }{
		{"postgres://u:geheim@h:5432/db", "postgres://u:xxxxx@h:5432/db"},
		{"postgresql://u:geheim%20x@h/db", "postgresql://u:xxxxx@h/db"},
		{"postgres://u:ge@he@im@h/db", "postgres://u:xxxxx@h/db"},
		{"postgres://u:geheim/x@h/db", "postgres://u:xxxxx@h/db"},
		{"postgres://u:12/heim@h/db", "postgres://u:xxxxx@h/db"},
		{"postgres://u:ge heim@h/db", "postgres://u:xxxxx@h/db"},
		{"postgres://u:ge?heim@h/db", "postgres://u:xxxxx@h/db"},
		{"postgres://:geheim@h/db", "postgres://:xxxxx@h/db"},
		{"postgres://u@h/db?password=geheim&sslmode=disable", "postgres://u@h/db?password=xxxxx&sslmode=disable"},
		{"postgres://u@h/db?sslpassword=geheim", "postgres://u@h/db?sslpassword=xxxxx"},
		{"host=h user=u password=geheim dbname=d", "host=h user=u password=xxxxx dbname=d"},
		{`host=h password='ge he\'im' dbname=d`, "host=h password=xxxxx dbname=d"},
		{"password = geheim host=h", "password = xxxxx host=h"},
		{"postgres://u:12?34heim@h/db", "postgres://u:xxxxx@h/db"},
		{"postgres://u:geheim", "postgres://u:xxxxx"},
		{"host=h password=ge heim im dbname=d", "host=h password=xxxxx dbname=d"},
		{"host=h password='ge'he im dbname=d", "host=h password=xxxxx dbname=d"},
		{"u:geheim@h/db", "xxxxx"},
		{"postgres://u@h:5432/db", "postgres://u@h:5432/db"},
		{"postgres://h1:5432,h2:5433/db?user=a@b", "postgres://h1:5432,h2:5433/db?user=a@b"},
		{"service=crm-prod", "service=crm-prod"},
		{"", ""},
	}
	for _, tt := range tests {
		d := config.DSN(tt.dsn)
		for _, got := range []string{d.String(), fmt.Sprint(d), fmt.Sprintf("%v %[1]s", d), fmt.Sprintf("%#v", d)} {
			if !strings.Contains(got, tt.shown) || strings.Contains(got, "geheim") || strings.Contains(got, "he") &&
				strings.Contains(got, "im") && tt.dsn != tt.shown {
				t.Errorf("%s is shown as %s, want %s", tt.dsn, got, tt.shown)
			}
		}
		if got, want := d.HasPassword(), tt.dsn != tt.shown; got != want {
			t.Errorf("HasPassword(%s) = %v", tt.dsn, got)
		}
	}
}

func TestHasPasswordOfInnocent(t *testing.T) {
	t.Parallel()
	for _, dsn := range []string{"postgres://db1:5432/crm?application_name=a@b", "postgres://u:@h/db",
		"host=h passfile=/x", "host=h password=''"} {
		if config.DSN(dsn).HasPassword() {
			t.Errorf("%s is said to hold a password", dsn)
		}
	}
}

func TestRedact(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.env = append(w.env, "DATABASE_URL=postgres://u:p%40ss-word@h/db", "PGPASSWORD=from-libpq")
	c := w.mustLoad()
	c.AddSecret("from-pgpass")
	c.AddSecret("db") // too short to be looked for
	for _, text := range []string{
		"failed: p@ss-word", "failed: p%40ss-word", "failed: from-libpq", "failed: from-pgpass",
		"cannot parse postgres://other:hidden-one@h/db", "password=hidden-one",
	} {
		got := c.Redact(text)
		for _, secret := range []string{"ss-word", "from-", "hidden-one"} {
			if strings.Contains(got, secret) {
				t.Errorf("%q became %q", text, got)
			}
		}
	}
	if got := c.Redact("connect to db on h as u"); got != "connect to db on h as u" {
		t.Errorf("innocent text became %q", got)
	}
	if got := (*config.Config)(nil).Redact("postgres://u:pw@h"); got != "postgres://u:xxxxx@h" {
		t.Errorf("without a configuration: %q", got)
	}
}

// A password that is the user's name too must not black out half a message.
func TestRedactLeavesNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.env = append(w.env, "DATABASE_URL=postgres://postgres:postgres@localhost/crm")
	c := w.mustLoad()
	c.AddSecret("postgres") // as found in .pgpass
	if got, want := c.Redact("crm on localhost as postgres"), "crm on localhost as postgres"; got != want {
		t.Errorf("got %q", got)
	}
	if got := c.Setting("database_url").Value; got != "postgres://postgres:xxxxx@localhost/crm" {
		t.Errorf("shown as %q", got)
	}
}

// A password that is an ordinary word, or is made of such, hides no sentence: what was hidden
// would be known by that. Where it may come from the connection string it is hidden.
func TestRedactLeavesSentences(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ dsn, text, want string }{
		{"postgres://app:tenant@h/crm", `tenant "acme": permission denied for schema tenant_acme (42501)`, ""},
		{"postgres://app:tenant@h/crm", `no tenants in crm; the tenant: gone`, ""},
		{"host=h user=app password=database dbname=crm", "the database crm is away", ""},
		{"postgres://app:a@h/crm", "a table of a tenant", ""},
		{"postgres://app:pass/word@h/crm", "no password in a word", ""},
		{"crm prod database", "no such database in prod", ""},
		{"postgres//app:x@localhost/crm", "crmctl: postgres is not found on localhost", ""},
		{"postgres://app:tenant@h/crm", `database "tenant" does not exist`, `database "xxxxx" does not exist`},
		{"postgres://app:my/tenant?x@h/crm", "lookup tenant: no such host, host=tenant, tenant@h",
			"lookup xxxxx: no such host, host=xxxxx, xxxxx@h"},
		{"postgres://app:tenant@h/crm", "cannot parse postgres://app:tenant@h/crm", "cannot parse postgres://app:xxxxx@h/crm"},
		{"postgres://app:tenant@h/crm", "tenanttenant, @tenant, tenant", "tenanttenant, @xxxxx, tenant"},
		{"postgres://app:tenant7@h/crm", "it is tenant7.", "it is xxxxx."},
		{"postgres://app:geheim@h/crm", "it is geheim, or geheime", "it is xxxxx, or xxxxxe"},
	} {
		w := newWorld(t)
		w.env = append(w.env, "DATABASE_URL="+tt.dsn)
		if tt.want == "" {
			tt.want = tt.text
		}
		if got := w.mustLoad().Redact(tt.text); got != tt.want {
			t.Errorf("%s: %q became %q", tt.dsn, tt.text, got)
		}
	}
}

func FuzzDSN(f *testing.F) {
	f.Add("se cret", "u", "h")
	f.Add("p'w", "u", "h")
	f.Add("0000", "[", "0")
	f.Add("0000", "[]", "0")
	f.Fuzz(func(t *testing.T, password, user, host string) {
		// A secret that is part of the rest cannot be told apart.
		if len(password) < 4 || strings.Contains("postgres://"+user+":xxxxx@"+host+"/db", password) ||
			strings.ContainsAny(user, ":/?#@") || strings.ContainsAny(host, "/?#@=") {
			t.Skip()
		}
		dsn := "postgres://" + user + ":" + password + "@" + host + "/db"
		if u, err := url.Parse(dsn); err == nil && u.User == nil {
			t.Skip("a port and a query to every reader")
		}
		shown := config.DSN(dsn).String()
		if strings.Contains(shown, password) {
			t.Errorf("%q shows %q", shown, password)
		}
	})
}

func TestRedactWhileSecretsAreAdded(t *testing.T) {
	t.Parallel()
	c := newWorld(t).mustLoad()
	var workers sync.WaitGroup
	for i := range 8 {
		workers.Go(func() {
			secret := fmt.Sprintf("secret-%d", i)
			c.AddSecret(secret)
			if got := c.Redact("it was " + secret); got != "it was xxxxx" {
				t.Errorf("got %q", got)
			}
		})
	}
	workers.Wait()
}
