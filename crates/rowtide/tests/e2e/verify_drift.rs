//! Columns that change while a table is compared: it is compared as it is then.

use crate::case::Case;
use crate::verify::{report, table};
use crate::verify_unseen::{Open, until};
use crate::warehouse::cli;

const SCHEMA: &str = "CREATE TABLE a (id int PRIMARY KEY, v text);
     INSERT INTO a SELECT i, 'v' || i FROM generate_series(1, 100) i";

/// The verification has begun with the old columns, and waits to look at the table.
const WAITING: &str = "SELECT count(*) > 0 FROM pg_locks WHERE relation = 'a'::regclass \
     AND mode = 'AccessShareLock' AND NOT granted";

#[test]
fn a_table_whose_columns_change_meanwhile_is_compared_again() {
    let Some(case) = Case::start(SCHEMA) else { return };
    let mut running = case.run(&[]).spawn().unwrap();
    case.wait_until_copied(&mut running, 1);
    case.wait_until_caught_up(&mut running);
    for ddl in ["ADD COLUMN extra int DEFAULT 7", "DROP COLUMN v"] {
        let open = Open::begin(&case, &format!("ALTER TABLE a {ddl}; UPDATE a SET id = -id"));
        let verified = std::thread::scope(|scope| {
            let verified = scope.spawn(|| cli(&case, &["verify", "--json"]));
            until(&case, WAITING, "t");
            open.commit();
            verified.join().unwrap()
        });
        assert_eq!(verified.code(), 0, "{ddl}: {verified:?}");
        let found = report(&verified);
        assert_eq!(table(&found, "a")["verdict"], "equal", "{found}");
        assert_eq!(table(&found, "a")["source_rows"], 100, "{found}");
    }
    case.stop(running);
    case.settle(&["public.a"]);
}
