// Package crm is the data of one tenant: contacts, conversations, messages. Open returns a
// tenant, and all that is read or written goes through a transaction of it, Read or Write:
// there is no query without a tenant. What Open has found may be kept: a transaction calls
// Options.Look or Options.Hold before anything else, which say whether the schema is still
// the tenant's. app.CRM keeps tenants and connections for programs that run for long. Package
// importer below it loads files of contacts; Seed makes sample data.
//
// Lists come in pages, by a key of an index and not by an offset: what comes after a page
// costs as much as the first one. Every query of a tenant at the newest version uses an
// index. A tenant of another program is read as far as its tables have what is needed; an
// *importer.TableError names the column that is missing.
//
// The package never prints.
package crm
