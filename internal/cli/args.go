package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/crmctl/crmctl/internal/suggest"
)

// NewGroup makes a command that only holds others: alone it shows its help,
// with an unknown word it is an error. (cobra's own default for nested groups
// prints help and exits 0, so a mistyped command would be green in a CI job.)
func NewGroup(use, short string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  GroupArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	NoConfig(cmd)
	cmd.AddCommand(commands...)
	return cmd
}

// GroupArgs is for commands that only hold others: any word is an unknown command.
func GroupArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return unknownCommand(cmd, args[0])
}

func unknownCommand(cmd *cobra.Command, word string) error {
	var names []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() || sub.IsAdditionalHelpTopicCommand() {
			names = append(names, sub.Name())
			names = append(names, sub.Aliases...)
		}
	}
	err := Usagef("unknown command %q for %q%s", word, cmd.CommandPath(), suggest.DidYouMean(word, names))
	if suggest.Nearest(word, names) == "" {
		err = WithHint(err, "all commands", cmd.CommandPath()+" --help")
	}
	return err
}

// NoArgs is for commands without arguments.
func NoArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return withHelpHint(cmd, Usagef("%q takes no arguments, but got %q", cmd.CommandPath(), args[0]))
}

// ExactArgs wants one argument for each name: exactArgs("TENANT", "NAME").
func ExactArgs(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return withHelpHint(cmd, Usagef("%q needs %s", cmd.CommandPath(), strings.Join(names[len(args):], " and ")))
		case len(args) > len(names):
			return withHelpHint(cmd, Usagef("%q takes %s, and nothing more: %q", cmd.CommandPath(), strings.Join(names, " and "),
				args[len(names)]))
		}
		return nil
	}
}

// MinArgs wants at least one argument for each name.
func MinArgs(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < len(names) {
			return withHelpHint(cmd, Usagef("%q needs %s", cmd.CommandPath(), strings.Join(names[len(args):], " and ")))
		}
		return nil
	}
}

func withHelpHint(cmd *cobra.Command, err error) error {
	return WithHint(err, "see", cmd.CommandPath()+" --help")
}

// FlagError puts an error of flag parsing into our words, with a suggestion.
func FlagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var missing *pflag.ValueRequiredError
	var invalid *pflag.InvalidValueError
	switch {
	case errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() != "":
		return withHelpHint(cmd, Usagef("unknown flag -%s for %q", unknown.GetSpecifiedName(), cmd.CommandPath()))
	case errors.As(err, &unknown):
		return unknownFlag(cmd, unknown.GetSpecifiedName())
	case errors.As(err, &missing):
		return withHelpHint(cmd, Usagef("--%s needs a value", missing.GetFlag().Name))
	case errors.As(err, &invalid):
		return Usagef("--%s=%s: %s", invalid.GetFlag().Name, invalid.GetValue(), wanted(invalid))
	}
	return withHelpHint(cmd, WithCode(err, ExitUsage))
}

func unknownFlag(cmd *cobra.Command, name string) error {
	var names []string
	add := func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	}
	cmd.Flags().VisitAll(add)
	cmd.InheritedFlags().VisitAll(add)
	if near := suggest.Nearest(name, names); near != "" {
		return Usagef(`unknown flag --%s for %q; did you mean "--%s"?`, name, cmd.CommandPath(), near)
	}
	return withHelpHint(cmd, Usagef("unknown flag --%s for %q", name, cmd.CommandPath()))
}

// wanted says what a flag accepts. Our own values say it themselves; for the
// ready-made ones it follows from the type.
func wanted(invalid *pflag.InvalidValueError) string {
	switch invalid.GetFlag().Value.Type() {
	case "bool":
		return "want true or false"
	case "int", "int64", "int32", "uint", "uint64":
		return "want a whole number"
	case "float64":
		return "want a number"
	}
	return fmt.Sprint(invalid.Unwrap())
}

// RequiredFlags fails where a flag that the command needs was not given. It comes before
// cobra's own check, whose error has no type.
func RequiredFlags(cmd *cobra.Command) error {
	if cmd.DisableFlagParsing {
		return nil
	}
	var missing []string
	cmd.Flags().VisitAll(func(flag *pflag.Flag) {
		if slices.Contains(flag.Annotations[cobra.BashCompOneRequiredFlag], "true") && !flag.Changed {
			missing = append(missing, "--"+flag.Name)
		}
	})
	if len(missing) == 0 {
		return nil
	}
	return withHelpHint(cmd, Usagef("%q needs %s", cmd.CommandPath(), strings.Join(missing, " and ")))
}

// AnnotationNoConfig marks what NoConfig was called with.
const AnnotationNoConfig = "no-config"

// NoConfig marks a command that works whatever the configuration says.
func NoConfig(cmd *cobra.Command) {
	Annotate(cmd, AnnotationNoConfig, "true")
}

// AnnotationApart marks what StandsApart was called with.
const AnnotationApart = "apart"

// StandsApart marks a command that has nothing to do with the user's database: a
// configuration that cannot be read does not stop it.
func StandsApart(cmd *cobra.Command) {
	Annotate(cmd, AnnotationApart, "true")
}

// Annotate gives a command an annotation.
func Annotate(cmd *cobra.Command, name, value string) {
	if cmd.Annotations == nil {
		cmd.Annotations = map[string]string{}
	}
	cmd.Annotations[name] = value
}
