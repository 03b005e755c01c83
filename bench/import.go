package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// measureImport imports generated contacts into an empty tenant, against psql's
// \copy of the same rows into a table with the same indexes.
func (b *bench) measureImport(ctx context.Context) error {
	psql, err := exec.LookPath("psql")
	if err != nil {
		return errNoPsql
	}
	file := filepath.Join(b.dir, "contacts.csv")
	if err := writeContacts(file, b.rows); err != nil {
		return err
	}
	empty := result{what: "import into an empty tenant (against \\copy)", units: b.rows, unit: "rows", want: ">= 2.00"}
	for round := range b.rounds {
		dsn, err := b.database(ctx, fmt.Sprintf("import_%d", round))
		if err != nil {
			return err
		}
		for _, args := range [][]string{{"migrate", "public"}, {"tenant", "create", "copied", "imported"}} {
			if _, err := b.run(ctx, dsn, b.crmctl, args...); err != nil {
				return err
			}
		}
		fmt.Fprintf(os.Stderr, "round %d: %s\n", round+1, empty.what)
		copied, err := b.run(ctx, dsn, psql, "-v", "ON_ERROR_STOP=1", "-d", dsn, "-c",
			`\copy tenant_copied.contacts (name, email, phone, company, metadata) from '`+file+`.plain' with (format csv)`)
		if err != nil {
			return err
		}
		imported, err := b.run(ctx, dsn, b.crmctl, "contacts", "import", "--tenant", "imported", file)
		if err != nil {
			return err
		}
		empty.them, empty.ours = append(empty.them, copied), append(empty.ours, imported)
	}
	b.add(empty)
	return nil
}

// writeContacts writes n rows of about 160 bytes: with headings for crmctl, and
// beside it the same with the last columns as JSON for \copy.
func writeContacts(file string, n int) (err error) {
	plain, err := os.Create(file + ".plain")
	if err != nil {
		return err
	}
	defer func() { _ = plain.Close() }()
	headed, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() { _ = headed.Close() }()
	p, h := bufio.NewWriter(plain), bufio.NewWriter(headed)
	fmt.Fprintln(h, "Name,E-mail,Phone,Company,City,Source")
	for i := range n {
		// A multiplicative hash spreads the keys as real addresses are spread.
		key := uint32(i) * 2654435761
		name, email := fmt.Sprintf("Contact Number %d", i), fmt.Sprintf("person.%08x.%d@example-%d.com", key, i, key%977)
		phone, company := fmt.Sprintf("+1 555 %03d %04d", key%1000, i%10000), fmt.Sprintf("Company %d Incorporated", key%5000)
		city, source := fmt.Sprintf("City of %d", key%300), fmt.Sprintf("campaign-%d", key%40)
		fmt.Fprintf(h, "%s,%s,%s,%s,%s,%s\n", name, email, phone, company, city, source)
		fmt.Fprintf(p, "%s,%s,%s,%s,\"{\"\"City\"\": \"\"%s\"\", \"\"Source\"\": \"\"%s\"\"}\"\n", name, email, phone,
			company, city, source)
	}
	if err := p.Flush(); err != nil {
		return err
	}
	return h.Flush()
}
