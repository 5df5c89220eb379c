//! Disks that are full: what is said, and that nothing is lost once there is room again.

use std::path::Path;
use std::process::Command;

use rowtide_sandbox::ServerOptions;
use rowtide_testkit::proxy::{Connections, Direction, Shape};
use rowtide_testkit::{Finished, Rowtide, RowtideCommand, wait_for};

use crate::case::{Case, LIMIT};
use crate::faulty::{Faulty, QUICK};

/// The command's arguments run by a shell that sets something up first.
fn after(case: &Case, setup: &str) -> RowtideCommand {
    let config = case.directory.path().join("rowtide.toml").display().to_string();
    let script = format!("{setup} && exec \"$0\" \"$@\"");
    let words = ["-c", &script, env!("CARGO_BIN_EXE_rowtide"), "run", "--config", &config];
    RowtideCommand::new("sh", case.directory.path(), words)
}

/// No file may grow beyond `kibibytes`; a write that would do so fails.
fn limited(case: &Case, kibibytes: u32) -> RowtideCommand {
    after(case, &format!("trap '' XFSZ && ulimit -S -f {}", kibibytes * 2))
}

fn wait_for_words(rowtide: &mut Rowtide, words: &str, times: usize) {
    wait_for(words, LIMIT, || {
        let log = rowtide.stderr();
        if !rowtide.is_running() {
            return Err(format!("rowtide ended: {log}"));
        }
        match log.matches(words).count() {
            count if count >= times => Ok(Some(())),
            _ => Err(log),
        }
    })
    .unwrap();
}

/// Fills the destination's disk with `writes`, and makes room again by a restart.
fn fill(writes: &[&str], times: usize) {
    let Some(case) = Case::start(
        "CREATE TABLE kept (id int PRIMARY KEY, v text);
         INSERT INTO kept SELECT i, 'small' FROM generate_series(1, 100) i",
    ) else {
        return;
    };
    case.config(QUICK);
    case.once();
    for sql in writes {
        case.sql(sql);
    }
    let mut rowtide = limited(&case, 4 << 10).spawn().unwrap();
    wait_for_words(&mut rowtide, "retrying", times);
    let log = rowtide.stderr();
    let complaint = log.lines().find(|line| line.contains("retrying")).unwrap();
    for words in ["disk is full", "free space on the file system of the database"] {
        assert!(complaint.contains(words), "{words}: {complaint}");
    }
    // It can be ended in order although it cannot write.
    rowtide.terminate().unwrap();
    rowtide.wait(LIMIT).and_then(Finished::success).unwrap();
    case.settle(&["public.kept"]);
}

#[test]
fn a_disk_that_fills_up_at_the_destinations_log_loses_nothing() {
    let writes: Vec<String> = (0..40)
        .map(|n| {
            format!(
                "INSERT INTO kept SELECT 1000 * ({n} + 1) + i, repeat(md5(i::text), 20) \
                 FROM generate_series(1, 250) i"
            )
        })
        .collect();
    // Opening the file again empties its log into its data, so that once may be all.
    fill(&writes.iter().map(String::as_str).collect::<Vec<_>>(), 1);
}

#[test]
fn a_disk_that_fills_up_at_the_destinations_data_loses_nothing() {
    let write = "INSERT INTO kept SELECT 1000 + i, md5(i::text) || md5((-i)::text) \
                 FROM generate_series(1, 150000) i";
    fill(&[write], 3);
}

#[test]
fn a_disk_that_fills_up_at_a_copy_loses_nothing() {
    let Some(case) = Case::start(
        "CREATE TABLE big (id int PRIMARY KEY, v text);
         INSERT INTO big SELECT i, md5(i::text) || md5((-i)::text) FROM generate_series(1, 150000) i",
    ) else {
        return;
    };
    case.config(QUICK);
    let mut rowtide = limited(&case, 4 << 10).spawn().unwrap();
    // Each failure of the copy, and that of the whole attempt.
    wait_for_words(&mut rowtide, "copy failed, starting it again", 4);
    wait_for_words(&mut rowtide, "retrying", 1);
    assert!(rowtide.stderr().contains("disk is full"), "{}", rowtide.stderr());
    rowtide.terminate().unwrap();
    rowtide.wait(LIMIT).and_then(Finished::success).unwrap();
    case.settle(&["public.big"]);
}

/// Whether a file system of a chosen size can be had here without any rights.
fn can_mount() -> bool {
    let probe = "mount -t tmpfs -o size=64k none /mnt";
    let can = Command::new("unshare").args(["-Urm", "sh", "-c", probe]).output();
    let can = can.is_ok_and(|output| output.status.success());
    if !can {
        use std::io::Write;
        let test = std::thread::current().name().unwrap_or("a test").to_owned();
        // Not by eprintln!, whose output the test harness hides when a test passes.
        let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: no user and mount namespaces");
    }
    can
}

/// `setup` runs where it may mount; so does what follows.
fn in_namespace(case: &Case, setup: &str) -> RowtideCommand {
    let config = case.directory.path().join("rowtide.toml").display().to_string();
    let script = format!("{setup} && exec \"$0\" \"$@\"");
    let words =
        ["-Urm", "sh", "-c", &script, env!("CARGO_BIN_EXE_rowtide"), "run", "--config", &config];
    RowtideCommand::new("unshare", case.directory.path(), words)
}

fn mount(place: &Path, size: &str) -> String {
    format!("mount -t tmpfs -o size={size} none '{}'", place.display())
}

#[test]
fn a_disk_that_fills_up_at_what_is_kept_aside_loses_nothing() {
    if !can_mount() {
        return;
    }
    let Some(faulty) = Faulty::start(
        &ServerOptions::default(),
        "CREATE TABLE big (id int PRIMARY KEY, v text);
         INSERT INTO big SELECT i, repeat(md5(i::text), 30) FROM generate_series(1, 20000) i",
    ) else {
        return;
    };
    let spool = faulty.directory.path().join("spool");
    std::fs::create_dir(&spool).unwrap();
    let extra = format!("{QUICK}[stream]\nspool_directory = \"{}\"\n", spool.display());
    faulty.config_from(&faulty.proxy.url("postgres"), &extra);
    // So slow that the changes of the table must be kept aside until after the disk is full.
    let shape = Shape { bytes_per_second: 300_000, ..Shape::default() };
    faulty.proxy.shape(Connections::Sql, Direction::ToClient, shape);
    let mut rowtide = in_namespace(&faulty, &mount(&spool, "2m")).spawn().unwrap();
    wait_for_words(&mut rowtide, "copy started", 1);
    faulty.sql("UPDATE big SET v = v || 'u' WHERE id <= 15000");
    wait_for_words(&mut rowtide, "the spool in", 1);
    let log = rowtide.stderr();
    let complaint = log.lines().find(|line| line.contains("the spool in")).unwrap();
    let place = spool.display().to_string();
    for words in [&place, "retrying", "No space left", "stream.spool_directory"] {
        assert!(complaint.contains(words), "{words}: {complaint}");
    }
    faulty.proxy.heal();
    faulty.proxy.cut(&Connections::Sql);
    rowtide.terminate().unwrap();
    rowtide.wait(LIMIT).and_then(Finished::success).unwrap();
    faulty.settle(&["public.big"]);
}

#[test]
fn a_destination_whose_disk_is_full_goes_on_when_there_is_room() {
    if !can_mount() {
        return;
    }
    let Some(case) = Case::start("CREATE TABLE kept (id int PRIMARY KEY, v text)") else { return };
    case.config(QUICK);
    let place = case.directory.path().join("disk");
    std::fs::create_dir(&place).unwrap();
    let config = case.directory.path().join("rowtide.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let file = place.join("warehouse.duckdb");
    let text = text.replace(&case.file().display().to_string(), &file.display().to_string());
    std::fs::write(&config, text).unwrap();
    let mut rowtide = in_namespace(&case, &mount(&place, "6m")).spawn().unwrap();
    case.wait_until_copied(&mut rowtide, 1);
    case.sql(
        "INSERT INTO kept SELECT 1000 + i, md5(i::text) || md5((-i)::text) \
         FROM generate_series(1, 150000) i",
    );
    wait_for_words(&mut rowtide, "disk is full", 2);
    // The same process, once there is room.
    inside(&rowtide, &format!("mount -o remount,size=200m '{}'", place.display()));
    case.wait_until_caught_up(&mut rowtide);
    // What lies on that disk is gone with the process: it is looked at before.
    let copy = format!("cp '{}'* '{}'", file.display(), case.directory.path().display());
    rowtide.pause().unwrap();
    inside(&rowtide, &copy);
    rowtide.resume().unwrap();
    case.stop(rowtide);
    case.compare(&["public.kept"]);
}

/// Runs `script` where the process runs.
fn inside(rowtide: &Rowtide, script: &str) {
    let pid = rowtide.pid().to_string();
    let words = ["-t", &pid, "-U", "-m", "--preserve-credentials", "sh", "-c", script];
    let output = Command::new("nsenter").args(words).output().unwrap();
    assert!(output.status.success(), "{script}: {output:?}");
}
