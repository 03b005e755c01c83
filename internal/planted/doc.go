// Package planted finds code that others have put where this program works: what
// PostgreSQL would run as the session's role when that writes into a tenant's
// tables, or merely reads them.
//
// PostgreSQL runs triggers, rules, defaults, checks, generated columns, the
// expressions of indexes, policies and views as whoever reads or writes the table,
// not as whoever made them, and SET LOCAL ROLE is no wall: code inside can leave it.
// So a tenant's table is touched only where all such code is that of roles which
// could act as the session's role anyway: the role itself, superusers, members of
// the role, and those that the user trusts by name.
//
// Ownership settles whose code it is. A function, an operator or a cast of another
// role is planted, wherever something of the tenant calls it and also where it
// merely stands in the tenant's schema, in which unqualified names are looked up.
// Tables that belong to another role, as those of an adopted fleet often do, may
// have expressions of PostgreSQL's own functions, except those that could run SQL
// or reach out of the database.
//
// It imports db alone of this project's packages, and all that writes may import it.
package planted
