// Package pgtest gives every test a PostgreSQL database of its own.
//
// One ephemeral server (internal/localpg) is started per test process, when the
// first test asks for it. CRMCTL_TEST_DATABASE_URL names a server to use instead
// (a superuser's connection string), CRMCTL_PG_BIN the directory of initdb and
// postgres, which is how the tests run against every major version.
//
// Nothing stays behind: databases are dropped with their test, the server and its
// directory go with the test process, however it ends.
//
// A package that uses it has
//
//	func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }
//
// It imports testing and is never imported by code that is not a test.
package pgtest
