#!/bin/sh
# Builds the goose command line of the version in go.mod, once, into .tools, for the
# tests that hold crmctl against it, and prints where it is.
set -eu

cd "$(dirname "$0")/.."

version=$(go list -m -f '{{.Version}}' github.com/pressly/goose/v3)
dir=$PWD/.tools/goose-$version
if [ ! -x "$dir/goose" ]; then
	echo "building goose $version into .tools: half a minute, once" >&2
	new=$(mktemp -d)
	trap 'rm -rf "$new"' EXIT
	# PostgreSQL's driver is all that is needed of it. (go install of a version
	# keeps its other dependencies out of our go.mod.)
	GOBIN=$new GOFLAGS='' CGO_ENABLED=0 go install \
		-tags 'no_clickhouse no_libsql no_mssql no_mysql no_sqlite3 no_vertica no_ydb' \
		"github.com/pressly/goose/v3/cmd/goose@$version" >&2
	mkdir -p "$dir"
	# In its place it is whole or absent, also when two builds meet.
	mv "$new/goose" "$dir/goose.$$"
	mv "$dir/goose.$$" "$dir/goose"
fi
echo "$dir/goose"
