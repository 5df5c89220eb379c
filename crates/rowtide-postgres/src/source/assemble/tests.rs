//! Messages by hand, and a model of the server that streams what it likes.

mod model;

use super::*;

pub(super) fn start(xid: u32, first: bool) -> Vec<u8> {
    [b"S", &xid.to_be_bytes()[..], &[u8::from(first)]].concat()
}

pub(super) fn stop() -> Vec<u8> {
    b"E".to_vec()
}

pub(super) fn abort(xid: u32, subxid: u32) -> Vec<u8> {
    [b"A", &xid.to_be_bytes()[..], &subxid.to_be_bytes()].concat()
}

/// A commit whose record lies at `at`.
fn positions(at: u64) -> Vec<u8> {
    [at.to_be_bytes(), (at + 8).to_be_bytes(), (at * 10).to_be_bytes()].concat()
}

pub(super) fn stream_commit(xid: u32, at: u64) -> Vec<u8> {
    [b"c", &xid.to_be_bytes()[..], &[0], &positions(at)].concat()
}

pub(super) fn commit(at: u64) -> Vec<u8> {
    [b"C", &[0][..], &positions(at)].concat()
}

pub(super) fn begin(xid: u32, at: u64) -> Vec<u8> {
    [b"B", &at.to_be_bytes()[..], &(at * 10).to_be_bytes(), &xid.to_be_bytes()].concat()
}

pub(super) fn row(table: u32, value: &[u8]) -> Vec<u8> {
    [b"I", &table.to_be_bytes()[..], value].concat()
}

pub(super) fn layout(table: u32, version: u32) -> Vec<u8> {
    [b"R", &table.to_be_bytes()[..], &version.to_be_bytes()].concat()
}

/// The same within a stream.
pub(super) fn of(xid: u32, message: &[u8]) -> Vec<u8> {
    [&message[..1], &xid.to_be_bytes()[..], &message[1..]].concat()
}

pub(super) fn assembler(empty_too: bool) -> Assembler {
    Assembler::new(64 << 10, std::env::temp_dir(), empty_too)
}

/// What the decoder gets to see of `wire`.
pub(super) fn decoded(assembler: &mut Assembler, wire: &[Vec<u8>]) -> Result<Vec<Vec<u8>>> {
    let mut seen = Vec::new();
    for message in wire {
        match assembler.take(message)? {
            Step::Pass => seen.push(message.clone()),
            Step::Kept => assert!(assembler.held <= assembler.limit),
            Step::Whole(_) => {
                while let Some(message) = assembler.next()? {
                    seen.push(message.to_vec());
                }
            }
        }
    }
    Ok(seen)
}

#[test]
fn interleaved_transactions_come_whole_and_in_the_order_of_their_commits() {
    let wire = [
        start(7, true),
        of(7, &layout(1, 1)),
        of(7, &row(1, b"a")),
        stop(),
        start(9, true),
        b"O\0\0\0\0\0\0\0\x01origin\0".to_vec(),
        of(9, &layout(1, 1)),
        of(9, &row(1, b"b")),
        of(10, &row(1, b"gone")),
        stop(),
        abort(9, 10),
        begin(11, 50),
        layout(1, 1),
        row(1, b"small"),
        commit(50),
        start(7, false),
        of(8, &row(1, b"c")),
        stop(),
        stream_commit(9, 60),
        stream_commit(7, 70),
    ];
    let expected = [
        begin(11, 50),
        layout(1, 1),
        row(1, b"small"),
        commit(50),
        begin(9, 60),
        layout(1, 1),
        row(1, b"b"),
        commit(60),
        begin(7, 70),
        layout(1, 1),
        row(1, b"a"),
        row(1, b"c"),
        commit(70),
    ];
    let mut assembler = assembler(false);
    assert_eq!(decoded(&mut assembler, &wire).unwrap(), expected);
    assert_eq!(assembler.bytes(), (0, 0), "nothing remains");
}

#[test]
fn a_rollback_leaves_nothing_and_one_of_the_unknown_is_ignored() {
    let mut assembler = assembler(false);
    let big = vec![b'x'; 100_000];
    let wire = [
        abort(3, 3),
        abort(3, 4),
        start(7, true),
        of(7, &row(1, &big)),
        of(7, &row(1, b"more")),
        stop(),
    ];
    assert_eq!(decoded(&mut assembler, &wire).unwrap(), Vec::<Vec<u8>>::new());
    let (held, in_file) = assembler.bytes();
    assert!(held > 0 && in_file > 100_000);
    // As `streaming 'parallel'` says it: with a position and a time.
    let mut parallel = abort(7, 7);
    parallel.extend([0; 16]);
    assert_eq!(decoded(&mut assembler, &[parallel]).unwrap(), Vec::<Vec<u8>>::new());
    assert_eq!(assembler.bytes(), (0, 0));
    // The number may be used again, after four thousand million others.
    let wire = [start(7, true), of(7, &row(1, b"new")), stop(), stream_commit(7, 9)];
    let expected = [begin(7, 9), row(1, b"new"), commit(9)];
    assert_eq!(decoded(&mut assembler, &wire).unwrap(), expected);
}

#[test]
fn a_transaction_without_a_change_is_sent_where_version_1_sends_it() {
    let wire = [
        start(7, true),
        of(8, &layout(1, 1)),
        of(8, &row(1, b"gone")),
        stop(),
        abort(7, 8),
        stream_commit(7, 9),
    ];
    assert_eq!(decoded(&mut assembler(true), &wire).unwrap(), [begin(7, 9), commit(9)]);
    let mut later = assembler(false);
    for message in &wire[..5] {
        assert_eq!(later.take(message).unwrap(), Step::Kept);
    }
    assert_eq!(later.take(&wire[5]).unwrap(), Step::Whole(17));
    assert_eq!(later.next().unwrap(), None);
}

#[test]
fn a_newer_layout_outside_is_in_force_again_at_the_end() {
    let wire = [
        start(7, true),
        of(7, &layout(1, 1)),
        of(7, &row(1, b"old")),
        stop(),
        begin(8, 20),
        layout(1, 2),
        row(1, b"new"),
        commit(20),
        stream_commit(7, 30),
        begin(9, 40),
        row(1, b"newer"),
        commit(40),
    ];
    let seen = decoded(&mut assembler(false), &wire).unwrap();
    let replayed =
        [begin(7, 30), layout(1, 1), row(1, b"old"), layout(1, 2), commit(30), begin(9, 40)];
    assert_eq!(seen[4..10], replayed);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let refused: &[&[Vec<u8>]] = &[
        &[stop()],
        &[start(7, false)],
        &[start(7, true), stop(), start(7, true)],
        &[start(7, true), start(8, true)],
        &[start(7, true), begin(7, 9)],
        &[start(7, true), stream_commit(7, 9)],
        &[start(7, true), b"I\0\0".to_vec()],
        &[stream_commit(7, 9)],
        &[start(7, true), stop(), stream_commit(7, 9)[..29].to_vec()],
        &[b"S\0\0\0\x07".to_vec()],
        &[b"A\0\0\0\x07\0\0".to_vec()],
        &[b"R\0\0".to_vec()],
    ];
    for wire in refused {
        assert!(decoded(&mut assembler(false), wire).is_err(), "{wire:?}");
    }
}

#[test]
fn a_disk_that_cannot_be_written_to_is_one_clear_error() {
    let mut assembler = Assembler::new(0, "/nowhere/at all".into(), false);
    assembler.take(&start(7, true)).unwrap();
    let error = assembler.take(&of(7, &row(1, &[0; 100_000]))).unwrap_err();
    assert!(error.message().contains("streamed transaction in /nowhere/at all"), "{error:?}");
}
