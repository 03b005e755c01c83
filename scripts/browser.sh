#!/usr/bin/env bash
# Shows the pages of crmctl report in a headless Chromium, at two widths and in both themes, prints
# them, and leaves the pictures in dist/pages. Debian's chromium is installed where there is none and who
# runs it may install it.
set -euo pipefail
cd "$(dirname "$0")/.."
browser=${1:-}
if [ -z "$browser" ]; then
	if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
		echo 'no Chromium: install the package chromium, or give BROWSER=/path/to/it' >&2
		exit 1
	fi
	apt-get install -y --no-install-recommends chromium fonts-dejavu-core
	browser=$(command -v chromium)
fi
mkdir -p dist/pages
CRMCTL_BROWSER=$browser CRMCTL_PICTURES=$PWD/dist/pages \
	go test -timeout 9m -count 1 -run 'TestInBrowser|TestOnPaper' -v ./internal/report
