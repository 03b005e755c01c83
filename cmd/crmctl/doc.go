// Command crmctl is the console of a CRM that keeps every tenant in a
// PostgreSQL schema of its own.
//
// The package is flat: a file per command (cmd_tenant_create.go), named after
// the words a user types. A command is made by newXCmd(f, runF): it fills an
// xOptions struct from flags and arguments and hands it to runX, which calls a
// library and prints its result. Tests give a runF of their own and look at the
// options.
//
// What the commands share:
//
//	factory   everything a command may need, made when first asked for
//	streams   stdin, stdout, stderr, and whether each is a terminal
//	printer   lists and objects in the format of --output
//	progress  a bar on a terminal, a line now and then elsewhere
//	exit.go   exit codes, and the errors that carry them
//
// stdout is the answer, stderr everything else. Only main calls os.Exit.
package main
