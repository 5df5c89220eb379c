//! What a configuration file may say, and what is said about one that is wrong.

use std::path::Path;
use std::time::Duration;

use rowtide_core::{DeleteMode, Mode, TableName};

use super::*;
use crate::RunMode;

fn check_from(table: &toml::Table) -> Result<Option<String>> {
    let url = table.get("url").and_then(toml::Value::as_str).unwrap_or_default();
    match url.rsplit_once('/') {
        Some((_, "")) | None => Err(Error::config("the URL names no database")),
        Some((_, database)) => Ok(Some(database.to_owned())),
    }
}

const CONNECTORS: Connectors = Connectors {
    sources: &[ConnectorSpec {
        kind: "postgres",
        schemes: &["postgres", "postgresql"],
        url: "postgres://user@host/shop",
        about: "PostgreSQL.",
        options: &[
            OptionSpec::optional("slot", Kind::Text, "\"rowtide_shop\"", "The slot."),
            OptionSpec::optional("password", Kind::Text, "\"…\"", "The password.").secret(),
        ],
        check: check_from,
    }],
    destinations: &[ConnectorSpec {
        kind: "duckdb",
        schemes: &["duckdb"],
        url: "duckdb:warehouse.duckdb",
        about: "DuckDB.",
        options: &[OptionSpec::optional("memory_limit", Kind::Size(0), "\"1GiB\"", "Memory.")],
        check: |_| Ok(None),
    }],
};

const ENDS: &str = "version = 1\n[source]\nurl = \"postgres://u:s3cret@h/shop\"\n\
                    [destination]\nurl = \"duckdb:w.duckdb\"\n";

fn environment(name: &str) -> Option<String> {
    match name {
        "SECRET" => Some("hunter2".into()),
        "ROWTIDE_METRICS_TOKEN" => Some("0123456789abcdef".into()),
        "NESTED" => Some("${env:SECRET}".into()),
        "WHOLE" => Some("postgres://u:a%40b@h/d".into()),
        "AWKWARD" => Some("p@ss:w/rd#?é%".into()),
        _ => None,
    }
}

fn substitution() -> Substitution<'static> {
    Substitution { environment: &environment, directory: Path::new(".") }
}

fn finish(text: &str) -> Result<Configuration> {
    Draft::parse(text).finish(CONNECTORS, substitution())
}

fn failure(text: &str) -> String {
    match finish(text) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(error) => error.chain(),
    }
}

#[test]
fn the_smallest_file_has_the_defaults() {
    let configuration = finish(ENDS).unwrap();
    assert_eq!(configuration.pipeline, "shop");
    assert_eq!(configuration.source.kind, "postgres");
    assert_eq!(configuration.destination.kind, "duckdb");
    let settings = configuration.settings;
    assert!(settings.selection.contains(&TableName::new("public", "orders")));
    assert!(!settings.selection.contains(&TableName::new("other", "orders")));
    assert_eq!(settings.mode, RunMode::Auto);
}

#[test]
fn flags_alone_are_enough_and_win() {
    let mut draft = Draft::default();
    draft.set_text("source.url", "postgres://u@h/shop", "--from");
    draft.set_text("destination.url", "duckdb:w.duckdb", "--to");
    draft.set_list("tables.include", &["a.*".into(), "!a.tmp".into()], "--tables");
    draft.set_value("stream.buffer_bytes", "1MiB", "--set");
    draft.set_value("copy.lanes", "7", "--set");
    draft.add_rule(&[("match", "a.events"), ("mode", "append")], "--rule");
    let settings = draft.finish(CONNECTORS, substitution()).unwrap().settings;
    assert!(settings.selection.contains(&TableName::new("a", "b")));
    assert!(!settings.selection.contains(&TableName::new("a", "tmp")));
    assert_eq!((settings.buffer_bytes, settings.lanes), (1 << 20, 7));
    assert_eq!(settings.mode_of(&TableName::new("a", "events")), Mode::Append);

    let mut draft = Draft::parse(&format!("{ENDS}[run]\nonce = false\n"));
    draft.set_boolean("run.once", true, "--once");
    draft.set_text("source.url", "postgres://u@h/other", "--from");
    let configuration = draft.finish(CONNECTORS, substitution()).unwrap();
    assert!(configuration.settings.once);
    assert_eq!(configuration.pipeline, "other");
}

#[test]
fn a_file_with_many_options_reads_as_written() {
    let text = format!(
        "{ENDS}slot_is_not_here = 1\n[tables]\ninclude = [\"a.*\", \"b.c\"]\n[[table]]\n\
         match = \"a.e\"\nmode = \"append\"\nmetadata = {{ op = \"__op\" }}\ntarget = \"x.y\"\n\
         [[table]]\nmatch = \"a.*\"\ndelete = \"soft\"\nmetadata = true\n[run]\n\
         mode = \"full-load\"\n[retry]\nmax = \"1m 30s\"\n[copy]\nbatch_bytes = \"1MiB\"\n"
    )
    .replace("slot_is_not_here = 1\n", "");
    let settings = finish(&text).unwrap().settings;
    assert_eq!(settings.rules.len(), 2);
    assert_eq!(settings.rules[0].target, Some(TableName::new("x", "y")));
    let metadata = settings.rules[0].metadata.as_ref().unwrap();
    assert_eq!((metadata.op.as_deref(), &metadata.deleted), (Some("__op"), &None));
    assert_eq!(settings.rules[1].delete, Some(DeleteMode::Soft));
    assert_eq!(settings.mode, RunMode::FullLoad);
    assert_eq!(settings.retry_max, Duration::from_secs(90));
    assert_eq!(settings.copy_batch_bytes, 1 << 20);
}

#[test]
fn all_problems_are_reported_at_once_with_path_and_line() {
    let text = "version = 2\n\
        [source]\nurl = \"postgres://u@h/shop\"\nslott = \"x\"\n\
        [destination]\nurl = \"ducdb:w\"\n\
        [tables]\ninclude = [\"a.b.c\"]\n\
        [[table]]\nmatch = \"a.b\"\nmode = \"apend\"\n\
        [stream]\nbufer_bytes = \"16MiB\"\nspool_bytes = \"many\"\n\
        [retry]\ninitial = 10\n";
    let message = failure(text);
    for expected in [
        "8 problems",
        "line 1: `version`: expected 1, found 2",
        "line 4: `source.slott`: unknown option (did you mean `slot`?)",
        "line 6: `destination.url`",
        "did you mean `duckdb:`?",
        "line 8: `tables.include[0]`",
        "line 11: `table[0].mode`",
        "did you mean \"append\"?",
        "line 13: `stream.bufer_bytes`",
        "line 14: `stream.spool_bytes`",
        "line 16: `retry.initial`: expected a duration",
    ] {
        assert!(message.contains(expected), "{expected} is not in\n{message}");
    }
}

#[test]
fn syntax_errors_come_with_their_line_and_do_not_hide_the_rest() {
    let message = failure("version = 1\n[source\nurl = \"x\"\n[run]\nonce = 1\nmode = \n");
    assert!(message.contains("line 2: not TOML"), "{message}");
    assert!(message.contains("line 5: `run.once`"), "{message}");
    assert!(message.contains("line 6: not TOML"), "{message}");
    assert!(!message.contains("is missing"), "{message}");
}

#[test]
fn what_is_missing_is_said_with_an_example() {
    let message = failure("");
    assert!(message.contains("`version`: is missing"), "{message}");
    assert!(message.contains("postgres://user@host/shop"), "{message}");
    assert!(message.contains("--to"), "{message}");
}

#[test]
fn a_binary_or_missing_file_is_one_clear_error() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("binary.toml");
    for bytes in [&b"\x7fELF\x02\x01\x01\0\0"[..], b"version = 1\0", b"\xff\xfe"] {
        std::fs::write(&path, bytes).unwrap();
        let error = Draft::read(&path).err().unwrap();
        assert!(error.message().contains("is not a text file"), "{error}");
        assert_eq!(error.kind().exit_code(), 2);
    }
    let error = Draft::read(&directory.path().join("none.toml")).err().unwrap();
    assert!(error.message().contains("could not read"), "{error}");
    assert!(Draft::read(directory.path()).is_err());
}

#[test]
fn references_are_replaced_in_values_only_and_once() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("pw"), "from-file\n").unwrap();
    let from = Substitution { directory: directory.path(), ..substitution() };
    let text = "version = 1\n[source]\nurl = \"postgres://u:${env:SECRET}@h/${env:NESTED}\"\n\
                password = \"a${file:pw}b\"\n[destination]\nurl = \"duckdb:w\"\n";
    let configuration = Draft::parse(text).finish(CONNECTORS, from).unwrap();
    let option = |key: &str| configuration.source.options[key].as_str().unwrap();
    assert_eq!(option("url"), "postgres://u:hunter2@h/%24%7Benv%3ASECRET%7D");
    assert_eq!(option("password"), "afrom-fileb");

    let message = failure(&format!("{ENDS}\"${{env:SECRET}}\" = 1\n"));
    assert!(message.contains("`destination.${env:SECRET}`: unknown option"), "{message}");
    assert!(!message.contains("hunter2"));
}

#[test]
fn a_malformed_pattern_does_not_show_what_was_put_in() {
    let message = failure(&format!(
        "{ENDS}[tables]\ninclude = [\"${{env:SECRET}}.a.b\"]\n[[table]]\n\
         match = \"${{env:SECRET}}.a.b\"\n[[table]]\nmatch = \"a.b\"\n\
         target = \"${{env:SECRET}}.a.b\"\n"
    ));
    for path in ["tables.include[0]", "table[0].match", "table[1].target"] {
        assert!(message.contains(&format!("`{path}`: what was put in is not")), "{message}");
    }
    assert!(!message.contains("hunter2"), "{message}");
}

#[test]
fn what_is_put_into_a_url_cannot_change_its_shape() {
    let url = |text: &str| {
        let text =
            format!("version = 1\n[source]\nurl = \"{text}\"\n[destination]\nurl = \"duckdb:w\"\n");
        finish(&text).unwrap().source.options["url"].as_str().unwrap().to_owned()
    };
    let encoded = "p%40ss%3Aw%2Frd%23%3F%C3%A9%25";
    assert_eq!(url("postgres://u:${env:AWKWARD}@h/d"), format!("postgres://u:{encoded}@h/d"));
    assert_eq!(url("${env:WHOLE}"), "postgres://u:a%40b@h/d");
}

#[test]
fn references_that_cannot_be_replaced_are_refused() {
    for (reference, expected) in [
        ("${env:NOPE}", "environment variable NOPE is not set"),
        ("${file:no/such}", "could not read the file no/such"),
        ("${vault:kv/pg}", "not supported yet"),
        ("${NOPE}", "not a known reference"),
        ("${env:NOPE", "not closed"),
    ] {
        let message = failure(&format!("pipeline = \"{reference}\"\n{ENDS}"));
        assert!(message.contains(expected), "{message}");
        assert!(message.contains("line 1: `pipeline`"), "{message}");
    }
}

#[test]
fn secrets_are_shown_nowhere() {
    let text = format!("{ENDS}[run]\nmode = \"${{env:SECRET}}\"\n");
    let message = failure(&text);
    assert!(message.contains("`run.mode`") && !message.contains("hunter2"), "{message}");

    let text = ENDS.replace("[destination]", "password = \"pa55\"\n[destination]");
    let shown = Draft::parse(&text).show(CONNECTORS, substitution()).unwrap();
    assert!(!shown.contains("s3cret") && !shown.contains("pa55"), "{shown}");
    assert!(shown.contains("postgres://u:***@h/shop"), "{shown}");
    assert!(shown.contains("buffer_bytes = \"8MiB\"  # default"), "{shown}");
    assert!(toml::from_str::<toml::Table>(&shown).is_ok(), "{shown}");
}

#[test]
fn passwords_are_taken_out_of_urls() {
    for (url, expected) in [
        ("postgres://u:p@h/d", "postgres://u:***@h/d"),
        ("postgres://u:p@x:y@h:5432/d?a=b", "postgres://u:***@h:5432/d?a=b"),
        ("postgres://u:p/q@h/d", "postgres://u:***@h/d"),
        ("postgres://u@h/d?password=p&sslmode=x", "postgres://u@h/d?password=***&sslmode=x"),
        ("postgres://h:5432/d", "postgres://h:5432/d"),
        ("duckdb:a.duckdb", "duckdb:a.duckdb"),
    ] {
        assert_eq!(redacted_url(url), expected);
    }
}

#[test]
fn the_table_of_options_the_parser_and_the_defaults_agree() {
    let defaults = Settings::new(rowtide_core::TableSelection::default());
    for section in [RUN, COPY, STREAM, RETRY, VERIFY, METRICS] {
        for option in section.options {
            let text = format!("v = {}", option.default.unwrap_or(option.example));
            let root = document::parse(&text, &mut Problems::default());
            let node = root.at("v").unwrap();
            let mut settings = defaults.clone();
            let name = (section.name, option.key);
            assert!(read::apply(&mut settings, name, node), "{name:?} is not read");
            if option.default.is_some() {
                assert_eq!(format!("{settings:?}"), format!("{defaults:?}"), "{name:?}");
            } else {
                assert_ne!(format!("{settings:?}"), format!("{defaults:?}"), "{name:?}");
            }
        }
    }
    let mut settings = defaults.clone();
    let node = Node::new(Origin::Default, Value::Integer(1));
    assert!(!read::apply(&mut settings, ("run", "nonsense"), &node));
}

#[test]
fn the_example_is_valid_as_it_stands_and_with_every_option() {
    let urls = ("postgres://user@host/shop", "duckdb:warehouse.duckdb");
    let text = example(CONNECTORS, urls, None);
    assert!(finish(&text).is_ok(), "{text}");
    let all: Vec<_> = text
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(code) if !code.starts_with(' ') => code,
            _ => line,
        })
        .collect();
    let problems = finish(&all.join("\n")).err().map(|error| error.chain());
    assert_eq!(problems, None);
}

#[test]
fn schema_and_reference_name_every_option() {
    let schema = json_schema(CONNECTORS).to_string();
    let page = reference(CONNECTORS);
    for section in SECTIONS {
        for option in section.options {
            assert!(schema.contains(&format!("\"{}\"", option.key)), "{}", option.key);
            assert!(page.contains(&format!("| `{}` |", option.key)), "{}", option.key);
        }
    }
}

#[test]
fn metrics_are_not_served_to_others_without_a_token() {
    let with = |text: &str| format!("{ENDS}\n[metrics]\n{text}\n");
    for local in ["127.0.0.1:9464", "127.0.0.2:0", "[::1]:9464"] {
        let configuration = finish(&with(&format!("listen = \"{local}\""))).unwrap();
        assert_eq!(configuration.settings.metrics.listen, local.parse().ok());
    }
    for open in ["0.0.0.0:9464", "[::]:9464", "192.0.2.1:9464"] {
        let listen = format!("listen = \"{open}\"");
        let refused = failure(&with(&listen));
        assert!(
            refused.contains("metrics.listen") && refused.contains("metrics.token"),
            "{refused}"
        );
        let token = "token = \"0123456789${env:SECRET}\"";
        assert!(finish(&with(&format!("{listen}\n{token}"))).is_ok(), "{open}");
    }
    for malformed in ["9464", "localhost", "127.0.0.1", "http://127.0.0.1:9464"] {
        let refused = failure(&with(&format!("listen = \"{malformed}\"")));
        assert!(refused.contains("expected an address and a port"), "{refused}");
    }
    let refused = failure(&with("token = \"${env:SECRET}\""));
    assert!(refused.contains("metrics.token") && !refused.contains("hunter2"), "{refused}");
    let text = with("token = \"0123456789${env:SECRET}\"");
    let shown = Draft::parse(&text).show(CONNECTORS, substitution()).unwrap();
    assert!(shown.contains("token = \"<redacted>\"") && !shown.contains("hunter2"), "{shown}");
    let debugged = format!("{:?}", finish(&text).unwrap().settings);
    assert!(!debugged.contains("hunter2"), "{debugged}");
}
