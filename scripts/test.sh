#!/bin/sh
# Runs go vet and every test. Where the race detector works, the packages under internal/
# run with it, and cmd/crmctl without it but for some tests, which run both ways.
# Arguments go to go test, with the race detector: scripts/test.sh -run TestCreate
# ./internal/tenant
set -eu

cd "$(dirname "$0")/.."

# The tests of cmd/crmctl start the program thousands of times, which takes several times
# as long with the race detector. These are where its goroutines meet: commands with
# workers, signals, progress lines, screens and the server of metrics.
command=./cmd/crmctl
concurrent='TestASignalInTheMiddle|TestProcessesShareTheWork|TestSignalsInARun|TestTwoImportsInBatchesAtOnce'
concurrent="$concurrent|TestKilledBatchesGoOn|TestStatsServe|TestTop|TestMovesOnATerminal|TestProgressCountsWhatIsDone"
concurrent="$concurrent|TestScripts/(backup|maintenance|migrate|pool|report)\$"

# The race detector needs cgo, and cgo a C compiler with its headers. RACE=0 does
# without.
race_works() {
	[ "${RACE:-1}" != 0 ] || return 1
	[ "$(go env CGO_ENABLED)" = 1 ] || return 1
	program=$(mktemp)
	# CC may hold flags.
	# shellcheck disable=SC2046
	printf '#include <stdlib.h>\nint main(void) { return EXIT_SUCCESS; }\n' |
		$(go env CC) -x c -o "$program" - 2>/dev/null
	works=$?
	rm -f "$program"
	return $works
}

# -count=1: what these tests depend on (a PostgreSQL, a PgBouncer) is not in the key
# of Go's cache of test results. -vet=off: go vet has seen to all of it.
go_test() {
	echo "+ go test $*"
	go test -count=1 -timeout 30m -vet=off "$@"
}

# Without the race detector the build is that of a release, which make build uses again.
as_released() (
	export CGO_ENABLED=0
	"$@"
)

# The parser of SQL is a WebAssembly module, which each test binary compiles: with the
# race detector in the compiler that takes nine seconds instead of two. Its two packages
# go without; they use nothing that synchronises. (In one that did, the linker may take
# its copies of sync.Map's generic functions for the whole program, and then the detector
# sees races where there are none.) The second that a process sleeps at its end is for
# goroutines that outlive main, which those of a test do not.
race_test() (
	export GORACE="${GORACE:-} atexit_sleep_ms=0"
	compiler=github.com/tetratelabs/wazero/internal/engine/wazevo
	go_test -race "-gcflags=$compiler/backend/...=-race=false" "-gcflags=$compiler/ssa/...=-race=false" "$@"
)

if race_works; then
	race=on
	echo 'race        on'
else
	race=off
	echo 'race        off: the race detector needs a C compiler (gcc and libc6-dev), or RACE=0 was given'
fi

# As many tests at once as two packages beside each other run on two cores.
parallel=$(getconf _NPROCESSORS_ONLN)
[ "$parallel" -ge 4 ] || parallel=4

failed=
echo '+ go vet ./...'
as_released go vet ./...

if [ $# -gt 0 ]; then
	if [ $race = on ]; then race_test "$@"; else as_released go_test "$@"; fi
	exit
fi
if [ $race = off ]; then
	as_released go_test ./...
	exit
fi
# The packages are words to be split.
# shellcheck disable=SC2046
race_test $(go list ./... | grep -v '/cmd/crmctl$') || failed=1
race_test -run "$concurrent" "$command" || failed=1
# Many of them wait: for a server that is gone, for a second to pass.
as_released go_test -parallel "$parallel" "$command" || failed=1
[ -z "$failed" ]
