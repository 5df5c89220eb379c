//! `rowtide table`, of a pipeline that runs and of one that does not.

use rowtide_testkit::RowtideCommand;

use crate::case::{Case, LIMIT};
use crate::warehouse::Warehouse;

const SCHEMA: &str = "CREATE TABLE a (id int PRIMARY KEY, v int);
     CREATE TABLE b (id int PRIMARY KEY, v int);
     INSERT INTO a SELECT i, i FROM generate_series(1, 100) i;
     INSERT INTO b SELECT i, i FROM generate_series(1, 100) i";

fn table(case: &Case, words: &[&str]) -> rowtide_testkit::Finished {
    let config = case.config("");
    let config = config.display().to_string();
    let all: Vec<&str> =
        ["table"].into_iter().chain(words.iter().copied()).chain(["--config", &config]).collect();
    case.command(&all).run(LIMIT).unwrap()
}

#[test]
fn a_running_pipeline_obeys_and_its_other_tables_go_on() {
    let Some(case) = Case::start(SCHEMA) else { return };
    let mut running = case.run(&[]).spawn().unwrap();
    case.wait_until_copied(&mut running, 2);
    let said = table(&case, &["pause", "public.a"]).success().unwrap();
    assert!(said.stdout.contains("public.a is paused"), "{said:?}");
    case.sql("UPDATE a SET v = v + 1;\nUPDATE b SET v = v + 1;\nCREATE TABLE c (id int PRIMARY KEY);\nINSERT INTO c VALUES (1)");
    case.wait_until_caught_up(&mut running);
    let refused = table(&case, &["pause", "public.a"]);
    assert_eq!(refused.code(), 2, "{refused:?}");
    assert!(refused.stderr.contains("stopped already"), "{refused:?}");
    let unknown = table(&case, &["resync", "public.nowhere"]);
    assert!(unknown.stderr.contains("knows no table"), "{unknown:?}");
    table(&case, &["resume", "public.a"]).success().unwrap();
    case.wait_until_copied(&mut running, 3);
    table(&case, &["add", "public.c"]).success().unwrap();
    case.wait_until_copied(&mut running, 4);
    case.sql("UPDATE a SET v = v + 1;\nINSERT INTO c VALUES (2)");
    case.wait_until_caught_up(&mut running);
    case.stop(running);
    case.compare(&["public.a", "public.b", "public.c"]);
}

#[test]
fn a_stopped_pipeline_does_it_when_it_runs_next() {
    let Some(case) = Case::start(SCHEMA) else { return };
    case.once();
    let said = table(&case, &["pause", "public.a"]).success().unwrap();
    assert!(said.stdout.contains("when the pipeline runs next"), "{said:?}");
    case.sql("UPDATE a SET v = 0 WHERE id < 10;\nDELETE FROM b WHERE id < 10");
    let run = case.run(&["--once"]).run(LIMIT).unwrap();
    assert_eq!(run.code(), 5, "{run:?}");
    assert!(run.stderr.contains("paused by an operator"), "{run:?}");
    case.compare(&["public.b"]);
    table(&case, &["skip", "public.a"]).success().unwrap();
    case.once();
    table(&case, &["resume", "public.a"]).success().unwrap();
    case.settle(&["public.a", "public.b"]);
}

/// A run has the pipeline from before it listens. Taking over from it would end it.
#[test]
fn a_command_does_not_end_a_run_that_does_not_listen_yet() {
    let there = Warehouse::start(
        "CREATE TABLE a (id int PRIMARY KEY, v int);\nINSERT INTO a VALUES (1, 1)",
        "",
    );
    let Some(there) = there else { return };
    let case = &there.case;
    let runtime = case.directory.path().join("runtime");
    std::fs::create_dir(&runtime).unwrap();
    let at = |command: RowtideCommand| command.env("XDG_RUNTIME_DIR", runtime.to_str().unwrap());
    let mut running = at(case.run(&[])).spawn().unwrap();
    case.wait_until_copied(&mut running, 1);
    // As it is before the socket is made.
    let sockets =
        std::fs::read_dir(runtime.join("rowtide")).unwrap().map(|one| one.unwrap().path());
    let sockets: Vec<_> =
        sockets.filter(|path| path.extension().is_some_and(|kind| kind == "sock")).collect();
    assert_eq!(sockets.len(), 1, "{sockets:?}");
    std::fs::remove_file(&sockets[0]).unwrap();
    let config = case.directory.path().join("rowtide.toml").display().to_string();
    let words = ["table", "pause", "public.a", "--config", &config];
    let asked = at(case.command(&words)).run(LIMIT).unwrap();
    assert_eq!(asked.code(), 4, "{asked:?}");
    assert!(asked.stderr.contains("cannot be reached"), "{asked:?}");
    case.sql("UPDATE a SET v = 2");
    case.wait_until_caught_up(&mut running);
    case.stop(running);
    there.compare("public.a", "the run goes on");
    // Nobody runs any more.
    at(case.command(&words)).run(LIMIT).unwrap().success().unwrap();
}
