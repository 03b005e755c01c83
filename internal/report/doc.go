// Package report writes what is known of a fleet, or of a run over it, as one page of HTML
// that needs nothing else: no script, no font, no picture from elsewhere. It is given values
// and reads no database. Whatever the names of tenants and the messages of servers hold is
// escaped by html/template. However large the fleet is, the page shows the largest, the
// slowest and the failed by name and the others in distributions.
package report
