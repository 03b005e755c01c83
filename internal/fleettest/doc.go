// Package fleettest makes registries and tenants for tests: what pgtest is to a
// database, this is to a fleet. It is never imported by code that is not a test.
package fleettest
