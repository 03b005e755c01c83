package lint

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/crmctl/crmctl/internal/sqltext"
)

// Severity says what a finding does to the exit code.
type Severity string

const (
	// Error is for what a run refuses, or PostgreSQL refuses on every tenant.
	Error Severity = "error"
	// Warning is for what a run takes and deserves a second look: what destroys data,
	// stops the tenant's work or holds for all of them at once.
	Warning Severity = "warning"
)

// Citus is the target whose rules are added by Options.Target: schema-based
// sharding.
const Citus = "citus"

// File is a migration file to look at.
type File struct {
	Path string // as findings name it
	Text string
	// Err says why there is no text: a directory, a link to nothing, a missing right.
	Err error
	// Context files are read for what they say of the schema and of the versions
	// in use; what is wrong with them is not told.
	Context bool
	// Checksum is what the file's Up statements hash to, to compare with
	// Options.Applied; "" is not compared.
	Checksum string
}

// Options say how to look at files.
type Options struct {
	// Target adds the rules of a kind of server: "" or Citus.
	Target string
	// Shared are schemas that stand on the path of every tenant, behind its own.
	Shared []string
	// Since leaves out findings in files up to this version. The files are
	// read all the same: they say what the later ones work on.
	Since int64
	// Applied holds the checksums of the files that were applied somewhere, by
	// version.
	Applied map[int64]string
}

// Finding is one thing to mend.
type Finding struct {
	Rule      string   `json:"rule"`
	Severity  Severity `json:"severity"`
	File      string   `json:"file"`
	Line      int      `json:"line"`   // 1-based
	Column    int      `json:"column"` // 1-based, in characters
	Statement string   `json:"statement"`
	Message   string   `json:"message"`
	Why       string   `json:"why"`
	Fix       string   `json:"fix"`
}

// Check looks at files, in the order of their versions, and returns what it
// found, by file and place. A file that cannot be read as SQL is a finding and
// no error; an error says that the parser itself could not work, or that ctx
// has ended.
func Check(ctx context.Context, files []File, opts Options) ([]Finding, error) {
	if opts.Target != "" && opts.Target != Citus {
		return nil, fmt.Errorf("lint: no rules for the target %q", opts.Target)
	}
	c := &checker{opts: opts, rules: ruleIndex(), history: newHistory(), foreign: newForeign(), heads: map[string]node{}}
	sources := make([]*source, len(files))
	for i, f := range files {
		sources[i] = newSource(f)
	}
	slices.SortStableFunc(sources, func(a, b *source) int {
		return cmp.Or(cmp.Compare(a.version, b.version), strings.Compare(a.file.Path, b.file.Path))
	})
	if len(opts.Shared) > 0 {
		c.shared = newSharedNames(sources)
	}
	for _, s := range sources {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		if err := c.file(ctx, s); err != nil {
			return nil, fmt.Errorf("lint %s: %w", s.file.Path, err)
		}
	}
	c.duplicates(sources)
	c.leftBehind(sources)
	for _, s := range sources {
		c.useAllows(s)
	}
	return c.findings, nil
}

// checker collects the findings of a run.
type checker struct {
	opts     Options
	rules    map[string]Rule
	history  *history
	shared   sharedNames
	foreign  foreign
	heads    map[string]node // the trees of INSERTs that differ in constants only
	findings []Finding

	// Of the file under way.
	src     *source
	created map[string]bool // tables this file made
	updates []update        // of whole tables
	alters  bool            // it changes a table that is there
}

// found is a finding before the allows of its file were heard.
type found struct {
	Finding

	offset    int
	statement *statement // nil for one about the file
}

// at reports a finding at an offset of the file.
func (c *checker) at(s *statement, offset int, rule, message, fix string) {
	c.report(c.src, s, offset, rule, message, fix)
}

// on reports a finding at a node of a statement, or at its start where the node
// does not say where it is.
func (c *checker) on(s *statement, n node, rule, message, fix string) {
	offset := s.start
	if at, ok := n.number("location"); ok && at >= 0 && at <= len(s.sql) {
		if s.short != nil {
			at = s.short.Offset(at)
		}
		offset += at
	}
	c.at(s, offset, rule, message, fix)
}

func (c *checker) report(src *source, s *statement, offset int, rule, message, fix string) {
	r := c.rules[rule]
	if r.Target != "" && r.Target != c.opts.Target {
		return
	}
	if fix == "" {
		fix = r.Fix
	}
	line, column := src.position(offset)
	f := Finding{
		Rule: rule, Severity: r.Severity, File: src.file.Path, Line: line, Column: column,
		Message: message, Why: r.Why, Fix: fix,
	}
	if s != nil {
		f.Statement = s.excerpt()
	}
	src.found = append(src.found, found{Finding: f, offset: offset, statement: s})
}

// useAllows leaves out what the file allows, and reports the allows that are of
// no use.
func (c *checker) useAllows(src *source) {
	kept := src.found[:0]
	for _, f := range src.found {
		if rule := c.rules[f.Rule]; rule.Enforced && !rule.liftable() || !src.allowed(f) {
			kept = append(kept, f)
		}
	}
	src.found = kept
	for _, a := range src.allows {
		c.checkAllow(src, a)
	}
	if src.file.Context || src.named && src.version <= c.opts.Since {
		return
	}
	slices.SortStableFunc(src.found, func(a, b found) int { return cmp.Compare(a.offset, b.offset) })
	for _, f := range src.found {
		c.findings = append(c.findings, f.Finding)
	}
}

// checkAllow reports an allow that is of no use.
func (c *checker) checkAllow(src *source, a *allow) {
	rule, known := c.rules[a.Rule]
	switch {
	case slices.Contains(retiredRules, a.Rule):
		c.report(src, nil, a.Offset, ruleUnusedAllow,
			fmt.Sprintf("crmctl:allow %s silences nothing: there is no such rule any more", a.Rule), "")
	case !known:
		c.report(src, nil, a.Offset, ruleAllow, fmt.Sprintf("crmctl:allow names no rule: %q", a.Rule),
			"crmctl migrate lint --rules lists the rules.")
	case a.Reason == "":
		c.report(src, nil, a.Offset, ruleAllow, fmt.Sprintf("crmctl:allow %s gives no reason", a.Rule), "")
	case rule.Enforced && !rule.liftable():
		c.report(src, nil, a.Offset, ruleUnusedAllow,
			fmt.Sprintf("crmctl:allow %s lifts nothing: a run refuses such a statement all the same", a.Rule), "")
	case !a.used && (rule.Target == "" || rule.Target == c.opts.Target) &&
		(a.Rule != ruleChangedFile || c.opts.Applied != nil):
		c.report(src, nil, a.Offset, ruleUnusedAllow, fmt.Sprintf("crmctl:allow %s silences nothing", a.Rule), "")
	}
}

// file looks at one file.
func (c *checker) file(ctx context.Context, src *source) error {
	c.src, c.created, c.updates, c.alters = src, map[string]bool{}, nil, false
	switch {
	case src.reason != "":
		c.at(nil, 0, ruleFileName, fmt.Sprintf("%q %s", src.base(), src.reason), "")
	case !src.named:
		c.at(nil, 0, ruleFileName, fmt.Sprintf("%q is no name of a migration", src.base()), "")
	}
	if path.Ext(src.base()) == ".go" || src.file.Err != nil {
		return nil //nolint:nilerr // what is wrong was said above; there is no SQL in it
	}
	if sum, was := c.opts.Applied[src.version]; was && src.file.Checksum != "" && sum != src.file.Checksum {
		c.at(nil, 0, ruleChangedFile, fmt.Sprintf("version %d was applied with other statements", src.version), "")
	}
	if err := c.read(src); err != nil {
		return err
	}
	broken := len(src.found) > 0
	for _, s := range src.statements {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		sound, err := c.parse(s)
		if err != nil {
			return err
		}
		broken = broken || !sound
		c.statement(s)
		s.forget()
	}
	c.updatesWhileLocked()
	c.wholeFile(src, broken)
	return nil
}

// statement looks at one statement, knowing those before it.
func (c *checker) statement(s *statement) {
	c.judged(s)
	c.names(s)
	if s.tree.kind == "" {
		return
	}
	c.anywhere(s)
	c.sharedNames(s)
	if !s.down {
		c.upOnly(s)
		c.remember(s)
	}
}

const (
	// parseBytes is the length up to which a statement is parsed: its tree takes a hundred
	// times the memory. Rows of constants do not count.
	parseBytes = 1 << 20
	// maxHeads is how many beginnings of INSERT are kept with their trees.
	maxHeads = 1000
)

// parse reads a statement, and reports whether it could be read. Only the parser's own
// failure is an error.
func (c *checker) parse(s *statement) (sound bool, err error) {
	short := sqltext.FewerRows(s.sql)
	if tree, known := c.heads[short.Head]; known && short.Head != "" {
		s.tree = tree
		return true, nil
	}
	switch {
	case len(short.Text) > parseBytes:
		c.at(s, s.start, ruleUnchecked, fmt.Sprintf("the statement has %d bytes, more than are read by the grammar (%d)",
			len(s.sql), parseBytes), "")
		return false, nil
	case nesting(short.Text) > maxNesting:
		c.at(s, s.start, ruleUnchecked, "the statement is nested too deeply to be checked", "")
		return false, nil
	}
	tree, err := parseStatement(s, short.Text)
	var bad *syntaxError
	switch {
	case asSyntax(err, &bad):
		c.at(s, s.start+short.Offset(bad.offset), ruleSyntax, bad.message, "")
		return false, nil
	case err != nil:
		return false, err
	}
	s.tree, s.short = tree, &short
	if short.Head != "" {
		if len(c.heads) == maxHeads {
			clear(c.heads)
		}
		c.heads[strings.Clone(short.Head)] = tree
	}
	return true, nil
}

// duplicates reports versions that several files have.
func (c *checker) duplicates(sources []*source) {
	first := map[int64]*source{}
	for _, s := range sources {
		if !s.named {
			continue
		}
		if other, dup := first[s.version]; dup {
			if s.file.Context {
				s, other = other, s
			}
			c.report(s, nil, 0, ruleDuplicateVersion, fmt.Sprintf("%q %s", s.base(),
				sqltext.SameVersion(s.version, other.base())), "")
			continue
		}
		first[s.version] = s
	}
}
