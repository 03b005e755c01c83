#!/bin/sh
# Writes the completions of each shell into a directory, for a release.
set -eu

dir=${1:?usage: scripts/completions.sh DIR}
mkdir -p "$dir"
for shell in bash zsh fish powershell; do
	go run ./cmd/crmctl completion "$shell" >"$dir/crmctl.$shell"
done
