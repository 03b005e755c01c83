package main

import (
	"os/exec"
	"testing"
)

// The script for bash works in a shell that has nothing else: no bash-completion.
func TestBashCompletionStandsAlone(t *testing.T) {
	t.Parallel()
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash")
	}
	const script = `set -u
source <(crmctl completion bash --no-descriptions)
try() {
	COMP_LINE="$1" COMP_POINT=${#1} COMP_TYPE=9 COMP_KEY=9
	COMP_WORDS=("${@:2}") COMP_CWORD=$(($# - 2)) COMPREPLY=()
	__start_crmctl 2>/dev/null
	echo "$1| ${COMPREPLY[*]}"
}
declare -F _init_completion _get_comp_words_by_ref
try "crmctl local sta" crmctl local sta
try "crmctl help exit" crmctl help exit
try "crmctl tenant list --output=nd" crmctl tenant list --output = nd
try "crmctl tenant list -o y" crmctl tenant list -o y
try "crmctl completion " crmctl completion ""
try "crmctl --database-url=postgres://a local res" crmctl --database-url = postgres : //a local res
`
	cmd := exec.Command(bash, "--norc", "--noprofile", "-c", script)
	cmd.Dir = t.TempDir()
	cmd.Env = append(cmd.Environ(), "HOME="+cmd.Dir, "XDG_CONFIG_HOME="+cmd.Dir, "DATABASE_URL=", "GORACE="+noSleep)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Logf("%v", err)
	}
	equal(t, "completions", string(out), `crmctl local sta| start status
crmctl help exit| exit-codes
crmctl tenant list --output=nd| ndjson
crmctl tenant list -o y| yaml
crmctl completion | bash zsh fish powershell
crmctl --database-url=postgres://a local res| reset
`)
}
