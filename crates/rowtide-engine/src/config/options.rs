//! The one table of options. Parser, JSON Schema, reference page and example file all read it.

use rowtide_core::{Result, ValuePolicy};

/// What an option takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// A path; a relative one counts from the working directory.
    Path,
    /// `true` or `false`.
    Boolean,
    /// A whole number from the first to the second.
    Integer(i64, i64),
    /// A size such as `"64MiB"` (or a number of bytes), at least so many bytes.
    Size(u64),
    /// A duration such as `"10s"`.
    Duration,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A list of table patterns; one that starts with `!` excludes.
    Patterns,
    /// `true`, `false`, or a table from metadata column to its name.
    Metadata,
    /// A table from column to what happens to its values.
    Policies,
    /// A table from text to text.
    TextMap,
}

impl Kind {
    /// The kind in words, for the reference page.
    pub fn describe(self) -> String {
        let quoted = |words: &[&str]| {
            let words: Vec<_> = words.iter().map(|word| format!("`\"{word}\"`")).collect();
            words.join(", ")
        };
        match self {
            Self::Text => "text".into(),
            Self::Path => "path".into(),
            Self::Boolean => "`true` or `false`".into(),
            Self::Integer(low, i64::MAX) => format!("integer, at least {low}"),
            Self::Integer(low, high) => format!("integer, {low} to {high}"),
            Self::Size(0) => "size".into(),
            Self::Size(least) => format!("size, at least {}", super::format_size(least)),
            Self::Duration => "duration".into(),
            Self::Choice(words) => format!("one of {}", quoted(words)),
            Self::Patterns => "list of table patterns".into(),
            Self::Metadata => "`true`, `false`, or a table of names".into(),
            Self::Policies => "table of policies".into(),
            Self::TextMap => "table of texts".into(),
        }
    }
}

/// One option.
#[derive(Debug, Clone, Copy)]
pub struct OptionSpec {
    /// Its name inside its section.
    pub key: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// The default as it would be written; `None` if there is none.
    pub default: Option<&'static str>,
    /// A value as it would be written, for the example file.
    pub example: &'static str,
    /// What it does: whole sentences.
    pub about: &'static str,
    /// Whether its value is a secret.
    pub secret: bool,
    /// Whether it must be given.
    pub required: bool,
}

impl OptionSpec {
    /// An option with a default.
    pub const fn new(
        key: &'static str,
        kind: Kind,
        default: &'static str,
        about: &'static str,
    ) -> Self {
        Self {
            key,
            kind,
            default: Some(default),
            example: default,
            about,
            secret: false,
            required: false,
        }
    }

    /// An option without a default, and how it may look.
    pub const fn optional(
        key: &'static str,
        kind: Kind,
        example: &'static str,
        about: &'static str,
    ) -> Self {
        Self { default: None, ..Self::new(key, kind, example, about) }
    }

    /// Marks its value as a secret.
    #[must_use]
    pub const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    /// Marks it as one that must be given.
    #[must_use]
    pub const fn required(mut self) -> Self {
        self.required = true;
        self
    }
}

/// A section of the file.
#[derive(Debug, Clone, Copy)]
pub struct Section {
    /// Its name; empty for the options at the top of the file.
    pub name: &'static str,
    /// What it is about: whole sentences.
    pub about: &'static str,
    /// Whether it may be repeated (`[[name]]`).
    pub repeated: bool,
    /// Its options.
    pub options: &'static [OptionSpec],
}

/// What a kind of source or destination can be told, and how its options are checked.
#[derive(Clone, Copy)]
pub struct ConnectorSpec {
    /// Its `type`.
    pub kind: &'static str,
    /// The URL schemes that mean it.
    pub schemes: &'static [&'static str],
    /// A URL as an example.
    pub url: &'static str,
    /// What it is: whole sentences.
    pub about: &'static str,
    /// Its options beside `type` and `url`.
    pub options: &'static [OptionSpec],
    /// Checks the section without any I/O; returns a name for the pipeline, if it knows one.
    pub check: fn(&toml::Table) -> Result<Option<String>>,
}

/// The connectors of a program.
#[derive(Clone, Copy)]
pub struct Connectors {
    /// Those that can be a source.
    pub sources: &'static [ConnectorSpec],
    /// Those that can be a destination.
    pub destinations: &'static [ConnectorSpec],
}

/// The file's version that is understood.
pub const VERSION: i64 = 1;

use Kind::{Boolean, Choice, Duration, Integer, Metadata, Path, Patterns, Policies, Size, Text};
use OptionSpec as O;

/// The options at the top of the file.
pub const TOP: Section = Section {
    name: "",
    about: "At the top of the file.",
    repeated: false,
    options: &[
        O::optional("version", Integer(VERSION, VERSION), "1", "The version of the file's format.")
            .required(),
        O::optional(
            "pipeline",
            Text,
            "\"shop\"",
            "The pipeline's name: the key of its state in the destination, and part of the name \
             of its replication slot. Letters, digits, `_` and `-`. By default the name of the \
             source's database.",
        ),
    ],
};

/// `[source]` and `[destination]` have these beside the connector's own.
pub const ENDPOINT: &[OptionSpec] = &[
    O::optional(
        "url",
        Text,
        "\"…\"",
        "Where it is. The scheme tells the type of connector. Put no password here that others \
         may read: write `${env:NAME}` or `${file:PATH}` in its place.",
    )
    .secret(),
    O::optional("type", Text, "\"…\"", "The type of connector, where the URL does not tell."),
];

/// `[tables]`.
pub const TABLES: Section = Section {
    name: "tables",
    about: "Which tables belong to the pipeline. A pattern is `schema.table`; `*` stands for any \
            characters and `?` for one; a part in double quotes is taken literally.",
    repeated: false,
    options: &[
        O::new("include", Patterns, "[\"public.*\"]", "A table is taken if one of these matches."),
        O::new("exclude", Patterns, "[]", "… unless one of these matches as well."),
    ],
};

/// `[[table]]`.
pub const TABLE: Section = Section {
    name: "table",
    about: "How tables are treated. There may be many of these; of those that match a table the \
            last one that sets a field wins.",
    repeated: true,
    options: &[
        O::optional("match", Text, "\"public.events\"", "The pattern of the tables it is about.")
            .required(),
        O::new(
            "mode",
            Choice(&["merge", "append", "replace"]),
            "\"merge\"",
            "`merge` keeps the source's current rows, `append` keeps every change as a row of its \
             own, `replace` puts a fresh full copy in place at each run and does not follow.",
        ),
        O::new(
            "delete",
            Choice(&["hard", "soft"]),
            "\"hard\"",
            "What a delete at the source does in mode `merge`: `hard` removes the row, `soft` \
             keeps it with `_rowtide_deleted = true`.",
        ),
        O::new(
            "schema",
            Choice(&["apply", "ignore", "pause"]),
            "\"apply\"",
            "What a schema change at the source does. `apply` follows it; where the log does not \
             tell enough (a changed type, a volatile default, another key) the table is copied \
             again beside the standing one, which stays readable until the new one takes its \
             place. `ignore` keeps the destination's columns: new ones are left out, dropped ones \
             become NULL. `pause` stops the table until `--resync`.",
        ),
        O::optional(
            "metadata",
            Metadata,
            "true",
            "The columns that Rowtide adds: `true` for all, `false` for none, or a table such as \
             `{ op = \"__op\", deleted = \"__deleted\" }` for these alone, under these names. \
             There are `op`, `deleted`, `position`, `seq`, `committed_at`, `loaded_at` and \
             `unchanged`. By default append tables have all of them, tables with soft deletes \
             have `deleted`, others have none.",
        ),
        O::optional(
            "unrepresentable",
            Choice(ValuePolicy::WORDS),
            "\"quarantine\"",
            "What happens to values that their column's type cannot hold. `fail` stops the table, \
             `null` puts NULL in their place, `text` puts NULL there and the text into a column \
             `<column>_text` beside it, `quarantine` keeps the whole row out and tells of it in \
             `_rowtide.quarantine`. Each is counted in `rowtide status`. By default what \
             `[source]` says.",
        ),
        O::optional(
            "columns",
            Policies,
            "{ amount = \"text\" }",
            "The same for single columns, by name. A column of the key can only `fail` or go to \
             `quarantine`.",
        ),
        O::optional(
            "target",
            Text,
            "\"analytics.events\"",
            "The table's name in the destination, for a pattern without wildcard. By default the \
             same as at the source.",
        ),
    ],
};

/// `[run]`.
pub const RUN: Section = Section {
    name: "run",
    about: "What a run does.",
    repeated: false,
    options: &[
        O::new(
            "mode",
            Choice(&["auto", "full-load", "cdc"]),
            "\"auto\"",
            "`auto` copies what is not copied yet and then follows the log; `full-load` copies \
             every table afresh and ends; `cdc` follows the log only.",
        ),
        O::new(
            "once",
            Boolean,
            "false",
            "Catch up with the position that the source has at the start, then end with exit code \
             0: for cron, Airflow and other schedulers.",
        ),
        O::new(
            "on_position_lost",
            Choice(&["stop", "repair"]),
            "\"stop\"",
            "What happens when the place in the source's log is lost, because the slot or the \
             publication is gone or was moved. `stop` ends the run with exit code 5 and changes \
             nothing. `repair` follows the log from a new slot, compares each table's standing rows \
             with the source, and writes only what differs; a table in which too much differs is \
             copied again. It needs mode `auto`, and tables that follow in mode `merge`.",
        ),
    ],
};

/// `[copy]`.
pub const COPY: Section = Section {
    name: "copy",
    about: "How tables are copied.",
    repeated: false,
    options: &[
        O::new("parallel_tables", Integer(1, 64), "2", "Tables copied at the same time."),
        O::new("lanes", Integer(1, 64), "2", "Connections per table that is being copied."),
        O::new("batch_bytes", Size(64 << 10), "\"2MiB\"", "Bytes of one batch, per lane."),
    ],
};

/// `[stream]`.
pub const STREAM: Section = Section {
    name: "stream",
    about: "How the log is followed.",
    repeated: false,
    options: &[
        O::new(
            "buffer_bytes",
            Size(64 << 10),
            "\"8MiB\"",
            "Decoded changes that may wait for the destination, per stage. This bounds memory \
             whatever the size of a transaction.",
        ),
        O::new(
            "spool_bytes",
            Size(0),
            "\"4GiB\"",
            "Changes of tables that are still being copied which may be kept aside on disk. When \
             it is full the log is read no further until a copy has finished.",
        ),
        O::optional(
            "spool_directory",
            Path,
            "\"/var/tmp\"",
            "Where they are kept. By default the system's temporary directory.",
        ),
    ],
};

/// `[retry]`.
pub const RETRY: Section = Section {
    name: "retry",
    about: "What happens after an error that may pass, such as a lost connection.",
    repeated: false,
    options: &[
        O::new("initial", Duration, "\"200ms\"", "The first wait. It doubles each time."),
        O::new("max", Duration, "\"30s\"", "The longest wait between two attempts."),
        O::new(
            "startup",
            Duration,
            "\"10s\"",
            "How long a pipeline that never worked yet is retried while the other side cannot be \
             reached. One that worked before, or that meets what its server says may pass (a lock, \
             too many connections), is retried until it is stopped.",
        ),
    ],
};

/// `[verify]`.
pub const VERIFY: Section = Section {
    name: "verify",
    about: "How both sides are compared (`rowtide verify`).",
    repeated: false,
    options: &[
        O::new(
            "connections",
            Integer(1, 64),
            "3",
            "How many connections to the source comparing uses at once, over all tables, and as \
             many to a PostgreSQL destination. So many tables are compared at the same time; what \
             is left over reads ranges of large ones.",
        ),
        O::new(
            "statement",
            Duration,
            "\"1s\"",
            "No statement that reads a table takes much longer at the source, where the table can \
             be read in pieces.",
        ),
        O::new(
            "max_lag_bytes",
            Size(0),
            "\"64MiB\"",
            "Comparing pauses while the destination is further behind than so much log.",
        ),
        O::new(
            "timeout",
            Duration,
            "\"5m\"",
            "How long one table may take to come to a verdict. What still changes then is said \
             not to settle.",
        ),
        O::optional(
            "schedule",
            Text,
            "\"every 6h\"",
            "When a running pipeline compares all its tables by itself: `every` and a duration, or \
             a cron line of five fields in UTC. The verdicts are logged and kept in \
             `_rowtide.verify`.",
        ),
    ],
};

/// `[metrics]`.
pub const METRICS: Section = Section {
    name: "metrics",
    about: "Where a running pipeline serves its metrics (`/metrics`, for Prometheus) and its health \
            (`/health`) over HTTP. docs/metrics.md lists them.",
    repeated: false,
    options: &[
        O::optional(
            "listen",
            Text,
            "\"127.0.0.1:9464\"",
            "The address and port. Without it nothing is served. An address that others can reach \
             needs `token`. HTTP is not encrypted: over a network, put a proxy with TLS before it.",
        ),
        O::optional(
            "token",
            Text,
            "\"${env:ROWTIDE_METRICS_TOKEN}\"",
            "What every request must bring as `Authorization: Bearer …`: 16 characters or more. \
             Write `${env:NAME}` or `${file:PATH}` here.",
        )
        .secret(),
    ],
};

/// The sections with a fixed set of options, in the order of the file; `[source]` and
/// `[destination]` come after the first.
pub const SECTIONS: [Section; 9] = [TOP, TABLES, TABLE, RUN, COPY, STREAM, RETRY, VERIFY, METRICS];
