//! Metrics and health of real pipelines, asked for as Prometheus does, and those of verifications.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rowtide_duckdb::{DuckdbDestination, DuckdbOptions};
use rowtide_testkit::{Rowtide, wait_for};

use crate::case::{Case, LIMIT};
use crate::warehouse::{Warehouse, cli};

const SCHEMA: &str = "CREATE TABLE a (id int PRIMARY KEY, name text);
     CREATE TABLE \"B \"\"b\" (id int PRIMARY KEY);
     INSERT INTO a SELECT i, 'n' || i FROM generate_series(1, 200) i;
     INSERT INTO \"B \"\"b\" VALUES (1), (2), (3)";
const ANYWHERE: &str = "127.0.0.1:0";

/// Where a pipeline serves, as it says itself.
fn address(running: &mut Rowtide) -> String {
    wait_for("the metrics to be served", LIMIT, || {
        let said = running.stderr();
        if !running.is_running() {
            return Err(format!("rowtide ended: {said}"));
        }
        let found =
            said.split_once("metrics at http://").and_then(|(_, rest)| rest.split_once('/'));
        Ok(found.map(|(address, _)| address.to_owned()))
    })
    .unwrap()
}

/// The status and the body of an answer.
fn get(address: &str, path: &str, header: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n{header}\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

/// The value of a series, spelled as in the text: `name{labels}`.
fn value(text: &str, series: &str) -> Option<f64> {
    let values = text.lines().filter_map(|line| line.rsplit_once(' '));
    values.filter(|(name, _)| *name == series).find_map(|(_, value)| value.parse().ok())
}

fn scraped(address: &str, series: &str) -> Option<f64> {
    let (status, text) = get(address, "/metrics", "");
    assert_eq!(status, 200, "{text}");
    value(&text, series)
}

/// Waits until the pipeline has counted `changes`.
fn wait_until_counted(address: &str, changes: u64) {
    wait_for(&format!("{changes} changes to be counted"), LIMIT, || {
        let counted = scraped(address, "rowtide_changes_total{pipeline=\"case\"}");
        let counted = counted.unwrap_or_default();
        #[expect(clippy::cast_precision_loss, reason = "a small count")]
        let wanted = changes as f64;
        assert!(counted <= wanted, "{counted} changes are counted, and {wanted} were made");
        if counted < wanted { Err(format!("{counted} are counted")) } else { Ok(Some(())) }
    })
    .unwrap();
}

#[test]
fn what_was_written_is_counted_exactly_and_again_after_a_lost_connection() {
    let Some(case) = Case::start(SCHEMA) else { return };
    let mut running = case.run(&["--metrics-listen", ANYWHERE]).spawn().unwrap();
    let address = address(&mut running);
    case.wait_until_copied(&mut running, 2);
    case.sql(
        "INSERT INTO a SELECT i, 'canary' FROM generate_series(1001, 1020) i;\n\
         UPDATE a SET name = 'canary' WHERE id <= 10;\n\
         DELETE FROM a WHERE id BETWEEN 11 AND 15",
    );
    case.transaction("INSERT INTO a VALUES (2001); UPDATE a SET name = 'x' WHERE id = 2001");
    wait_until_counted(&address, 37);
    case.wait_until_caught_up(&mut running);
    let (_, text) = get(&address, "/metrics", "");
    let of = |name: &str| value(&text, &format!("{name}{{pipeline=\"case\"}}"));
    assert_eq!(of("rowtide_changes_total"), Some(37.0), "{text}");
    assert_eq!(of("rowtide_transactions_total"), Some(4.0), "{text}");
    assert_eq!(of("rowtide_copied_rows_total"), Some(203.0), "{text}");
    assert!(of("rowtide_copied_bytes_total") > Some(0.0), "{text}");
    assert!(of("rowtide_change_bytes_total") > Some(0.0), "{text}");
    assert!(of("rowtide_epochs_total") >= Some(1.0), "{text}");
    assert_eq!(of("rowtide_epoch_duration_seconds_count"), of("rowtide_epochs_total"), "{text}");
    assert!(of("rowtide_delay_seconds_count") >= Some(1.0), "{text}");
    assert!(of("rowtide_lag_bytes").is_some() && of("rowtide_lag_seconds").is_some(), "{text}");
    assert_eq!(of("rowtide_retries_total"), Some(0.0), "{text}");
    let tables = "rowtide_tables{pipeline=\"case\",state=\"streaming\"}";
    assert_eq!(value(&text, tables), Some(2.0), "{text}");
    assert!(!text.contains("canary"), "{text}");
    let (status, health) = get(&address, "/health", "");
    assert_eq!(status, 200, "{health}");
    assert!(health.contains("\"idle\"") || health.contains("\"streaming\""), "{health}");

    case.sql("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active");
    case.sql("INSERT INTO a SELECT i FROM generate_series(3001, 3005) i");
    wait_until_counted(&address, 42);
    let lost = "rowtide_errors_total{pipeline=\"case\",kind=\"unavailable\"}";
    assert!(scraped(&address, lost) >= Some(1.0));
    assert!(scraped(&address, "rowtide_retries_total{pipeline=\"case\"}") >= Some(1.0));
    case.stop(running);
    assert!(TcpStream::connect(&address).is_err(), "it is still served");
    case.compare(&["public.a"]);
}

#[test]
fn verdicts_of_a_running_pipeline_are_counted_and_follow_a_repair() {
    let Some(there) = Warehouse::start(SCHEMA, "") else { return };
    let case = &there.case;
    let began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    let mut running = case.run(&["--metrics-listen", ANYWHERE]).spawn().unwrap();
    let address = address(&mut running);
    case.wait_until_copied(&mut running, 2);
    let series = |name: &str| format!("rowtide_verify_{name}{{pipeline=\"case\"}}");
    let of_a =
        |name: &str| format!("rowtide_verify_{name}{{pipeline=\"case\",table=\"public.a\"}}");
    let verdicts = |verdict: &str| {
        let labels = format!("pipeline=\"case\",verdict=\"{verdict}\"");
        scraped(&address, &format!("rowtide_verify_tables_total{{{labels}}}")).unwrap_or_default()
    };
    assert_eq!(scraped(&address, &of_a("last_equal_timestamp_seconds")), None);
    assert_eq!(cli(case, &["verify"]).code(), 0);
    assert!((verdicts("equal") - 2.0).abs() < 0.1);
    assert_eq!(scraped(&address, &series("rows_total")), Some(203.0));
    assert_eq!(scraped(&address, &series("duration_seconds_count")), Some(2.0));
    let first = scraped(&address, &of_a("last_equal_timestamp_seconds")).unwrap();
    assert!(first >= began && first < began + 3600.0, "{first} and {began}");
    let hostile = "table=\"public.\\\"B \\\"\\\"b\\\"\"";
    let (_, text) = get(&address, "/metrics", "");
    assert!(text.contains(hostile), "no {hostile} in {text}");

    there.sql(
        "UPDATE public.a SET name = 'canary' WHERE id = 33; DELETE FROM public.a WHERE id = 1",
    );
    assert_eq!(cli(case, &["verify", "--table", "public.a"]).code(), 1);
    assert!((verdicts("differs") - 1.0).abs() < 0.1);
    assert_eq!(scraped(&address, &of_a("table_differing_rows")), Some(2.0));
    assert_eq!(scraped(&address, &of_a("last_equal_timestamp_seconds")), Some(first));
    // A part that is equal proves nothing of the whole.
    assert_eq!(cli(case, &["verify", "--table", "public.a", "--where", "id > 100"]).code(), 0);
    assert_eq!(scraped(&address, &of_a("last_equal_timestamp_seconds")), Some(first));

    assert_eq!(cli(case, &["verify", "--repair", "--table", "public.a"]).code(), 0);
    assert_eq!(scraped(&address, &series("repaired_rows_total")), Some(2.0));
    assert_eq!(scraped(&address, &series("differing_rows_total")), Some(2.0));
    assert_eq!(scraped(&address, &of_a("table_differing_rows")), Some(0.0));
    assert!(scraped(&address, &of_a("last_equal_timestamp_seconds")) > Some(first));
    let (_, text) = get(&address, "/metrics", "");
    assert!(!text.contains("canary"), "{text}");
    case.stop(running);
}

#[test]
fn a_verification_writes_its_metrics_to_a_file() {
    let Some(case) = Case::start(SCHEMA) else { return };
    case.once();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let file = DuckdbDestination::new(DuckdbOptions::new(case.file())).unwrap();
    runtime.block_on(file.execute("UPDATE public.a SET name = 'canary' WHERE id < 4")).unwrap();
    drop(file);
    let path = case.directory.path().join("rowtide.prom");
    std::fs::write(&path, "of before").unwrap();
    let words = ["verify", "--metrics-file", &path.display().to_string()];
    assert_eq!(cli(&case, &words).code(), 1);
    let text = std::fs::read_to_string(&path).unwrap();
    let of_a = "rowtide_verify_table_differing_rows{pipeline=\"case\",table=\"public.a\"}";
    assert_eq!(value(&text, of_a), Some(3.0), "{text}");
    let counted = "rowtide_verify_tables_total{pipeline=\"case\",verdict=\"equal\"}";
    assert_eq!(value(&text, counted), Some(1.0), "{text}");
    assert!(text.contains("# HELP rowtide_verify_rows_total "), "{text}");
    assert!(!text.contains("canary") && !text.contains("of before"), "{text}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o644);
    let nowhere = case.directory.path().join("absent/rowtide.prom");
    let words = ["verify", "--metrics-file", &nowhere.display().to_string()];
    let refused = cli(&case, &words);
    assert_eq!(refused.code(), 2, "{refused:?}");
    assert!(refused.stderr.contains("--metrics-file"), "{refused:?}");
}

#[test]
fn a_token_is_asked_for_and_never_shown() {
    const TOKEN: &str = "canary-0123456789abcdef";
    let Some(case) = Case::start(SCHEMA) else { return };
    let token = "[metrics]\nlisten = \"127.0.0.1:0\"\ntoken = \"${env:CANARY_TOKEN}\"\n";
    case.config(token);
    let traced = case.run(&["-vv"]).env("CANARY_TOKEN", TOKEN);
    let mut running = traced.spawn().unwrap();
    let address = address(&mut running);
    case.wait_until_copied(&mut running, 2);
    for header in ["", "Authorization: Bearer canary-0123456789abcdeg\r\n"] {
        for path in ["/metrics", "/health"] {
            let (status, said) = get(&address, path, header);
            assert_eq!(status, 401, "{path} {header:?}: {said}");
            assert!(!said.contains(TOKEN) && !said.contains("rowtide_"), "{said}");
        }
    }
    let (status, text) = get(&address, "/metrics", &format!("Authorization: Bearer {TOKEN}\r\n"));
    assert_eq!(status, 200, "{text}");
    assert!(text.contains("rowtide_changes_total") && !text.contains(TOKEN), "{text}");
    let stopped = case.stop(running);
    assert!(!stopped.stderr.contains(TOKEN), "{}", stopped.stderr);
    let config = case.directory.path().join("rowtide.toml").display().to_string();
    let shown = case.command(&["config", "show", "--config", &config]).env("CANARY_TOKEN", TOKEN);
    let shown = shown.run(LIMIT).unwrap();
    assert!(shown.stdout.contains("<redacted>") && !shown.stdout.contains(TOKEN), "{shown:?}");
}

#[test]
fn a_taken_port_and_an_open_address_are_refused_before_anything_is_made() {
    let Some(case) = Case::start(SCHEMA) else { return };
    let taken = TcpListener::bind(ANYWHERE).unwrap();
    let at = taken.local_addr().unwrap().to_string();
    for (listen, said) in [(at.as_str(), "listens there"), ("0.0.0.0:0", "metrics.token")] {
        let refused = case.run(&["--metrics-listen", listen]).run(Duration::from_secs(60)).unwrap();
        assert_eq!(refused.code(), 2, "{refused:?}");
        assert!(refused.stderr.contains(said), "{refused:?}");
        assert!(refused.stderr.contains("--metrics-listen"), "{refused:?}");
    }
    assert_eq!(case.value("SELECT count(*) FROM pg_replication_slots"), "0");
    assert!(!case.file().exists());
}
