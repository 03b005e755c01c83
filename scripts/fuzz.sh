#!/bin/sh
# Runs every fuzz target for a while, one after another.
#
#   scripts/fuzz.sh 30s
set -eu

cd "$(dirname "$0")/.."
fuzztime=${1:-30s}

targets=$(grep -rEl '^func Fuzz[A-Z]' --include='*_test.go' . | sort)
[ -n "$targets" ] || { echo 'fuzz: there are no fuzz targets' >&2; exit 1; }
for file in $targets; do
	# Names of functions have no blanks.
	# shellcheck disable=SC2013
	for target in $(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*$/\1/p' "$file"); do
		printf '\n== %s in %s for %s\n' "$target" "$(dirname "$file")" "$fuzztime"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$fuzztime" "$(dirname "$file")"
	done
done
