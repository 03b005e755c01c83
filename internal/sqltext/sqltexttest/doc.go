// Package sqltexttest holds commands and what sqltext.Judge says of them, for the tests
// of whatever has to agree with it. Tests alone may import it.
package sqltexttest
