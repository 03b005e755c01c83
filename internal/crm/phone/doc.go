// Package phone brings telephone numbers to the form of E.164, +491711234567.
//
// What numbers a country has is Google's libphonenumber's to say. The library's Go
// edition takes milliseconds to start and tens of microseconds for a number; this
// package carries the patterns alone, as a table made of the library's data, and
// matches them with an automaton that is built where it is needed. Its tests hold
// both against each other.
//
// It imports nothing of the project.
package phone
