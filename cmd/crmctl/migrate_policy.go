package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/migrate"
)

// runPolicy are the options of every command that runs migrations over a fleet.
type runPolicy struct {
	canary      string
	canaryPause time.Duration
	checkSQL    string

	concurrency       int
	concurrencyDirect int
	group             int
	attempts          int
	maxFailures       string
	failFast          bool
	deadline          time.Duration
	rate              float64
	order             string

	lockTimeout      time.Duration
	buildTimeout     time.Duration
	statementTimeout time.Duration
	syncCommit       bool
	allowChanged     bool
	reports          []string
}

func (o *runPolicy) addFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.canary, "canary", "1", "migrate these first, and the others only if they pass: `N`, N%, names, or 0 "+
		"for none")
	fs.Var(newDuration(&o.canaryPause, "0"), "canary-pause", "wait this `DURATION` between the canaries and the others")
	fs.StringVar(&o.checkSQL, "check-sql", "", "a `QUERY` that must return true in each canary afterwards")
	addConcurrencyFlag(fs, &o.concurrency)
	fs.IntVar(&o.concurrencyDirect, "concurrency-no-tx", 1,
		"the same for files marked NO TRANSACTION, `N` tenants at once")
	fs.IntVar(&o.attempts, "retries", fleet.DefaultAttempts-1, "try a busy tenant `N` times again")
	fs.StringVar(&o.maxFailures, "max-failures", "", "begin no other tenant once more than `N`, or N%, have failed")
	fs.BoolVar(&o.failFast, "fail-fast", false, "begin no other tenant once one has failed")
	fs.Var(newDuration(&o.deadline, "0"), "deadline", "begin no other tenant after this `DURATION`")
	fs.Float64Var(&o.rate, "rate-limit", 0, "begin at most `N` tenants a second")
	fs.Var(cli.NewEnum(&o.order, string(migrate.OrderSize), orderNames()), "order-by",
		"which tenants come first, by `ORDER`: size (smallest first), largest, name or version")
	addLockTimeoutFlag(fs, &o.lockTimeout)
	fs.Var(newDuration(&o.buildTimeout, "1m"), "lock-timeout-no-tx",
		"let an index build wait this `DURATION` for older transactions")
	addStatementTimeoutFlag(fs, &o.statementTimeout)
	fs.BoolVar(&o.syncCommit, "sync-commit", false, "wait for the disk after every tenant, not four times a second")
	fs.BoolVar(&o.allowChanged, "allow-changed", false, "accept files that were changed after they were applied")
	fs.StringArrayVar(&o.reports, "report", nil,
		"write a report to `FILE`: .xml (JUnit), .json, .md or .html; may be given more than once")
	addExpectDatabaseFlag(fs)
}

// addGroupFlag adds --group, for runs that go up.
func (o *runPolicy) addGroupFlag(fs *pflag.FlagSet) {
	fs.Var(&concurrencyValue{&o.group}, "group",
		"let up to `N` tenants share a transaction where a migration is short; 1 for each its own")
}

func orderNames() []string {
	var out []string
	for _, o := range migrate.Orders() {
		out = append(out, string(o))
	}
	return out
}

func (o *runPolicy) register(cmd *cobra.Command) {
	cli.RegisterCompletion(cmd, "order-by", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return orderNames(), cobra.ShellCompDirectiveNoFileComp
	})
}

func (o *runPolicy) validate() error {
	switch {
	case o.attempts < 0:
		return cli.Usagef("--retries %d: want 0 or more", o.attempts)
	case o.concurrencyDirect < 1:
		return cli.Usagef("--concurrency-no-tx %d: want 1 or more", o.concurrencyDirect)
	case o.rate < 0 || math.IsNaN(o.rate) || math.IsInf(o.rate, 0):
		return cli.Usagef("--rate-limit %v: want tenants a second", o.rate)
	case o.failFast && o.maxFailures != "":
		return cli.Usagef("--fail-fast is --max-failures 0: give one of them")
	}
	if _, err := o.parseCanary(); err != nil {
		return err
	}
	if _, err := o.stopAfter(100); err != nil {
		return err
	}
	for _, file := range o.reports {
		if _, err := reportFormat(file, ""); err != nil {
			return err
		}
		// The work comes first and the report after it: too late to learn this.
		dir := filepath.Dir(file)
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			return cli.Usagef("--report %s: there is no directory %s", file, dir)
		}
	}
	return nil
}

// parseCanary reads "3", "5%", "acme,5%" or "0".
func (o *runPolicy) parseCanary() (migrate.Canary, error) {
	c := migrate.Canary{Pause: o.canaryPause, Check: o.checkSQL}
	for part := range strings.SplitSeq(o.canary, ",") {
		part = strings.TrimSpace(part)
		n, percent, err := parseShare(part)
		switch {
		case err == nil && percent:
			c.Percent = max(c.Percent, n)
		case err == nil:
			c.Count = max(c.Count, int(n))
		default:
			name, slugErr := slugs([]string{part})
			if slugErr != nil || percent || strings.ContainsAny(part, "*?[") { // a name, not a pattern
				return c, cli.Usagef("--canary %s: want a number, a percentage or names of tenants", o.canary)
			}
			c.Names = append(c.Names, name[0])
		}
	}
	if c.Count == 0 && c.Percent == 0 && len(c.Names) == 0 && (c.Check != "" || c.Pause > 0) {
		return c, cli.Usagef("--check-sql and --canary-pause want a canary: --canary %s has none", o.canary)
	}
	return c, nil
}

// parseShare reads "20" or "2.5%".
func parseShare(s string) (n float64, percent bool, _ error) {
	text, percent := strings.CutSuffix(s, "%")
	if !percent {
		whole, err := strconv.Atoi(text)
		if err != nil || whole < 0 {
			return 0, false, fmt.Errorf("want a number or a percentage")
		}
		return float64(whole), false, nil
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || n < 0 || n > 100 || math.IsNaN(n) {
		return 0, true, fmt.Errorf("want a percentage from 0 to 100")
	}
	return n, true, nil
}

// stopAfter returns how many failures end a run over n tenants, 0 for none.
func (o *runPolicy) stopAfter(n int) (int, error) {
	switch {
	case o.failFast:
		return 1, nil
	case o.maxFailures == "":
		return 0, nil
	}
	share, percent, err := parseShare(o.maxFailures)
	if err != nil {
		return 0, cli.Usagef("--max-failures %s: %w", o.maxFailures, err)
	}
	if percent {
		share = math.Floor(float64(n) * share / 100)
	}
	return int(share) + 1, nil
}

// policy returns what the application takes.
func (o *runPolicy) policy() (app.Policy, error) {
	canary, err := o.parseCanary()
	if err != nil {
		return app.Policy{}, err
	}
	if _, err := o.stopAfter(1); err != nil {
		return app.Policy{}, err
	}
	return app.Policy{
		Canary: canary, Concurrency: o.concurrency, DirectConcurrency: o.concurrencyDirect, Attempts: o.attempts + 1,
		StopAfter: func(n int) int {
			most, _ := o.stopAfter(n) // parsed above
			return most
		},
		Deadline: o.deadline, Rate: o.rate, Order: migrate.Order(o.order),
		LockTimeout: o.lockTimeout, StatementTimeout: o.statementTimeout, BuildTimeout: o.buildTimeout,
		SyncCommit: o.syncCommit, Group: o.group, AllowChanged: o.allowChanged,
	}, nil
}
