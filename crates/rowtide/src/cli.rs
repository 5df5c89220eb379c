//! The words of the command line: what was typed, not yet what it means.

mod verify;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use verify::Verify;

/// Copies databases, follows their logs, applies every change exactly once.
#[derive(Debug, Parser)]
#[command(
    name = "rowtide",
    version,
    max_term_width = 100,
    arg_required_else_help = true,
    subcommand_required = true,
    disable_help_subcommand = false,
    after_help = EXAMPLES
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  rowtide demo
      See it work: a throwaway PostgreSQL, a live workload, a DuckDB file, a proof
  rowtide check --from postgres://me@db/shop --to duckdb:shop.duckdb
      What would be in the way, with the SQL that fixes it; changes nothing
  rowtide run --from postgres://me@db/shop --to duckdb:shop.duckdb --tables 'public.*'
      Copy the tables, then follow every change until Ctrl-C
  rowtide run --once
      Catch up, then exit: for cron and Airflow (configuration from rowtide.toml)
  rowtide status
      Phases, rows, lag, retained log, the last error

Exit codes:
  0 done   1 a difference was found   2 usage or configuration   3 access denied
  4 unavailable   5 needs an operator   70 a bug in rowtide

Passwords: leave them out of --from; use PGPASSWORD, ~/.pgpass, or '${env:NAME}' in the URL.";

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct Global {
    /// How messages look on stderr: text, json, or auto (text on a terminal, else json)
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Auto, value_name = "FORMAT",
          hide_possible_values = true, hide_default_value = true)]
    pub(crate) log: LogFormat,
    /// Show warnings and errors only
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// Show more; twice for everything (ROWTIDE_LOG takes precise filters)
    #[arg(long, short, global = true, action = clap::ArgAction::Count, conflicts_with = "quiet")]
    pub(crate) verbose: u8,
}

/// How log messages are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Bars and text on a terminal, JSON lines elsewhere
    Auto,
    /// Plain lines
    Text,
    /// One JSON object per line
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Copy tables, then follow the source's log
    Run(Run),
    /// Look for everything that would be in the way, and change nothing
    Check(Check),
    /// See it work: a throwaway PostgreSQL, a live workload, a DuckDB file, a proof
    Demo(Demo),
    /// Make changes in the source, to watch them arrive
    Simulate(Simulate),
    /// Tell where a pipeline stands, on both sides
    Status(Status),
    /// List the rows that are kept out of the destination, and why
    Quarantine(Quarantine),
    /// Compare both sides while they change: which rows differ, and how
    Verify(Verify),
    /// Stop, start, copy again or skip single tables, while the others go on
    Table(Table),
    /// Print the source's changes as JSON lines, without touching a pipeline
    Tap(Tap),
    /// Remove what a pipeline made: slot, publication, and on request its tables
    Teardown(Teardown),
    /// Write a commented configuration file
    Init(Init),
    /// Explain and show the configuration
    #[command(subcommand)]
    Config(Config),
    /// Print a completion script for a shell
    Completions(Completions),
}

/// Which pipeline: a configuration file, flags, or flags over a file.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Pipeline")]
pub(crate) struct Pipeline {
    /// The configuration file [default: rowtide.toml, if there is one and no --from]
    #[arg(long, short, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where changes come from: postgres://user@host/database
    #[arg(long, value_name = "URL")]
    pub(crate) from: Option<String>,
    /// Where they go: duckdb:FILE or postgres://…
    #[arg(long, value_name = "URL")]
    pub(crate) to: Option<String>,
    /// Which tables: patterns such as 'public.*', '!public.tmp_*' leaves out [default: public.*]
    #[arg(long, value_name = "PATTERN", num_args = 1.., allow_hyphen_values = false)]
    pub(crate) tables: Vec<String>,
    /// The pipeline's name [default: the source database's]
    #[arg(long = "pipeline", alias = "name", value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// How tables are treated: 'public.events:mode=append,delete=soft,target=a.b,metadata=true'
    #[arg(long, value_name = "PATTERN:FIELD=VALUE,…")]
    pub(crate) rule: Vec<String>,
    /// Any other option of the configuration, for example stream.buffer_bytes=64MiB
    #[arg(long, value_name = "OPTION=VALUE")]
    pub(crate) set: Vec<String>,
}

/// `rowtide run`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rowtide run --from postgres://me@db/shop --to duckdb:s.duckdb --tables 'public.*' '!public.tmp_*'
  rowtide run --config shop.toml --once
  rowtide run --rule 'public.events:mode=append' --rule 'public.orders:delete=soft' …

Ctrl-C finishes what is in flight and exits within 10 seconds; a second one exits at once. Either
way nothing is lost or applied twice: the next run goes on where the destination stands.")]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) pipeline: Pipeline,
    /// Catch up with the source's position at the start, then exit
    #[arg(long, help_heading = "Run")]
    pub(crate) once: bool,
    /// Which part of the job to do [default: auto]
    #[arg(long, value_enum, help_heading = "Run")]
    pub(crate) mode: Option<Mode>,
    /// Copy these tables again although they are copied
    #[arg(long, value_name = "PATTERN", num_args = 1.., help_heading = "Run")]
    pub(crate) resync: Vec<String>,
    /// Serve metrics and health over HTTP at this address, for example 127.0.0.1:9464
    #[arg(long, value_name = "ADDRESS:PORT", help_heading = "Run")]
    pub(crate) metrics_listen: Option<String>,
}

/// `rowtide table`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rowtide table resync public.orders --config shop.toml
  rowtide table pause public.events public.clicks

A pipeline that runs on this machine does it at once and goes on with its other tables. One that
does not run does it when it runs next. A table that is copied again stays readable as it was until
the new copy takes its place.")]
pub(crate) struct Table {
    /// What to do
    #[arg(value_enum)]
    pub(crate) command: TableVerb,
    /// The tables, by their names at the source
    #[arg(required = true, value_name = "TABLE")]
    pub(crate) table: Vec<String>,
    #[command(flatten)]
    pub(crate) pipeline: Pipeline,
}

/// What to do with a table.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum TableVerb {
    /// Copy and follow a table that was made at the source since the start
    Add,
    /// Copy it again, and go on
    Resync,
    /// Copy it again with the rows that are in quarantine; what still does not fit goes back there
    Replay,
    /// Stop applying its changes
    Pause,
    /// Go on with a stopped table, by a new copy
    Resume,
    /// Leave a stopped table as it is; `run` no longer calls it a failure
    Skip,
}

/// Which part of copy-then-follow.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Mode {
    /// Copy what is not copied yet, then follow
    Auto,
    /// Copy every table afresh, then exit
    FullLoad,
    /// Follow only
    Cdc,
}

impl Mode {
    /// The mode as the configuration spells it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::FullLoad => "full-load",
            Self::Cdc => "cdc",
        }
    }
}

/// `rowtide check`
#[derive(Debug, Args)]
#[command(after_help = "Exit code 0: nothing is in the way. 2: something must be fixed first. \
3 or 4: the source or the destination could not be reached.")]
pub(crate) struct Check {
    #[command(flatten)]
    pub(crate) pipeline: Pipeline,
    /// Print the findings as JSON
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,
}

/// `rowtide status`
#[derive(Debug, Args)]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) pipeline: Pipeline,
    /// Print everything as one JSON object
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,
}

/// `rowtide quarantine`
#[derive(Debug, Args)]
#[command(after_help = "\
Rows are in quarantine because a value cannot be represented and its policy says so. They come back
with their next version that can be, or with `rowtide table replay TABLE`.

A DuckDB file has one process at a time: while the pipeline runs, it cannot be looked into.")]
pub(crate) struct Quarantine {
    #[command(flatten)]
    pub(crate) pipeline: Pipeline,
    /// Only these tables
    #[arg(long, value_name = "PATTERN", num_args = 1.., help_heading = "Quarantine")]
    pub(crate) table: Vec<String>,
    /// Show each row with its key and its values, which may be confidential
    #[arg(long, help_heading = "Output")]
    pub(crate) show_values: bool,
    /// Print everything as one JSON object
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,
}

/// `rowtide tap`
#[derive(Debug, Args)]
#[command(after_help = "\
It reads through a temporary slot of its own, from now on: no pipeline is disturbed, and nothing
stays behind in the source.

Example:
  rowtide tap --from postgres://me@db/shop --tables public.orders --limit 10 | jq .row")]
pub(crate) struct Tap {
    #[command(flatten)]
    pub(crate) pipeline: Pipeline,
    /// Stop after this many events
    #[arg(long, value_name = "N", help_heading = "Tap")]
    pub(crate) limit: Option<u64>,
    /// Stop after this many seconds
    #[arg(long, value_name = "SECONDS", help_heading = "Tap")]
    pub(crate) seconds: Option<f64>,
}

/// `rowtide simulate`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rowtide simulate 5 2 1 --from postgres://me@localhost/shop
      5 inserts, 2 updates, 1 delete in tables with a primary key
  rowtide simulate --rate 50 --seconds 60 --tables 'public.*'
      A steady load: about half inserts, some updates, few deletes

This writes random rows into the source database. Point it at one that may be scribbled on.")]
pub(crate) struct Simulate {
    /// How many rows to insert
    #[arg(value_name = "INSERTS", default_value_t = 0)]
    pub(crate) inserts: u64,
    /// How many rows to update
    #[arg(value_name = "UPDATES", default_value_t = 0)]
    pub(crate) updates: u64,
    /// How many rows to delete
    #[arg(value_name = "DELETES", default_value_t = 0)]
    pub(crate) deletes: u64,
    #[command(flatten)]
    pub(crate) pipeline: Pipeline,
    /// Changes per second, for a steady load
    #[arg(long, value_name = "N", help_heading = "Load")]
    pub(crate) rate: Option<f64>,
    /// How long the steady load lasts [default: until Ctrl-C]
    #[arg(long, value_name = "SECONDS", help_heading = "Load")]
    pub(crate) seconds: Option<f64>,
    /// Make the same choices again
    #[arg(long, value_name = "NUMBER", help_heading = "Load")]
    pub(crate) seed: Option<u64>,
}

/// `rowtide teardown`
#[derive(Debug, Args)]
pub(crate) struct Teardown {
    #[command(flatten)]
    pub(crate) pipeline: Pipeline,
    /// Also drop the pipeline's tables and state in the destination
    #[arg(long, help_heading = "Teardown")]
    pub(crate) destination: bool,
    /// Do not ask
    #[arg(long, short, help_heading = "Teardown")]
    pub(crate) yes: bool,
}

/// `rowtide demo`
#[derive(Debug, Args)]
#[command(after_help = "\
Nothing outside is touched: the server runs on a private port in a temporary directory and is gone
afterwards. The DuckDB file stays, to be queried.")]
pub(crate) struct Demo {
    /// How long the workload runs
    #[arg(long, value_name = "SECONDS", default_value_t = 20, help_heading = "Demo")]
    pub(crate) seconds: u64,
    /// Rows to begin with, over all tables
    #[arg(long, value_name = "N", default_value_t = 100_000, help_heading = "Demo")]
    pub(crate) rows: u64,
    /// Connections of the workload
    #[arg(long, value_name = "N", default_value_t = 4, help_heading = "Demo")]
    pub(crate) connections: u16,
    /// Where the DuckDB file is written
    #[arg(long, value_name = "DIRECTORY", default_value = ".", help_heading = "Demo")]
    pub(crate) keep: PathBuf,
    /// Keep the server after the proof, until Ctrl-C, to play with
    #[arg(long, help_heading = "Demo")]
    pub(crate) stay: bool,
}

/// `rowtide init`
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// Where changes come from
    #[arg(long, value_name = "URL", default_value = "postgres://user@localhost/database")]
    pub(crate) from: String,
    /// Where they go
    #[arg(long, value_name = "URL", default_value = "duckdb:warehouse.duckdb")]
    pub(crate) to: String,
    /// The file to write; `-` prints it
    #[arg(value_name = "FILE", default_value = "rowtide.toml")]
    pub(crate) file: PathBuf,
    /// Replace a file that exists
    #[arg(long)]
    pub(crate) force: bool,
}

/// `rowtide config …`
#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Print the configuration in effect and where each value came from; secrets are left out
    Show(ConfigShow),
    /// Print a JSON Schema of the configuration file, for editors
    Schema,
    /// Print the reference of all options, in Markdown
    Reference,
    /// Print the reference of all metrics, in Markdown
    #[command(hide = true)]
    Metrics,
    /// Print the reference of types, in Markdown
    #[cfg(all(feature = "postgres", feature = "duckdb"))]
    #[command(hide = true)]
    Types(ConfigTypes),
}

/// `rowtide config types`
#[cfg(all(feature = "postgres", feature = "duckdb"))]
#[derive(Debug, Args)]
pub(crate) struct ConfigTypes {
    /// One line for each type and destination, fields parted by tabs
    #[arg(long)]
    pub(crate) lines: bool,
}

/// `rowtide config show`
#[derive(Debug, Args)]
pub(crate) struct ConfigShow {
    #[command(flatten)]
    pub(crate) pipeline: Pipeline,
}

/// `rowtide completions`
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_says_what_it_is_for() {
        let help = Cli::command().render_help().to_string();
        for command in [
            "run",
            "check",
            "demo",
            "simulate",
            "status",
            "verify",
            "quarantine",
            "table",
            "tap",
            "teardown",
            "init",
            "config",
            "completions",
        ] {
            assert!(help.contains(&format!("\n  {command} ")), "{command} is not in\n{help}");
        }
        assert!(help.contains("Exit codes:") && help.contains("Examples:"), "{help}");
        for command in Cli::command().get_subcommands() {
            assert!(command.get_about().is_some(), "{} has no description", command.get_name());
        }
    }

    #[test]
    fn wrong_words_are_a_matter_of_usage() {
        for words in [
            &["rowtide", "nonsense"][..],
            &["rowtide", "run", "--mode", "sometimes"],
            &["rowtide", "simulate", "many"],
            &["rowtide", "run", "--quiet", "--verbose"],
        ] {
            let error = Cli::try_parse_from(words).unwrap_err();
            assert!(error.use_stderr(), "{words:?}");
        }
    }

    #[test]
    fn table_patterns_may_be_several_words_or_one_list() {
        let parsed = |words: &[&str]| match Cli::try_parse_from(words).unwrap().command {
            Command::Run(run) => {
                let lists = run.pipeline.tables;
                let split = lists.iter().flat_map(|list| rowtide_core::Pattern::split(list));
                split.map(str::to_owned).collect()
            }
            _ => Vec::<String>::new(),
        };
        let words = parsed(&["rowtide", "run", "--tables", "a.*", "!a.b", "--once"]);
        assert_eq!(words, ["a.*", "!a.b"]);
        assert_eq!(parsed(&["rowtide", "run", "--tables=a.*,!a.b"]), words);
    }
}
