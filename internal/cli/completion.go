package cli

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// CompleteWords completes a fixed set of words.
func CompleteWords(words ...string) cobra.CompletionFunc {
	return cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)
}

// RegisterCompletion ties a completion to a flag that is known to exist.
func RegisterCompletion(cmd *cobra.Command, flag string, complete cobra.CompletionFunc) {
	if err := cmd.RegisterFlagCompletionFunc(flag, complete); err != nil {
		panic(err) // only when the flag is not defined, which any test shows
	}
}

// Shells are those that completion knows.
func Shells() []string { return []string{"bash", "zsh", "fish", "powershell"} }

// WriteCompletion writes the script that lets a shell complete the commands of root.
func WriteCompletion(w io.Writer, root *cobra.Command, shell string, describe bool) error {
	switch shell {
	case "bash":
		return writeBashCompletion(w, root, describe)
	case "zsh":
		if describe {
			return root.GenZshCompletion(w)
		}
		return root.GenZshCompletionNoDesc(w)
	case "fish":
		return root.GenFishCompletion(w, describe)
	case "powershell":
		if describe {
			return root.GenPowerShellCompletionWithDesc(w)
		}
		return root.GenPowerShellCompletion(w)
	}
	return Usagef("unknown shell %q; want bash, zsh, fish or powershell", shell)
}

// writeBashCompletion writes cobra's script for bash, with functions of its own where
// cobra's counts on those of the package bash-completion, which many machines lack.
func writeBashCompletion(w io.Writer, root *cobra.Command, describe bool) error {
	var b bytes.Buffer
	if err := root.GenBashCompletionV2(&b, describe); err != nil {
		return err
	}
	text, name := b.String(), root.Name()
	for _, r := range [][2]string{
		{`    _get_comp_words_by_ref "$@" cur prev words cword`, bashWords},
		{"_filedir", "__" + name + "_filedir"},
	} {
		if !strings.Contains(text, r[0]) {
			return fmt.Errorf("the script for bash has no %q", r[0])
		}
		text = strings.ReplaceAll(text, r[0], r[1])
	}
	at := strings.Index(text, "\n__")
	_, err := io.WriteString(w, text[:at]+strings.ReplaceAll(bashFiles, "NAME", name)+text[at:])
	return err
}

// bashWords splits the line at blanks up to the cursor. Bash itself cuts at = and : too,
// which are part of a word here.
const bashWords = `    local i word gap rest="${COMP_LINE:0:COMP_POINT}" glued=""
    words=()
    for ((i = 0; i <= COMP_CWORD; i++)); do
        gap="${rest%%[![:space:]]*}"
        rest="${rest#"$gap"}"
        word="${COMP_WORDS[i]}"
        ((i == COMP_CWORD)) && word="$rest"
        rest="${rest#"$word"}"
        if [[ $i -gt 0 && -z $gap && ( $glued == 1 || $word == [=:]* ) ]]; then
            words[${#words[@]}-1]+="$word"
        else
            words+=("$word")
        fi
        glued=""
        [[ $word == *[=:] ]] && glued=1
    done
    cword=$((${#words[@]} - 1))
    cur="${words[cword]}"
    prev=""
    ((cword > 0)) && prev="${words[cword-1]}"
    return 0`

// bashFiles completes files and, with -d, directories.
const bashFiles = `
__NAME_filedir()
{
    if declare -F _filedir >/dev/null 2>&1; then
        _filedir "$@"
        return
    fi
    local kind=-f line
    [[ ${1-} == -d ]] && kind=-d
    compopt -o filenames 2>/dev/null
    while IFS='' read -r line; do
        COMPREPLY+=("$line")
    done < <(compgen $kind -- "$cur")
}
`
