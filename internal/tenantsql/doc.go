// Package tenantsql runs SQL over tenants and gives back the rows of all of them.
//
// Each tenant's statements are one transaction that stands in its schema and is
// rolled back at its end, read only, unless Options.Write says otherwise. The rows
// come tenant after tenant in the order the tenants were given, whichever was quicker,
// and a tenant's rows come only when its transaction has ended well: nothing of an
// attempt that failed is ever seen. Rows whose turn has not come wait in memory up to
// a budget, and beyond it in one temporary file.
//
// It imports db and fleet, and nothing else of ours.
package tenantsql
