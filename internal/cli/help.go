package cli

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const (
	// AnnotationExits holds the exit codes that DocumentExits lists.
	AnnotationExits = "exit-codes"
	helpWidth       = 80 // columns; the narrowest terminal that is common
	maxFlag         = 30 // columns; a longer flag has a line of its own
)

// DocumentExits lists in a command's help the exit codes it may end with,
// beside those of every command (0, 1, 64, 130).
func DocumentExits(cmd *cobra.Command, codes ...int) {
	codes = append(codes, ExitOK, ExitFailure, ExitUsage, ExitInterrupted)
	slices.Sort(codes)
	var texts []string
	for _, code := range slices.Compact(codes) {
		texts = append(texts, strconv.Itoa(code))
	}
	Annotate(cmd, AnnotationExits, strings.Join(texts, " "))
}

// Help prints the help of commands.
type Help struct {
	Examples string     // of the tool as a whole, four lines
	Brief    string     // the group whose commands stand on one line
	Small    []string   // commands that stand on one line at the end of their group
	More     string     // where to read on
	Topics   string     // "environment, flags"
	Exits    []ExitText // in order

	Usage  error // somebody asked for help on what is not there
	Failed error // the help could not be written
}

// Show prints the help of a command. cobra calls it for --help whatever
// else is on the line, so a mistyped command has to be noticed here.
func (h *Help) Show(cmd *cobra.Command, _ []string) {
	if words := cmd.Flags().Args(); cmd.HasAvailableSubCommands() && cmd.Runnable() && len(words) > 0 {
		h.Usage = unknownCommand(cmd, words[0])
		return
	}
	w := bufio.NewWriter(cmd.OutOrStdout())
	switch {
	case !cmd.HasParent():
		h.writeRoot(w, cmd)
	case cmd.Name() == TopicFlags && !cmd.Runnable():
		writeFlagsTopic(w, cmd.Root())
	case cmd.IsAdditionalHelpTopicCommand():
		fmt.Fprintln(w, Reflow(strings.TrimSpace(cmd.Long), helpWidth))
	default:
		h.writeCommand(w, cmd)
	}
	if err := w.Flush(); err != nil && h.Failed == nil {
		h.Failed = fmt.Errorf("write help: %w", err)
	}
}

// writeRoot fits one screen of 24 lines: a sentence, the examples, the groups, where
// to read on.
func (h *Help) writeRoot(w io.Writer, root *cobra.Command) {
	fmt.Fprintf(w, "%s.\n%s\n", root.Short, h.Examples)
	const title, name = 8, 13 // columns
	line := func(group, command, text string) {
		head := fmt.Sprintf("%-*s  %-*s  ", title, group, name, command)
		for i, part := range Wrap(text, helpWidth-len(head)) {
			if i > 0 {
				head = strings.Repeat(" ", len(head))
			}
			fmt.Fprintln(w, head+part)
		}
	}
	for _, group := range root.Groups() {
		label := group.Title
		var brief []string // commands that share a line
		left := ""
		for _, cmd := range root.Commands() {
			switch only := onlyCommand(cmd); {
			case cmd.GroupID != group.ID || !cmd.IsAvailableCommand():
			case cmd.Annotations[annotationSeldom] != "":
				left = ", ..."
			case h.Brief == group.ID, slices.Contains(h.Small, cmd.Name()):
				brief = append(brief, cmd.Name())
			case only != "":
				brief = append(brief, cmd.Name()+" "+only)
			default:
				line(label, cmd.Name(), contents(cmd))
				label = ""
			}
		}
		if len(brief) > 0 {
			fmt.Fprintf(w, "%-*s  %s\n", title, label, strings.Join(brief, ", ")+left)
		}
	}
	fmt.Fprint(w, h.More)
}

// onlyCommand returns the name of the one command of a group, "" where there are more, or
// none.
func onlyCommand(cmd *cobra.Command) string {
	only := ""
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			if only != "" {
				return ""
			}
			only = sub.Name()
		}
	}
	return only
}

// annotationSeldom marks what Seldom has.
const annotationSeldom = "crmctl_seldom"

// Seldom leaves a command out of the first help, where its group ends with "..." instead:
// few need it, and a screen has 24 lines. The help of its group names it.
func Seldom(cmd *cobra.Command) *cobra.Command {
	Annotate(cmd, annotationSeldom, "true")
	return cmd
}

// contents names the commands of a group, or says what a command does.
func contents(cmd *cobra.Command) string {
	var names []string
	left := ""
	for _, sub := range cmd.Commands() {
		switch {
		case !sub.IsAvailableCommand():
		case sub.Annotations[annotationSeldom] != "":
			left = ", ..."
		default:
			names = append(names, sub.Name())
		}
	}
	if len(names) == 0 {
		return cmd.Short
	}
	return strings.Join(names, ", ") + left
}

func (h *Help) writeCommand(w io.Writer, cmd *cobra.Command) {
	if cmd.HasExample() {
		fmt.Fprintf(w, "%s\n\n", indentExamples(cmd.Example))
	}
	text := cmd.Long
	if text == "" {
		text = cmd.CommandPath() + ": " + cmd.Short + "."
	}
	fmt.Fprintln(w, Reflow(strings.TrimSpace(text), helpWidth))
	if cmd.HasAvailableSubCommands() {
		fmt.Fprint(w, "\nCommands\n")
		for _, sub := range cmd.Commands() {
			if sub.IsAvailableCommand() {
				WriteEntry(w, 16, sub.Name(), sub.Short)
			}
		}
	} else {
		fmt.Fprintf(w, "\nUsage\n  %s\n", strings.Join(Wrap(cmd.UseLine(), helpWidth-4), "\n    "))
	}
	if own := cmd.LocalNonPersistentFlags(); hasFlags(own) {
		fmt.Fprint(w, "\nFlags\n")
		writeFlags(w, own)
	}
	h.writeExitCodes(w, cmd)
	if cmd.HasAvailableInheritedFlags() {
		fmt.Fprint(w, "\nFlags of every command: crmctl help flags\n")
	}
}

// indentExamples gives every line of the examples two blanks, however they
// stand in the source.
func indentExamples(text string) string {
	var b strings.Builder
	for line := range strings.Lines(strings.TrimSpace(text)) {
		b.WriteString("  " + strings.TrimSpace(line) + "\n")
	}
	return strings.TrimRight(b.String(), "\n")
}

// hasFlags reports whether a set has more than --help.
func hasFlags(fs *pflag.FlagSet) bool {
	found := false
	fs.VisitAll(func(flag *pflag.Flag) { found = found || (!flag.Hidden && flag.Name != "help") })
	return found
}

// writeFlags prints the flags of a set, one a line, with their defaults.
func writeFlags(w io.Writer, fs *pflag.FlagSet) {
	type line struct{ left, right string }
	var lines []line
	width := 0
	fs.VisitAll(func(flag *pflag.Flag) {
		if flag.Hidden || flag.Name == "help" || flag.Name == "version" {
			return
		}
		value, usage := pflag.UnquoteUsage(flag)
		left := "    --" + flag.Name
		if flag.Shorthand != "" {
			left = "-" + flag.Shorthand + ", --" + flag.Name
		}
		if value != "" && flag.Value.Type() != "bool" {
			left += " " + value
		}
		if d := flag.DefValue; d != "" && d != "0" && d != "false" && d != "[]" {
			usage += " (default: " + d + ")"
		}
		lines = append(lines, line{left, usage})
		if len(left) <= maxFlag {
			width = max(width, len(left))
		}
	})
	for _, l := range lines {
		WriteEntry(w, width+2, l.left, l.right)
	}
}

// WriteEntry writes "  name    explanation", the explanation in a column of its own and,
// where the name is too long for that, below it.
func WriteEntry(w io.Writer, width int, name, text string) {
	const indent = "  "
	if len(name)+len(indent) > width {
		fmt.Fprintln(w, indent+name)
		name = ""
	}
	for _, part := range Wrap(text, helpWidth-width-len(indent)) {
		fmt.Fprintln(w, strings.TrimRight(fmt.Sprintf("%s%-*s%s", indent, width, name, part), " "))
		name = ""
	}
}

func (h *Help) writeExitCodes(w io.Writer, cmd *cobra.Command) {
	codes := strings.Fields(cmd.Annotations[AnnotationExits])
	if len(codes) == 0 {
		return
	}
	fmt.Fprint(w, "\nExit codes\n")
	for _, t := range h.Exits {
		if slices.Contains(codes, strconv.Itoa(t.Code)) {
			WriteEntry(w, 5, strconv.Itoa(t.Code), t.Text)
		}
	}
}

// NewHelpCommand replaces cobra's, which exits 0 on an unknown topic.
func NewHelpCommand(h *Help) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "help on a command or a topic",
		Long:  "Help on a command, or on a topic: " + h.Topics + ".",
		RunE: func(cmd *cobra.Command, args []string) error {
			target := cmd.Root()
			for _, word := range args {
				next := FindChild(target, word)
				if next == nil {
					return unknownCommand(target, word)
				}
				target = next
			}
			target.InitDefaultHelpFlag()
			h.Show(target, nil)
			return h.Usage // that help could not be written is no error of usage
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, prefix string) ([]cobra.Completion,
			cobra.ShellCompDirective) {
			target := cmd.Root()
			for _, word := range args {
				if target = FindChild(target, word); target == nil {
					return nil, cobra.ShellCompDirectiveNoFileComp
				}
			}
			var words []cobra.Completion
			for _, sub := range target.Commands() {
				if strings.HasPrefix(sub.Name(), prefix) && (sub.IsAvailableCommand() || sub.IsAdditionalHelpTopicCommand()) {
					words = append(words, cobra.CompletionWithDesc(sub.Name(), sub.Short))
				}
			}
			return words, cobra.ShellCompDirectiveNoFileComp
		},
	}
	NoConfig(cmd)
	return cmd
}

// FindChild returns the command of that name below cmd, nil for none.
func FindChild(cmd *cobra.Command, word string) *cobra.Command {
	for _, sub := range cmd.Commands() {
		if sub.Name() == word || sub.HasAlias(word) {
			return sub
		}
	}
	return nil
}

// TopicFlags is the help topic that is made of the flags of every command.
const TopicFlags = "flags"

// Topic makes a command that cannot be run, which cobra takes for a help topic.
func Topic(name, short, long string) *cobra.Command {
	return &cobra.Command{Use: name, Short: short, Long: long}
}

// writeFlagsTopic is made when it is asked for: the flags belong to the root.
func writeFlagsTopic(w io.Writer, root *cobra.Command) {
	fmt.Fprint(w, "Flags of every command\n\n")
	writeFlags(w, root.PersistentFlags())
	fmt.Fprint(w, "\nA flag wins over the environment, the environment over a file, a file over the\ndefault.\n")
}
