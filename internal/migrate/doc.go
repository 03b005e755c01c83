// Package migrate brings schemas to a version: it compiles goose migration
// files to a Plan, applies the plan to one schema in one transaction, and runs
// it over a fleet of tenants.
//
// goose defines the files, their order and the version table. pgx executes,
// since a goose Provider serves one schema at a time, parses every file again
// for each, commits each migration apart, and cannot join the transaction that
// creates a tenant. The goose CLI can still read every schema: the truth stands
// in goose_db_version there, in goose's columns.
//
// It promises that a tenant is at one version: all its pending migrations, their
// version rows and the registry's cached version commit together or not at all.
//
// It imports db and fleet alone of this project's packages.
package migrate
