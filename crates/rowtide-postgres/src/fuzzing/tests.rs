//! The committed corpus through the same functions, on any toolchain; and its seeds that are made
//! of the captures.

use std::fs;
use std::path::{Path, PathBuf};

use crate::protocol::pgoutput::Message;

const CAPTURES: [(&str, &str); 2] = [
    ("binary", include_str!("../../tests/testdata/pgoutput-binary.hex")),
    ("text", include_str!("../../tests/testdata/pgoutput-text.hex")),
];

fn corpus(target: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus")).join(target)
}

fn messages(capture: &str) -> Vec<Vec<u8>> {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    let lines = capture.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.as_bytes().chunks(2).map(byte).collect()).collect()
}

/// A message behind its length, as the targets that take several read them.
fn piece(message: &[u8]) -> Vec<u8> {
    [&u16::try_from(message.len()).unwrap().to_be_bytes(), message].concat()
}

/// The same as if each transaction had been streamed in two parts, with a subtransaction in
/// between that was rolled back.
fn streamed(messages: &[Vec<u8>]) -> Vec<u8> {
    let mut out = vec![0];
    let (mut xid, mut inside) = ([0; 4], 0);
    for message in messages {
        let (letter, rest) = message.split_first().unwrap();
        match letter {
            b'B' => {
                xid.copy_from_slice(&rest[16..20]);
                inside = 0;
                out.extend(piece(&[b"S", &xid[..], &[1]].concat()));
            }
            b'C' => {
                out.extend(piece(b"E"));
                out.extend(piece(&[b"A", &xid[..], b"\0\0\0\x01"].concat()));
                out.extend(piece(&[b"c", &xid[..], rest].concat()));
            }
            letter => {
                inside += 1;
                if inside == 3 {
                    out.extend(piece(&[&[*letter], &b"\0\0\0\x01"[..], rest].concat()));
                    out.extend(piece(b"E"));
                    out.extend(piece(&[b"S", &xid[..], &[0]].concat()));
                }
                out.extend(piece(&[&[*letter], &xid[..], rest].concat()));
            }
        }
    }
    out
}

/// The seeds of four targets: each message alone, framed by the protocol, all in sequence, and as
/// if they had been streamed.
fn seeds() -> Vec<(PathBuf, Vec<u8>)> {
    let mut seeds = Vec::new();
    for (form, capture) in CAPTURES {
        let name = format!("capture-{form}");
        seeds.push((corpus("assemble").join(name), streamed(&messages(capture))));
        let (mut sequence, mut framed) = (vec![0, 0, 0], vec![1, 6]);
        for (index, message) in messages(capture).into_iter().enumerate() {
            sequence.extend(piece(&message));
            let mut frame = vec![b'w'];
            frame.extend([0; 24]);
            frame.extend(&message);
            framed.push(b'd');
            framed.extend(u32::try_from(frame.len() + 4).unwrap().to_be_bytes());
            framed.extend(&frame);
            if index % 5 == 0 {
                seeds.push((
                    corpus("replication").join(format!("capture-{form}-{index:02}")),
                    frame,
                ));
            }
            seeds.push((corpus("pgoutput").join(format!("capture-{form}-{index:02}")), message));
        }
        seeds.push((corpus("stream").join(format!("capture-{form}")), sequence));
        seeds.push((corpus("framing").join(format!("capture-{form}")), framed));
    }
    seeds
}

#[test]
fn the_captures_are_in_the_corpus() {
    let write = std::env::var_os("ROWTIDE_WRITE_SEEDS").is_some();
    for (path, bytes) in seeds() {
        if write {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &bytes).unwrap();
        }
        let found = fs::read(&path).ok();
        assert!(
            found == Some(bytes),
            "{} is not what the capture makes: run this test with ROWTIDE_WRITE_SEEDS=1",
            path.display()
        );
    }
    // What the seeds are worth: every letter that a server sends for changes is among them.
    let letters: std::collections::BTreeSet<u8> =
        CAPTURES.iter().flat_map(|(_, capture)| messages(capture)).map(|m| m[0]).collect();
    assert!(b"BCRIUDT".iter().all(|letter| letters.contains(letter)), "{letters:?}");
    assert!(messages(CAPTURES[0].1).iter().all(|message| Message::parse(message).is_ok()));
}

#[test]
fn the_corpus_holds() {
    for (name, target) in super::TARGETS {
        let entries = fs::read_dir(corpus(name)).unwrap();
        let mut inputs: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        assert!(!inputs.is_empty(), "{name} has no corpus");
        inputs.sort();
        for input in inputs {
            let bytes = fs::read(&input).unwrap();
            let held = std::panic::catch_unwind(|| target(&bytes));
            assert!(held.is_ok(), "broken by {}", input.display());
        }
    }
}
