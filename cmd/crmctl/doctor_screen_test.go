package main

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/doctor"
)

// Findings that differ in nothing but their tenant are one line with a count.
func TestDoctorPutsLikeFindingsTogether(t *testing.T) {
	t.Parallel()
	var findings []doctor.Finding
	for i := range 1000 {
		slug := fmt.Sprintf("acme-%04d", i)
		findings = append(findings, doctor.Finding{
			Class: "ghost-row", Severity: doctor.Error, Subject: slug, Tenant: slug,
			What: fmt.Sprintf("its schema tenant_acme_%04d is gone", i), Why: "Every command that reaches the tenant fails.",
			Command: "crmctl doctor --fix ghost-row",
		})
	}
	var out bytes.Buffer
	p := &cli.Printer{Out: &out, Format: "table", Terminal: true, Width: 80}
	if err := writeFindings(p, findings); err != nil {
		t.Fatal(err)
	}
	equal(t, "findings", out.String(), `error    ghost-row         Every command that reaches the tenant fails.
         1,000 alike       its schema tenant_* is gone: acme-0000, acme-0001,
                           acme-0002 and 997 more
         next: crmctl doctor --fix ghost-row

`)
}
