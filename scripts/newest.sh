#!/bin/sh
# Prints the directory that holds the newest minor release of the installed PostgreSQL
# that the distribution has, and where in it the server's programs are, with a blank
# between. It is fetched with apt into .tools/postgresql, beside the installed one,
# which stays as it is; no root is needed. Prints nothing where the installed one is
# the newest, or where that cannot be found out, and says so on stderr.
set -eu

cd "$(dirname "$0")/.."
. scripts/servers.sh

store=$PWD/.tools/postgresql
lists=$store/apt

note() { printf 'newest      %s\n' "$*" >&2; }

# nothing ends without a newer server.
nothing() {
	note "$*"
	exit 0
}

# apt runs a command of apt on lists of our own, which nobody else waits for.
apt() {
	command=$1
	shift
	"$command" -qq -o Dir::State="$lists/state" -o Dir::State::status=/var/lib/dpkg/status \
		-o Dir::Cache="$lists/cache" -o APT::Sandbox::User=root \
		-o Acquire::Retries=1 -o Acquire::http::Timeout=15 -o Acquire::https::Timeout=15 "$@"
}

# update reads the distribution's lists, once a day.
update() {
	[ -z "$(find "$lists/updated" -mtime -1 2>/dev/null)" ] || return 0
	mkdir -p "$lists/state/lists/partial" "$lists/cache/archives/partial"
	apt apt-get update >&2 && : >"$lists/updated"
}

# fetch makes the directory of a version whole or not at all.
fetch() {
	new=$(mktemp -d "$store/new.XXXXXX")
	trap 'rm -rf "$new"' EXIT
	chmod 755 "$new"
	(cd "$new" && apt apt-get download "postgresql-$major=$newest" "postgresql-client-$major=$newest" >&2) || return 1
	for package in "$new"/*.deb; do
		dpkg -x "$package" "$new" || return 1
		rm "$package"
	done
	is_server "$new/usr/lib/postgresql/$major/bin" || return 1
	mv "$new" "$dir"
}

installed=$(find_server)
case $installed in
/usr/lib/postgresql/*/bin) ;;
*) nothing "the installed PostgreSQL comes from no package of Debian's: the tests run on it alone" ;;
esac
command -v apt-get >/dev/null || nothing 'there is no apt-get: the tests run on the installed PostgreSQL alone'
major=${installed#/usr/lib/postgresql/}
major=${major%/bin}
have=$(dpkg-query -W -f '${Version}' "postgresql-$major" 2>/dev/null) ||
	nothing "$installed comes from no package: the tests run on it alone"
update || nothing 'apt-get update failed, see above: the tests run on the installed PostgreSQL alone'
newest=$(LC_ALL=C apt apt-cache policy "postgresql-$major" | sed -n 's/^ *Candidate: //p')
dpkg --compare-versions "$newest" gt "$have" || nothing "the installed PostgreSQL $(server_version "$installed") is the newest"

dir=$store/debian-$newest
if [ ! -d "$dir" ]; then
	note "fetching PostgreSQL $newest beside the installed $have"
	fetch || nothing "PostgreSQL $newest could not be fetched or does not run, see above: the tests run on the installed one alone"
fi
echo "$dir usr/lib/postgresql/$major/bin"
