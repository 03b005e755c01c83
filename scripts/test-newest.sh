#!/bin/sh
# Runs every test on the newest minor release of PostgreSQL that the distribution
# has, and where another one is installed on that too what reads the catalogs: the
# packages that do nothing else, and the scripts, which have every command do it. Where
# CRMCTL_PG_BIN or CRMCTL_TEST_DATABASE_URL names a server, every test runs on that alone.
# Arguments go to go test, on both servers.
set -eu

cd "$(dirname "$0")/.."
. scripts/servers.sh

[ -z "${CRMCTL_PG_BIN:-}${CRMCTL_TEST_DATABASE_URL:-}" ] || exec scripts/test.sh "$@"

installed=$(find_server)
on() { printf '\n== on PostgreSQL %s in %s\n' "$(server_version "$1")" "$1"; }

newest=$(scripts/newest.sh)
if [ -z "$newest" ]; then
	on "$installed"
	exec scripts/test.sh "$@"
fi

root=${newest%% *}
bin=${newest#* }
lent=$(lend "$root" "$bin")
trap '[ "$lent" = "$root" ] || rm -rf "$lent"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

on "$lent/$bin"
CRMCTL_PG_BIN=$lent/$bin scripts/test.sh "$@"
on "$installed"
# The race detector has seen the same code on the other server.
export RACE=0
if [ $# -gt 0 ]; then
	scripts/test.sh "$@"
else
	# What a minor release may change stands in the catalogs.
	scripts/test.sh ./internal/catalog ./internal/shape
	scripts/test.sh -run '^TestScripts$' ./cmd/crmctl
fi
printf '\nthe tests passed on PostgreSQL %s, what reads the catalogs on %s too\n' \
	"$(server_version "$lent/$bin")" "$(server_version "$installed")"
