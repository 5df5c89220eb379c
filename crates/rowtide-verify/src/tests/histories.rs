//! What must hold of every history: all damage is found, none is invented, and only what keeps
//! changing is left open.
//!
//! One history again: `ROWTIDE_SEED=17 cargo nextest run -p rowtide-verify -E 'test(histories)'`.

use std::collections::{BTreeSet, HashMap};

use rand::Rng;
use rowtide_core::canonical::Encoder;
use rowtide_core::{DeleteMode, MetadataColumns, Mode, Phase, TablePlan, TableSchema, TableState};

use super::world::{Cells, End, World, batch};
use crate::{Extent, Options, Report, TableReport, Verdict, Verifier};

const HISTORIES: u64 = 2_000;
/// Rows that nobody changes begin here.
pub(super) const COLD: u64 = 100;
pub(super) const COLD_ROWS: u64 = 60;
pub(super) const HOT_ROWS: u64 = 6;

pub(super) fn state_of(world: &World) -> TableState {
    streaming(world.schema())
}

/// A table that is followed and kept as it is at the source.
pub(super) fn streaming(source: TableSchema) -> TableState {
    let plan = TablePlan {
        target: source.name.clone(),
        source: source.into(),
        mode: Mode::Merge,
        delete: DeleteMode::Hard,
        metadata: MetadataColumns::default(),
    };
    plan.state(Phase::Streaming)
}

fn cold_cells(slot: u64) -> Cells {
    Cells {
        id: i64::try_from(slot).unwrap(),
        text: [Some("a".to_owned()), Some(String::new()), None][usize::try_from(slot % 3).unwrap()]
            .clone(),
        number: if slot.is_multiple_of(2) { 0.0 } else { -1.5 },
        amount: "1.50".into(),
    }
}

pub(super) fn seeds() -> Vec<u64> {
    match std::env::var("ROWTIDE_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (0..HISTORIES).collect(),
    }
}

/// Runs `history` for every seed, each on a clock of its own.
pub(super) fn every_seed<F: Future<Output = ()>>(name: &str, history: impl Fn(u64) -> F) {
    for seed in seeds() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let run = std::panic::AssertUnwindSafe(|| runtime.block_on(history(seed)));
        if let Err(panic) = std::panic::catch_unwind(run) {
            eprintln!(
                "again: ROWTIDE_SEED={seed} cargo nextest run -p rowtide-verify -E 'test({name})'"
            );
            std::panic::resume_unwind(panic);
        }
    }
}

pub(super) fn populated(seed: u64) -> World {
    let world = World::new(seed);
    (COLD..COLD + COLD_ROWS).for_each(|slot| world.settle_row(slot, cold_cells(slot)));
    world
}

fn set_going(world: &World) {
    let pause = *[3, 40, 400].get(world.lock().random.random_range(0..3_usize)).unwrap();
    tokio::spawn(world.clone().write(0..HOT_ROWS / 2, pause));
    tokio::spawn(world.clone().write(HOT_ROWS / 2..HOT_ROWS, pause * 3));
    tokio::spawn(world.clone().follow());
}

/// Damages up to four rows that nobody changes; returns the rows in question.
pub(super) fn damage(world: &World) -> Vec<Cells> {
    let mut touched = Vec::new();
    let many = world.lock().random.random_range(0..4);
    for _ in 0..many {
        let mut state = world.lock();
        let slot = COLD + state.random.random_range(0..COLD_ROWS);
        let kind = state.random.random_range(0..8);
        let original = cold_cells(slot);
        if touched.iter().any(|cells: &Cells| cells.id == original.id) {
            continue;
        }
        let at = state.destination.iter().position(|(cells, _)| *cells == original).unwrap();
        let version = 1_000_000 + slot;
        let mut damaged = original.clone();
        match kind {
            0 => drop(state.destination.remove(at)),
            1 => {
                // A row that the source has not.
                let extra = Cells { id: damaged.id + 10_000, ..damaged.clone() };
                state.destination.push((extra.clone(), version));
                touched.push(extra);
                continue;
            }
            2 => {
                // Twice, in a table with a key or without.
                state.destination.push((damaged.clone(), version));
            }
            3 => damaged.amount = "1.5".into(),
            4 => damaged.text = Some("other".into()),
            5 if damaged.text.as_deref() == Some("") => damaged.text = None,
            5 => damaged.text = Some(" ".into()),
            6 if damaged.number == 0.0 => damaged.number = -0.0,
            6 => damaged.number = f64::NAN,
            _ if damaged.text.is_none() => damaged.text = Some(String::new()),
            _ => damaged.amount = "-1.50".into(),
        }
        if kind >= 3 {
            state.destination[at] = (damaged.clone(), version);
        }
        touched.push(original);
        // Without a key it is another row.
        if kind >= 3 && !world.shape.keyed {
            touched.push(damaged);
        }
    }
    touched
}

fn hashes(world: &World, rows: &[Cells]) -> BTreeSet<String> {
    let stored: Vec<_> = rows.iter().map(|cells| (cells.clone(), 0)).collect();
    let schema = world.schema();
    let hashed = Encoder::new(&schema).unwrap().hash(&batch(&schema, &stored)).unwrap();
    hashed.keys.iter().map(|key| format!("{key:016x}")).collect()
}

async fn verified(world: &World, options: Options, mark: Option<String>) -> TableReport {
    let end = |is_source| End { world: world.clone(), is_source };
    let (source, destination) = (end(true), end(false));
    let state = state_of(world);
    let marks = mark.map(|mark| (state.schema.name.clone(), mark));
    let verifier = Verifier {
        source: &source,
        destination: &destination,
        arrival: world,
        pipeline: "p".into(),
        options,
        marks: marks.into_iter().collect::<HashMap<_, _>>(),
        repair: None,
    };
    let report: Report = verifier.verify(&[state], &|_| ()).await;
    report.tables.into_iter().next().unwrap()
}

pub(super) fn few_buckets() -> Options {
    Options { bucket_bits: 4, listed: 1_000, ..Options::default() }
}

/// Everything planted, and nothing else.
fn check(found: &TableReport, expected: &BTreeSet<String>, world: &World) {
    let rows: BTreeSet<String> = found.differences.iter().map(|one| one.row.clone()).collect();
    assert_eq!(rows, *expected, "{:?}: {found:#?}", world.shape);
    assert_eq!(found.differing, expected.len() as u64);
    assert!(found.unsettled <= HOT_ROWS * 3, "{found:#?}");
    let verdict = match (expected.is_empty(), found.unsettled) {
        (false, _) => Verdict::Differs,
        (true, 0) => Verdict::Equal,
        (true, _) => Verdict::Unsettled,
    };
    assert_eq!(found.verdict, verdict, "{found:#?}");
    let kept = found.disagreement.keys.as_ref().map_or(0, arrow_array::RecordBatch::num_rows);
    assert_eq!(kept + found.disagreement.rows.len(), expected.len());
}

#[test]
fn histories_find_all_damage_and_invent_none() {
    let differing = std::cell::Cell::new(0_u64);
    let unsettled = std::cell::Cell::new(0_u64);
    every_seed("histories_find_all_damage_and_invent_none", |seed| {
        let (differing, unsettled) = (&differing, &unsettled);
        async move {
            let world = populated(seed);
            let expected = hashes(&world, &damage(&world));
            set_going(&world);
            let found = verified(&world, few_buckets(), None).await;
            check(&found, &expected, &world);
            differing.set(differing.get() + found.differing);
            unsettled.set(unsettled.get() + u64::from(found.unsettled > 0));
        }
    });
    println!("{} rows found, {} not settled", differing.get(), unsettled.get());
    assert!(seeds().len() == 1 || differing.get() > HISTORIES);
    // Time is given generously: hardly any key is hotter than that.
    assert!(unsettled.get() * 20 <= HISTORIES, "{} not settled", unsettled.get());
}

#[test]
fn histories_at_rest_leave_nothing_open() {
    every_seed("histories_at_rest_leave_nothing_open", |seed| async move {
        let world = populated(seed);
        let expected = hashes(&world, &damage(&world));
        let found = verified(&world, few_buckets(), None).await;
        check(&found, &expected, &world);
        assert_eq!(found.unsettled, 0);
    });
}

#[test]
fn histories_since_a_mark_find_what_changed_since() {
    every_seed("histories_since_a_mark_find_what_changed_since", |seed| async move {
        let world = populated(seed);
        let mark = world.lock().random.random_range(0..COLD_ROWS);
        set_going(&world);
        // All damage after the mark is found; that before it only if rows are missing or extra.
        let touched = damage(&world);
        let options = Options { extent: Extent::Since, ..few_buckets() };
        let found = verified(&world, options, Some(mark.to_string())).await;
        let all = hashes(&world, &touched);
        let fresh = |cells: &Cells| {
            let slot = u64::try_from(cells.id).unwrap();
            slot >= COLD + mark && slot < COLD + COLD_ROWS && world.shape.keyed
        };
        let fresh: Vec<Cells> = touched.into_iter().filter(fresh).collect();
        let rows: BTreeSet<String> = found.differences.iter().map(|one| one.row.clone()).collect();
        assert!(rows.is_subset(&all), "invented: {:?} {found:#?}", world.shape);
        assert!(hashes(&world, &fresh).is_subset(&rows), "lost: {:?} {found:#?}", world.shape);
    });
}

#[test]
fn a_sample_finds_what_is_in_it() {
    every_seed("a_sample_finds_what_is_in_it", |seed| async move {
        if seed % 10 != 0 {
            return;
        }
        let world = populated(seed);
        let touched = damage(&world);
        set_going(&world);
        let extent = Extent::Sample { percent: 50.0, seed };
        let found = verified(&world, Options { extent, ..few_buckets() }, None).await;
        let chosen = crate::extent::sample(4, 50.0, seed);
        let inside = |hash: &String| chosen.contains(u64::from_str_radix(hash, 16).unwrap());
        let expected: BTreeSet<String> =
            hashes(&world, &touched).into_iter().filter(inside).collect();
        check(&found, &expected, &world);
    });
}

#[test]
fn more_than_is_followed_up_is_told_as_at_least() {
    every_seed("more_than_is_followed_up_is_told_as_at_least", |seed| async move {
        if seed % 40 != 0 {
            return;
        }
        let world = populated(seed);
        world.lock().destination.iter_mut().for_each(|(cells, _)| cells.amount = "2".into());
        set_going(&world);
        let found = verified(&world, Options { candidates: 10, ..few_buckets() }, None).await;
        assert!(found.at_least && found.verdict == Verdict::Differs, "{found:#?}");
        // Rows that only changed may be among those that are followed up.
        assert!(found.differing > 0 && found.differing < 2 * COLD_ROWS, "{found:#?}");
    });
}

#[test]
fn a_destination_that_does_not_come_is_no_difference() {
    every_seed("a_destination_that_does_not_come_is_no_difference", |seed| async move {
        if seed % 1_000 != 0 {
            return;
        }
        let world = populated(seed);
        // Nobody follows.
        tokio::spawn(world.clone().write(0..HOT_ROWS, 3));
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        let found = verified(
            &world,
            Options { timeout: std::time::Duration::from_secs(20), ..few_buckets() },
            None,
        )
        .await;
        assert_eq!(found.verdict, Verdict::Failed, "{found:#?}");
        assert_eq!(found.trouble.unwrap().kind, "unavailable");
    });
}
