package doctor_test

import (
	"fmt"
	"testing"

	"github.com/crmctl/crmctl/internal/doctor"
)

func TestGroupAlike(t *testing.T) {
	t.Parallel()
	finding := func(subject, what string) doctor.Finding {
		return doctor.Finding{Class: "c", Severity: doctor.Error, Subject: subject, What: what}
	}
	of := finding("tenant_b.idx", "index idx of b is invalid")
	of.Tenant = "b"
	groups := doctor.GroupAlike([]doctor.Finding{
		finding("acme-corp", "its schema tenant_acme_corp is gone"), finding("b", "no table x"), finding("globex",
			"its schema tenant_globex is gone"), of,
	})
	got := ""
	for _, g := range groups {
		got += fmt.Sprintf("%d %s\n", len(g.Findings), g.What)
	}
	if want := "2 its schema tenant_* is gone\n1 no ta*le x\n1 index idx of * is invalid\n"; got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

func TestByClass(t *testing.T) {
	t.Parallel()
	of := func(class doctor.Class, s doctor.Severity) doctor.Finding {
		return doctor.Finding{Class: class, Severity: s}
	}
	got := doctor.ByClass([]doctor.Finding{of("a", doctor.Error), of("a", doctor.Error), of("a", doctor.Warning),
		of("b", doctor.Warning)})
	if len(got) != 3 || len(got[0]) != 2 || len(got[1]) != 1 || len(got[2]) != 1 {
		t.Errorf("%v", got)
	}
	if len(doctor.ByClass(nil)) != 0 {
		t.Error("nothing has a class")
	}
}
