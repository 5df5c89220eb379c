//! A model of the server: what it announces and when, as `pgoutput` does, and what version 1 would
//! have said. Rows hold the version of their table's layout, so that each can be checked.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

const TABLES: u32 = 3;

#[derive(Default)]
struct Table {
    /// As committed.
    version: u32,
    /// Announced outside of streams since it changed last.
    sent: bool,
    /// Announced in these open streams since it changed last.
    streamed: BTreeSet<u32>,
}

impl Table {
    fn changed(&mut self) {
        self.sent = false;
        self.streamed.clear();
    }
}

/// An open transaction: subtransactions that are open, the outermost first, and what they did.
struct Open {
    nested: Vec<u32>,
    /// Changes that stand: which subtransaction, which table, the whole row.
    rows: Vec<(u32, u32, Vec<u8>)>,
    /// Its own layouts: which subtransaction, which table, which version.
    altered: Vec<(u32, u32, u32)>,
    streamed: bool,
}

struct Server {
    rng: StdRng,
    tables: Vec<Table>,
    open: BTreeMap<u32, Open>,
    wire: Vec<Vec<u8>>,
    expected: Vec<Vec<u8>>,
    /// The stream that is being written.
    block: Option<u32>,
    xid: u32,
    version: u32,
    at: u64,
    empty_too: bool,
}

impl Server {
    fn new(seed: u64) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            tables: (0..TABLES).map(|_| Table::default()).collect(),
            open: BTreeMap::new(),
            wire: Vec::new(),
            expected: Vec::new(),
            block: None,
            xid: 100,
            version: 0,
            at: 1_000,
            empty_too: seed.is_multiple_of(2),
        }
    }

    fn next_xid(&mut self) -> u32 {
        self.xid += 1;
        self.xid
    }

    fn close_block(&mut self) {
        let Some(xid) = self.block.take() else { return };
        self.wire.push(stop());
        // What the transaction altered is forgotten at the end of each block.
        for (_, table, _) in &self.open[&xid].altered {
            self.tables[*table as usize].changed();
        }
    }

    fn open_block(&mut self, xid: u32) {
        if self.block == Some(xid) {
            return;
        }
        self.close_block();
        let open = self.open.get_mut(&xid).unwrap();
        self.wire.push(start(xid, !open.streamed));
        open.streamed = true;
        self.block = Some(xid);
    }

    fn version_for(&self, xid: u32, table: u32) -> u32 {
        let own = self.open[&xid].altered.iter().rev().find(|altered| altered.1 == table);
        own.map_or(self.tables[table as usize].version, |altered| altered.2)
    }

    fn locked(&self, xid: u32, table: u32) -> bool {
        self.open.iter().any(|(other, open)| {
            *other != xid && open.altered.iter().any(|altered| altered.1 == table)
        })
    }

    fn write(&mut self, xid: u32) {
        let table = self.rng.random_range(0..TABLES);
        if self.locked(xid, table) {
            return;
        }
        let version = self.version_for(xid, table);
        let size =
            if self.rng.random_ratio(1, 40) { 20_000 } else { self.rng.random_range(0..900) };
        self.at += 1;
        let value = [&version.to_be_bytes()[..], &self.at.to_be_bytes(), &vec![7; size]].concat();
        let message = row(table, &value);
        let sub = *self.open[&xid].nested.last().unwrap();
        self.open_block(xid);
        if self.tables[table as usize].streamed.insert(xid) {
            self.wire.push(of(sub, &layout(table, version)));
        }
        self.wire.push(of(sub, &message));
        self.open.get_mut(&xid).unwrap().rows.push((sub, table, message));
    }

    /// A layout changes without a lock, as by `ALTER PUBLICATION`.
    fn publication(&mut self) {
        let table = self.rng.random_range(0..TABLES);
        if self.locked(0, table) {
            return;
        }
        self.version += 1;
        self.tables[table as usize].version = self.version;
        self.tables[table as usize].changed();
    }

    /// A transaction changes a layout, which it alone sees, and locks the table.
    fn alter(&mut self, xid: u32) {
        let table = self.rng.random_range(0..TABLES);
        let used = |open: &Open| open.rows.iter().any(|row| row.1 == table);
        let in_use = self.open.iter().any(|(other, open)| *other != xid && used(open));
        if in_use || self.locked(xid, table) {
            return;
        }
        self.version += 1;
        let open = self.open.get_mut(&xid).unwrap();
        open.altered.push((*open.nested.last().unwrap(), table, self.version));
        self.tables[table as usize].changed();
    }

    /// Rolls the innermost subtransaction back, or the whole.
    fn abort(&mut self, xid: u32) {
        self.close_block();
        let open = self.open.get_mut(&xid).unwrap();
        let sub = open.nested.pop().unwrap();
        open.rows.retain(|row| row.0 != sub);
        open.altered.retain(|altered| altered.0 != sub);
        let (streamed, whole) = (open.streamed, open.nested.is_empty());
        if whole {
            self.open.remove(&xid);
        }
        if streamed {
            self.wire.push(abort(xid, sub));
            for table in &mut self.tables {
                table.streamed.remove(&xid);
            }
        }
    }

    fn commit(&mut self, xid: u32) {
        self.close_block();
        self.at += 20;
        let open = self.open.remove(&xid).unwrap();
        if open.streamed {
            self.wire.push(stream_commit(xid, self.at));
        }
        for table in &mut self.tables {
            table.sent |= table.streamed.remove(&xid);
        }
        for (_, table, version) in &open.altered {
            self.tables[*table as usize].version = *version;
            self.tables[*table as usize].changed();
        }
        if !open.rows.is_empty() || (self.empty_too && open.streamed) {
            self.expected.push(begin(xid, self.at));
            self.expected.extend(open.rows.into_iter().map(|row| row.2));
            self.expected.push(commit(self.at));
        }
    }

    /// A small transaction, sent whole.
    fn small(&mut self) {
        let table = self.rng.random_range(0..TABLES);
        if self.locked(0, table) {
            return;
        }
        self.close_block();
        self.at += 20;
        let xid = self.next_xid();
        let known = &mut self.tables[table as usize];
        let message = row(table, &[&known.version.to_be_bytes()[..], b"small"].concat());
        self.wire.push(begin(xid, self.at));
        if !known.sent {
            self.wire.push(layout(table, known.version));
        }
        known.sent = true;
        self.wire.extend([message.clone(), commit(self.at)]);
        self.expected.extend([begin(xid, self.at), message, commit(self.at)]);
    }

    fn step(&mut self) {
        let count = self.open.len();
        let chosen = match count {
            0 => None,
            _ => self.open.keys().nth(self.rng.random_range(0..count)).copied(),
        };
        match (self.rng.random_range(0..100), chosen) {
            (0..8, _) | (_, None) if count < 4 => {
                let xid = self.next_xid();
                let (nested, rows, altered) = (vec![xid], Vec::new(), Vec::new());
                let open = Open { nested, rows, altered, streamed: false };
                self.open.insert(xid, open);
            }
            (8..14, _) => self.small(),
            (14..18, _) => self.publication(),
            (18..22, Some(xid)) => self.alter(xid),
            (22..32, Some(xid)) => {
                let sub = self.next_xid();
                self.open.get_mut(&xid).unwrap().nested.push(sub);
            }
            (32..42, Some(xid)) => self.abort(xid),
            (42..46, Some(xid)) => self.commit(xid),
            (46..50, _) => self.close_block(),
            (_, Some(xid)) => self.write(xid),
            _ => {}
        }
    }
}

fn play(seed: u64) {
    let mut server = Server::new(seed);
    (0..600).for_each(|_| server.step());
    let open: Vec<u32> = server.open.keys().copied().collect();
    open.into_iter().for_each(|xid| server.commit(xid));
    (0..20).for_each(|_| server.small());
    let mut assembler = assembler(server.empty_too);
    let seen = decoded(&mut assembler, &server.wire).unwrap();
    let told: Vec<_> = seen.iter().filter(|message| message[0] != b'R').collect();
    assert!(told.iter().copied().eq(&server.expected), "other messages than those of version 1");
    let mut known = BTreeMap::new();
    for message in &seen {
        match message[0] {
            b'R' => drop(known.insert(message[1..5].to_vec(), message[5..9].to_vec())),
            b'I' => assert_eq!(known[&message[1..5]], message[5..9], "a row in another layout"),
            _ => {}
        }
    }
    assert_eq!(assembler.bytes(), (0, 0), "something remains");
}

#[test]
fn whatever_is_streamed_the_decoder_sees_version_1() {
    let given = std::env::var("ROWTIDE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = given.map_or(0..400, |seed| seed..seed + 1);
    for seed in seeds {
        let played = std::panic::catch_unwind(|| play(seed));
        assert!(
            played.is_ok(),
            "ROWTIDE_SEED={seed} cargo test -p rowtide-postgres whatever_is_streamed"
        );
    }
}
