// Package cluster is what crmctl does with the nodes of a Citus cluster that spreads the
// schemas of tenants: where each tenant stands, what it takes there, whether the nodes are
// well, and moving tenants between them. What differs in the transactions of a tenant is
// in package db.
//
// On PostgreSQL every question is answered without one being sent. The functions and
// tables asked are documented at https://docs.citusdata.com/en/stable/develop/api_udf.html
// and https://docs.citusdata.com/en/stable/develop/api_metadata.html.
package cluster
