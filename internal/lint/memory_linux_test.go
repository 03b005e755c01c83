package lint_test

import (
	"fmt"
	"os"
	"os/exec"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/crmctl/crmctl/internal/lint"
)

const lintLarge = "CRMCTL_TEST_LINT_LARGE"

// What a file's statements take is given back before the next one is read: the memory for
// a file of data is that of its text, and what it takes to make the parser.
func TestMemoryOfALargeFile(t *testing.T) {
	if info, ok := debug.ReadBuildInfo(); ok && slices.ContainsFunc(info.Settings, func(s debug.BuildSetting) bool {
		return s.Key == "-race" && s.Value == "true"
	}) {
		t.Skip("measured without the race detector")
	}
	if os.Getenv(lintLarge) != "" {
		var text strings.Builder
		for i := range 40000 {
			fmt.Fprintf(&text, "insert into contacts (id, name, company) values (%d, 'a name of a contact', 'a company with a "+
				"long name');\n", i)
			fmt.Fprintf(&text, "insert into contacts (id, name, company) values (%d, lower('A name'), 'x');\n", i)
		}
		if found := check(t, lint.Options{}, file("1_x.sql", up(text.String()))); len(found) > 0 {
			t.Errorf("%d findings, the first is %+v", len(found), found[0])
		}
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestMemoryOfALargeFile$", "-test.count=1")
	cmd.Env = append(os.Environ(), lintLarge+"=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	const limit = (270 + 256) << 20
	usage, _ := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if took := usage.Maxrss << 10; took > limit {
		t.Errorf("it took %d MB, want at most %d", took>>20, limit>>20)
	}
}
