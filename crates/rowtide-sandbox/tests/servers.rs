//! The sandbox against every PostgreSQL on this machine.

#![allow(
    clippy::unwrap_used,
    reason = "tests; clippy.toml reaches test functions but not their helpers"
)]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rowtide_sandbox::testing::start_or_skip;
use rowtide_sandbox::{Major, PostgresServer, ServerOptions, StopMode, client_tool};

/// Set for the child process that `a_killed_process_leaves_no_server` starts and kills.
const CHILD: &str = "ROWTIDE_SANDBOX_TEST_CHILD";

/// Starts the version, and has it decode a change: the one thing all of this is for.
fn decodes_changes(major: Major) {
    let Some(server) = start_or_skip(&ServerOptions::for_major(major)) else {
        return;
    };
    let ask = |sql: &str| server.psql("postgres", sql).unwrap();
    assert_eq!(ask("show server_version_num")[..2], major.to_string());
    assert_eq!(ask("show server_encoding"), "UTF8");
    assert_eq!(ask("show fsync"), "off");

    ask("create table t (id int primary key, name text); create publication p for all tables");
    ask("select pg_create_logical_replication_slot('s', 'pgoutput')");
    ask("insert into t values (1, 'é'); update t set name = 'b'; delete from t");
    let kinds = ask("select string_agg(chr(get_byte(data, 0)), '') from \
         pg_logical_slot_get_binary_changes('s', null, null, \
         'proto_version', '2', 'publication_names', 'p')");
    assert_eq!(kinds, "BRIUDC", "psql -c runs its statements as one transaction");

    let directory = server.directory().to_owned();
    let port = server.port();
    drop(server);
    assert!(!directory.exists(), "{} should be gone", directory.display());
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[test]
fn postgres_14() {
    decodes_changes(Major::V14);
}

#[test]
fn postgres_15() {
    decodes_changes(Major::V15);
}

#[test]
fn postgres_16() {
    decodes_changes(Major::V16);
}

#[test]
fn postgres_17() {
    decodes_changes(Major::V17);
}

#[test]
fn postgres_18() {
    decodes_changes(Major::V18);
}

#[test]
fn several_run_side_by_side() {
    let Some(first) = start_or_skip(&ServerOptions::default()) else {
        return;
    };
    let Some(second) = start_or_skip(&ServerOptions::default()) else {
        return;
    };
    assert_ne!(first.port(), second.port());
    assert_ne!(first.directory(), second.directory());
    first.psql("postgres", "create table only_here (id int)").unwrap();
    assert!(second.psql("postgres", "select from only_here").is_err());
}

#[test]
fn tls_verifies_against_the_authority() {
    let options = ServerOptions { tls: true, ..ServerOptions::default() };
    let Some(server) = start_or_skip(&options) else {
        return;
    };
    let authority = server.ca_certificate().unwrap();
    let connect = |host: &str, root: &Path| {
        let parts = format!(
            "host={host} port={} user=postgres dbname=postgres sslmode=verify-full sslrootcert={}",
            server.port(),
            root.display()
        );
        let sql = "select version from pg_stat_ssl where pid = pg_backend_pid()";
        let args = ["-X", "-A", "-t", "-c", sql, "-d", &parts];
        Command::new(client_tool("psql").unwrap()).args(args).output().unwrap()
    };
    for host in ["localhost", "127.0.0.1"] {
        let output = connect(host, authority);
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "TLSv1.3", "{complaint}");
    }

    let other = PostgresServer::start(&options).unwrap();
    let output = connect("localhost", other.ca_certificate().unwrap());
    assert!(!output.status.success(), "another authority must not be believed");
}

#[test]
fn scram_wants_the_password() {
    let password = "s3cret/@:é";
    let options = ServerOptions {
        auth_scram_password: Some(password.to_owned()),
        ..ServerOptions::default()
    };
    let Some(server) = start_or_skip(&options) else {
        return;
    };
    let stored = server.psql("postgres", "select rolpassword from pg_authid where oid = 10");
    assert!(stored.unwrap().starts_with("SCRAM-SHA-256$"));

    let wrong = server.url("postgres").replace("s3cret", "guess");
    let mut psql = Command::new(client_tool("psql").unwrap());
    let output = psql.args(["-X", "-w", "-d", &wrong, "-c", "select 1"]).output().unwrap();
    assert!(!output.status.success());
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(complaint.contains("password authentication failed"), "{complaint}");
}

#[test]
fn stopped_and_killed_servers_keep_their_port_and_committed_rows() {
    let Some(mut server) = start_or_skip(&ServerOptions::default()) else {
        return;
    };
    let port = server.port();
    server.psql("postgres", "create table t (id int)").unwrap();
    for round in 1..=6 {
        server.psql("postgres", &format!("insert into t values ({round})")).unwrap();
        match round % 3 {
            0 => server.stop(StopMode::Fast).unwrap(),
            1 => server.kill9(),
            _ => server.stop(StopMode::Immediate).unwrap(),
        }
        assert!(server.psql("postgres", "select 1").is_err(), "it should be down");
        assert_eq!(server.pid(), None);
        server.start_again().unwrap();
        assert_eq!(server.port(), port);
        assert_eq!(server.psql("postgres", "select count(*) from t").unwrap(), round.to_string());
    }
    let refused = server.start_again().unwrap_err().to_string();
    assert!(refused.contains("still running"), "{refused}");
}

#[test]
fn a_kill_takes_busy_backends_along() {
    let Some(mut server) = start_or_skip(&ServerOptions::default()) else {
        return;
    };
    let mut busy = Command::new(client_tool("psql").unwrap())
        .args(["-X", "-c", "select pg_sleep(600)", "-d", &server.url("postgres")])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let sleeping = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'";
    wait_for("the sleeping backend", || server.psql("postgres", sleeping).unwrap() == "1");
    server.kill9();
    assert!(!busy.wait().unwrap().success(), "its connection should have broken");
    server.start_again().unwrap();
    assert_eq!(server.psql("postgres", sleeping).unwrap(), "0");
}

#[test]
fn the_callers_settings_win() {
    let options = ServerOptions { fsync: true, ..ServerOptions::default() }
        .with_setting("max_wal_senders", "3")
        .with_setting("cluster_name", "it's mine");
    let Some(server) = start_or_skip(&options) else {
        return;
    };
    let ask = |sql: &str| server.psql("postgres", sql).unwrap();
    assert_eq!(ask("show max_wal_senders"), "3");
    assert_eq!(ask("show cluster_name"), "it's mine");
    assert_eq!(ask("show fsync"), "on");
}

#[test]
fn a_refused_setting_is_explained_by_the_servers_own_words() {
    let good = ServerOptions::default();
    if start_or_skip(&good).is_none() {
        return;
    }
    let bad = good.with_setting("no_such_setting", "1");
    let message = PostgresServer::start(&bad).unwrap_err().to_string();
    assert!(message.contains("could not start PostgreSQL"), "{message}");
    assert!(message.contains("unrecognized configuration parameter"), "{message}");
    assert!(message.contains("next:"), "{message}");
}

#[test]
fn the_server_outlives_the_thread_that_started_it() {
    let started = std::thread::spawn(|| start_or_skip(&ServerOptions::default())).join().unwrap();
    let Some(server) = started else { return };
    assert_eq!(server.psql("postgres", "select 1").unwrap(), "1");
}

/// The promise that lets tests be killed: this test runs itself in a child process that starts a
/// server and hangs, kills that process outright, and looks for what remains.
#[test]
fn a_killed_process_leaves_no_server() {
    let Some(parent) = std::env::var_os(CHILD) else {
        kill_a_child_that_holds_a_server();
        return;
    };
    let options = ServerOptions { directory: Some(parent.into()), ..ServerOptions::default() };
    let server = PostgresServer::start(&options).unwrap();
    println!("\nserver {} {}", server.pid().unwrap(), server.directory().display());
    std::thread::sleep(Duration::from_secs(600)); // until we are killed
}

fn kill_a_child_that_holds_a_server() {
    if start_or_skip(&ServerOptions::default()).is_none() {
        return;
    }
    let parent = tempfile::Builder::new().prefix("sandbox-test").tempdir_in("/tmp").unwrap();
    open_to_everyone(parent.path());
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["a_killed_process_leaves_no_server", "--exact", "--nocapture"])
        .env(CHILD, parent.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines.map_while(Result::ok).find(|line| line.starts_with("server ")).unwrap();
    let mut words = line.split(' ').skip(1);
    let (pid, directory) = (words.next().unwrap(), Path::new(words.next().unwrap()));
    assert!(is_running(pid) && directory.is_dir());

    child.kill().unwrap();
    child.wait().unwrap();
    wait_for("the end of the server", || !is_running(pid));

    assert!(directory.is_dir(), "nobody was there to remove it");
    let options =
        ServerOptions { directory: Some(parent.path().to_owned()), ..ServerOptions::default() };
    let _next = PostgresServer::start(&options).unwrap();
    assert!(!directory.exists(), "the next server in that place should remove it");
}

fn open_to_everyone(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn is_running(pid: &str) -> bool {
    let mut stat = String::new();
    let file = fs::File::open(format!("/proc/{pid}/stat"));
    let read = file.and_then(|mut file| file.read_to_string(&mut stat));
    read.is_ok() && !stat.rsplit(") ").next().unwrap().starts_with(['Z', 'X'])
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < deadline, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
