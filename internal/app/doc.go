// Package app is the application: what each command of crmctl does, as one call with
// its options, usable without a command line. It opens what it needs, puts the libraries
// together and returns results; what is worth a word on the way it hands to [App.Notify].
// It never prints, and knows no flag: errors are typed, and whoever shows them says what
// to do next.
package app
