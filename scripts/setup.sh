#!/bin/sh
# Finds what the project needs on this machine, installs what is missing where it
# may, and otherwise says the line that does.
#
#   scripts/setup.sh postgresql             what `make demo` needs
#   scripts/setup.sh postgresql pgbouncer   what `make test` needs
#
# It installs from the distribution alone, with apt-get, as root or through a sudo
# that asks no password. It starts no server and leaves none behind.
set -eu

cd "$(dirname "$0")/.."

. scripts/servers.sh

say() { printf '%-11s %s\n' "$1" "$2"; }
fail() {
	printf 'setup: %s\n' "$1" >&2
	shift
	for line; do printf '  %s\n' "$line" >&2; done
	exit 1
}

check_go() {
	command -v go >/dev/null || fail 'there is no go command on the PATH' \
		"install the Go that go.mod asks for ($(sed -n 's/^go //p' go.mod)) or a newer one: https://go.dev/doc/install"
	# It fails, and says why, when this Go is too old for go.mod and may not fetch
	# a newer one.
	go list -m >/dev/null || fail 'this Go cannot build the module, see above'
	say go "$(go env GOVERSION)"
}

# pgbouncer stands in a directory that is not on an ordinary user's PATH.
find_pgbouncer() { PATH="$PATH:/usr/sbin:/usr/local/sbin:/opt/homebrew/bin" command -v pgbouncer || true; }

report() {
	case $1 in
	postgresql)
		dir=$(find_server)
		[ -n "$dir" ] || return 1
		say postgresql "$(server_version "$dir") in $dir"
		;;
	pgbouncer)
		program=$(find_pgbouncer)
		[ -n "$program" ] || return 1
		say pgbouncer "$("$program" --version | sed -n '1s/^PgBouncer //p') in $(dirname "$program")"
		;;
	*) fail "setup knows postgresql and pgbouncer, not $1" ;;
	esac
}

# may_install tells whether packages can be installed without asking anybody.
may_install() {
	command -v apt-get >/dev/null || return 1
	[ "$(id -u)" -eq 0 ] || sudo -n true 2>/dev/null
}

# install_line prints what a user types to install the packages.
install_line() {
	sudo='sudo '
	[ "$(id -u)" -ne 0 ] || sudo=''
	if command -v apt-get >/dev/null; then
		echo "${sudo}apt-get install $*"
	elif command -v dnf >/dev/null; then
		echo "${sudo}dnf install $*" | sed 's/postgresql/postgresql-server/'
	elif command -v zypper >/dev/null; then
		echo "${sudo}zypper install $*" | sed 's/postgresql/postgresql-server/'
	elif command -v pacman >/dev/null; then
		echo "${sudo}pacman -S $*"
	elif command -v apk >/dev/null; then
		echo "${sudo}apk add $*"
	elif command -v brew >/dev/null; then
		echo "brew install $*" | sed 's/postgresql/postgresql@18/'
	else
		echo "install $*"
	fi
}

# Debian's packages start what they install, and postgresql makes a cluster. Both
# are switched off for the time of the installation by the means Debian gives for it:
# policy-rc.d(8) and createcluster.conf(5).
policy=/usr/sbin/policy-rc.d
cluster_dir=/etc/postgresql-common/createcluster.d
cluster_conf=$cluster_dir/crmctl-setup.conf
made_policy=
log=

restore() {
	[ -z "$made_policy" ] || rm -f "$policy"
	rm -f "$cluster_conf"
	rmdir "$cluster_dir" 2>/dev/null || true
	[ -z "$log" ] || rm -f "$log"
}

# install runs as root.
install() {
	trap restore EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
	log=$(mktemp)
	if [ ! -e "$policy" ]; then
		made_policy=yes
		printf '#!/bin/sh\nexit 101\n' >"$policy"
		chmod 755 "$policy"
	fi
	mkdir -p "$cluster_dir"
	echo 'create_main_cluster = false' >"$cluster_conf"

	# One source of several that cannot be reached is no reason to give up: the
	# packages may come from the others.
	apt_get update || say apt-get 'update failed, going on with the lists that are there'
	if ! apt_get install --no-install-recommends "$@"; then
		cat "$log" >&2
		fail "apt-get could not install $*"
	fi
	for package; do
		# It would start at the next boot. (PostgreSQL has nothing to start.)
		[ "$package" != pgbouncer ] || update-rc.d pgbouncer disable >/dev/null 2>&1 || true
	done
}

apt_get() {
	DEBIAN_FRONTEND=noninteractive apt-get -y -qq \
		-o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 "$@" >"$log" 2>&1 </dev/null
}

if [ "${1:-}" = --install ]; then
	shift
	install "$@"
	exit
fi

check_go
if [ -n "${CRMCTL_PG_BIN:-}" ] && [ -z "$(find_server)" ]; then
	fail "CRMCTL_PG_BIN is $CRMCTL_PG_BIN, where there is no PostgreSQL server of version $oldest or newer" \
		'name the directory of initdb and postgres, or unset it'
fi
missing=
for need; do
	report "$need" || missing="$missing $need"
done
[ -n "$missing" ] || exit 0

# What is missing are words to be split.
# shellcheck disable=SC2086
set -- $missing
may_install || fail "missing: $*" "$(install_line "$@")" \
	"(PostgreSQL $oldest or newer is wanted; CRMCTL_PG_BIN names the directory of initdb and postgres in an unusual place)"
say missing "$*: installing with apt-get, which may take a minute; nothing is started"
if [ "$(id -u)" -eq 0 ]; then
	sh scripts/setup.sh --install "$@"
else
	sudo -n sh scripts/setup.sh --install "$@"
fi
for need; do
	report "$need" || fail "$need was installed, but cannot be found (or is older than PostgreSQL $oldest)" "$(install_line "$need")"
done
