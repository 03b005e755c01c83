// Package localpg is the embedded default: a private local PostgreSQL for
// trials, demos and tests, made from the server binaries of the distribution.
//
// An instance has a name and a directory of its own:
//
//	ROOT/NAME/crmctl-local.txt    the marker: localpg made this directory
//	ROOT/NAME/lock                held (flock) by a start, stop or reset at work
//	ROOT/NAME/data                the data directory
//	ROOT/NAME/run                 the unix socket, mode 0700
//	ROOT/NAME/postgres.log        what the server said
//
// It promises:
//
//   - The server listens on a unix socket in a directory that only its owner
//     (and root) can enter, and never on TCP. Access to that directory is the
//     authentication.
//   - A data directory is whole or absent: initdb works beside it and the result
//     is renamed into place.
//   - The server outlives the command that started it, until Stop. Start recovers
//     from a killed server and a reboot, and never signals a process that is not
//     the server of that data directory.
//   - A data directory of another major version is refused, never touched.
//   - Reset removes only what localpg made.
//   - Run by root, the server belongs to an unprivileged account, because
//     PostgreSQL refuses to run as root.
//
// An ephemeral server (Options.Ephemeral) gives up durability for speed and ends
// with the process that started it, however that process ends; its directory goes
// with it.
//
// The package prints nothing and imports nothing of ours. The command line and
// the test harness (internal/pgtest) may import it.
package localpg
