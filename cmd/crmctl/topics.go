package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/config"
)

// newHelp returns what the help says of crmctl as a whole.
func newHelp() *cli.Help {
	return &cli.Help{
		Examples: `  crmctl local start                                   a PostgreSQL to try it on
  crmctl tenant create acme-corp "Tech Startup"        new, migrated and ready
  crmctl migrate all-tenants                           all at the newest version
  crmctl contacts import --tenant acme-corp leads.csv  contacts from a file
`,
		Brief: groupSelf,
		Small: []string{"cluster", "demo", "psql", "report", "seed"},
		More: `More: crmctl COMMAND --help; crmctl help exit-codes, environment, configuration
`,
		Topics: "environment, configuration, exit-codes, flags",
		Exits:  exitTexts(),
	}
}

// helpTopics returns what `crmctl help TOPIC` knows beside the commands.
func helpTopics() []*cobra.Command {
	return []*cobra.Command{
		cli.Topic("environment", "variables that crmctl reads", environmentTopic()),
		cli.Topic("configuration", "the configuration file and its profiles", configurationTopic()),
		cli.Topic("exit-codes", "what the exit codes mean", exitCodesTopic()),
		cli.Topic(cli.TopicFlags, "the flags of every command", ""),
	}
}

func environmentTopic() string {
	var b strings.Builder
	b.WriteString(`The database

  export DATABASE_URL=postgres://user@host/db      as a URL
  export DATABASE_URL="host=/run/postgresql dbname=crm"
  export PGHOST=db1 PGDATABASE=crm PGUSER=migrator as with psql

PGHOST, PGPORT, PGDATABASE, PGUSER, PGPASSWORD, PGPASSFILE (~/.pgpass), PGSERVICE,
PGSERVICEFILE, PGSSLMODE, PGSSLROOTCERT, PGCONNECT_TIMEOUT and the rest of libpq's
variables mean what they mean to psql. There is no flag for a password, since anybody
could read it in the list of processes.

A flag wins over CRMCTL_*, that over DATABASE_URL, that over PGHOST and PGDATABASE,
those over the configuration file, and the file over the default.

crmctl's own variables

`)
	width := 0
	for _, v := range config.Variables() {
		width = max(width, len(v.Name)+2)
	}
	for _, v := range config.Variables() {
		cli.WriteEntry(&b, width, v.Name, v.Usage)
	}
	b.WriteString(`
Terminal

  NO_COLOR, CLICOLOR_FORCE, TERM=dumb   colour, as everywhere
  LC_ALL, LC_CTYPE, LANG                ASCII in place of bars, ticks off UTF-8
  GITHUB_ACTIONS                        annotations for failures

With CRMCTL_DRY_RUN=1 nothing is changed, whatever the command: those that change something
say what they would do, and one that cannot (psql) refuses to run.

A variable that is empty counts as not set. A value that cannot be read is an error.
`)
	return b.String()
}

// configurationTopic names every key that there is.
func configurationTopic() string {
	keys := "Keys: " + strings.Join(config.Keys(), ", ") +
		". An unknown key is an error. So is a file that others can write: it decides which database is worked on."
	return configurationFiles + strings.Join(cli.Wrap(keys, 90), "\n") + configurationSafety
}

const configurationFiles = `A configuration file is looked for in these places; the first that has a key wins:

  ./crmctl.yaml                            the project
  $XDG_CONFIG_HOME/crmctl/crmctl.yaml      the user (else ~/.config/crmctl/)
  /etc/crmctl/crmctl.yaml                  the machine

--config FILE or CRMCTL_CONFIG reads one file instead of them all.

  # crmctl.yaml
  concurrency: 8
  lock_timeout: 2s
  retention: 30d
  profile: staging
  profiles:
    staging:
      database_url: postgres://migrator@db-staging/crm
    prod:
      database_url: service=crm-prod
      protected: true
      migrations_dir: ./migrations

A profile's values count as if they were given where the profile was chosen: --profile
prod wins over DATABASE_URL, CRMCTL_PROFILE=prod does too, "profile: prod" in the file does
not. A protected profile wants its name typed before a change, or --confirm-profile NAME.
The names of profiles are lower-case.

crmctl local start writes the profile local into profiles.d beside the user's file.

`

const configurationSafety = `

extension_schema says where extensions of migrations are made that stand nowhere yet.
shared_schemas stand behind the tenant's own schema on the search path of every tenant: a list,
or names with commas between.

tenants_query is for an application that makes its tenants itself: one select that returns slug and
schema, and display_name and status where there are such. Names need their schema. crmctl takes in
what is new before it changes the fleet (crmctl tenant sync), and refuses to create, clone, rename
and delete tenants; with tenants_query_writes: true it does both. tenants_query_from names the
program that migrates new tenants (default goose), tenants_query_map and tenants_query_baseline
are --map and --baseline of crmctl migrate adopt.

erasure_key_file holds the keys by which erased persons are known again when a backup is restored,
a line each, for its owner alone (crmctl contacts person --help). A project's file cannot name it.

tenant_owner is the role that new tenants belong to; without it they belong to whom the others
do. With "none" crmctl works as its own role everywhere, whoever owns a tenant's schema.

./crmctl.yaml is the project's, and others may have put it there. It cannot name programs to
run: its pg_bin is ignored, with a warning. trusted_owners is refused there. Its tenants_query
calls no function but those that make texts of texts (coalesce, lower, replace, ...). Its
addresses take no passfile, servicefile, sslkey, sslcert, require_auth or unusual options. A
profile of the same name in the user's or the machine's file wins over one of its own, and so do
their dry_run: true and expect_database. A password from ~/.pgpass or PGPASSWORD is proved to a
server that it names (SCRAM), and never shown. It is not used where the directory is somebody
else's, or open to everybody. A file that --config names is yours, and may say all.

A password file that others can read is ignored, with a warning, as by psql.

crmctl config show --origin says of every value where it came from.
`

func exitCodesTopic() string {
	var b strings.Builder
	b.WriteString("Exit codes\n\n")
	for _, t := range exitTexts() {
		fmt.Fprintf(&b, "  %-4d %s\n", t.Code, t.Text)
	}
	return b.String()
}
