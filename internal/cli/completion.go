package cli

import (
	"io"

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
		return root.GenBashCompletionV2(w, describe)
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
