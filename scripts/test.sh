#!/bin/sh
# Runs go vet and every test, with the race detector where it works. Arguments go
# to go test: scripts/test.sh -run TestCreate ./internal/tenant
set -eu

cd "$(dirname "$0")/.."

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

if race_works; then
	race=-race
	echo 'race        on'
else
	race=
	echo 'race        off: the race detector needs a C compiler (gcc and libc6-dev), or RACE=0 was given'
fi
[ $# -gt 0 ] || set -- ./...

echo '+ go vet ./...'
go vet ./...

# -count=1: what these tests depend on (a PostgreSQL, a PgBouncer) is not in the key
# of Go's cache of test results.
echo "+ go test${race:+ $race} -count=1 -timeout 30m $*"
# An empty $race is no argument.
# shellcheck disable=SC2086
exec go test $race -count=1 -timeout 30m "$@"
