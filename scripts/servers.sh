# Where PostgreSQL servers are: for the scripts beside this one, which source it.
# shellcheck shell=sh

# The oldest major version that is tested (make test-matrix).
oldest=14

# server_dirs lists where initdb and postgres may be, in the order in which crmctl
# looks (internal/localpg).
server_dirs() {
	if command -v pg_config >/dev/null; then pg_config --bindir || true; fi
	for pattern in '/usr/lib/postgresql/*/bin' '/usr/pgsql-*/bin' '/usr/libexec/postgresql*' \
		'/opt/homebrew/opt/postgresql@*/bin' '/usr/local/opt/postgresql@*/bin' \
		'/Library/PostgreSQL/*/bin' '/Applications/Postgres.app/*/*/*/bin'; do
		# The pattern is meant to expand here; the newest version comes first.
		# shellcheck disable=SC2086,SC2012
		ls -d $pattern 2>/dev/null | sort -rV || true
	done
	printf '%s\n' /opt/homebrew/bin /usr/local/pgsql/bin
	printf '%s\n' "$PATH" | tr ':' '\n' | grep '^/' || true
}

# find_server prints the directory of a PostgreSQL server that is new enough.
find_server() {
	if [ -n "${CRMCTL_PG_BIN:-}" ]; then
		! is_server "$CRMCTL_PG_BIN" || printf '%s\n' "$CRMCTL_PG_BIN"
		return
	fi
	server_dirs | while IFS= read -r dir; do
		if is_server "$dir"; then
			printf '%s\n' "$dir"
			break
		fi
	done
}

is_server() {
	[ -x "$1/initdb" ] && [ -x "$1/postgres" ] && [ "$(server_version "$1" | cut -d. -f1)" -ge "$oldest" ] 2>/dev/null
}

# server_version prints "15.18".
server_version() { "$1/postgres" --version | sed 's/^.*(PostgreSQL) \([0-9.]*\).*$/\1/'; }

# reachable tells whether the account that servers run as can start one there: never
# root, so when this runs as root and the clone is in a place where other accounts
# cannot go (/root), they cannot.
reachable() { [ "$(id -u)" -ne 0 ] || runuser -u nobody -- test -x "$1/postgres"; }

# lend prints a directory that holds what $1 holds and that other accounts can
# read: $1 itself where that is so, otherwise a copy, for the caller to remove.
lend() {
	if reachable "$1/$2"; then
		printf '%s\n' "$1"
		return
	fi
	copy=$(mktemp -d /tmp/crmctl-server-XXXXXX)
	chmod 755 "$copy"
	cp -R "$1/." "$copy/"
	printf '%s\n' "$copy"
}
