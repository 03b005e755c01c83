#!/bin/sh
# Gets the programs that `make bench-peers` compares crmctl with into .tools, once, and
# prints the name and the path of each. What cannot be got is left out, with a word on
# stderr. KNEX=0 does without npm.
set -eu

cd "$(dirname "$0")/.."

migrate=v4.20.1
tern=v2.3.4
knex=3.3.0
pg=8.23.1

tools=$PWD/.tools/peers
mkdir -p "$tools"

say() { printf 'peers: %s\n' "$*" >&2; }

# install NAME VERSION PACKAGE [TAGS] builds a command of another module, which stays out
# of go.mod.
install() {
	dir=$tools/$1-$2
	if [ ! -x "$dir/$1" ]; then
		say "building $1 $2"
		GOBIN=$dir GOFLAGS='' CGO_ENABLED=0 go install -tags "${4:-}" "$3@$2" >&2 || {
			say "$1 cannot be built and is left out"
			return 0
		}
	fi
	printf '%s\t%s\n' "$1" "$dir/$1"
}

if goose=$(scripts/goose.sh); then
	printf 'goose\t%s\n' "$goose"
else
	say 'goose cannot be built and is left out'
fi

# Goose as a library, in a module of its own since its driver's dependencies are not ours.
if (cd bench/peers && CGO_ENABLED=0 go build -buildvcs=false -o "$tools/provider" ./provider) >&2; then
	printf 'provider\t%s\n' "$tools/provider"
else
	say "goose's Provider cannot be built and is left out"
fi

install migrate $migrate github.com/golang-migrate/migrate/v4/cmd/migrate pgx5
install tern $tern github.com/jackc/tern/v2

if [ "${KNEX:-1}" = 0 ] || ! command -v node >/dev/null || ! command -v npm >/dev/null; then
	say 'knex is left out: it needs node and npm'
	exit 0
fi
dir=$tools/knex-$knex
if [ ! -d "$dir" ]; then
	say "installing knex $knex"
	new=$(mktemp -d "$tools/new.XXXXXX")
	if ! npm install --prefix "$new" --no-save --no-audit --no-fund --ignore-scripts --loglevel=error "knex@$knex" "pg@$pg" >&2; then
		rm -rf "$new"
		say 'knex cannot be installed and is left out'
		exit 0
	fi
	mv "$new" "$dir"
fi
printf 'knex\t%s\n' "$dir"
