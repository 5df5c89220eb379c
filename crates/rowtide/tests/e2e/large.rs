//! Transactions larger than every buffer.

use crate::case::Case;
use rowtide_testkit::{peak_rss_bytes, wait_for};

#[test]
fn a_transaction_beyond_the_budget_streams_through_in_bounded_memory() {
    let Some(case) = Case::start(
        "CREATE TABLE t (id int PRIMARY KEY, v int, pad text);
         INSERT INTO t SELECT i, 0, repeat('p', 100) FROM generate_series(1, 200000) i",
    ) else {
        return;
    };
    case.config("[stream]\nbuffer_bytes = \"1MiB\"\n");
    case.once();
    let mut rowtide = case.run(&[]).spawn().unwrap();
    case.wait_until_streaming(&mut rowtide);
    case.sql("UPDATE t SET v = v + 1");
    case.wait_until_caught_up(&mut rowtide);
    let peak =
        wait_for("a peak", crate::case::LIMIT, || Ok(peak_rss_bytes(rowtide.pid()))).unwrap();
    case.stop(rowtide);
    case.compare(&["public.t"]);
    let allowed = (1 << 30) + (256 << 20);
    assert!(peak < allowed, "peak {peak} bytes, allowed {allowed}");
}
