// Package suggest finds the word that somebody most likely meant to type: the
// one source of every "did you mean" of the command line, whether the word is a
// command, a flag, a key of the configuration or the name of a tenant.
//
// It promises to stay silent rather than to guess wildly. Any package may
// import it; it imports nothing of the project.
package suggest
