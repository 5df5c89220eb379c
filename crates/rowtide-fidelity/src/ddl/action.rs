//! One step of a history, and how the next one is chosen.

use std::fmt;

use super::change::{Scene, Weights, change};
use super::dice::Dice;
use super::rows;
use super::session::Who;
use super::world::Table;

/// What is done in one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// Something at the source.
    Sql(Who, &'static str, String),
    /// Begins to follow.
    Start,
    /// SIGTERM.
    Stop,
    /// SIGKILL.
    Kill,
    /// Catches up and ends.
    Once,
    /// `rowtide table resync`, running or not.
    Resync(String),
    /// Waits until everything has arrived, and compares.
    Settle,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sql(Who::Main, what, sql) => write!(f, "{what}: {sql};"),
            Self::Sql(Who::Other, what, sql) => write!(f, "{what}, by the other: {sql};"),
            other => write!(f, "{other:?}"),
        }
    }
}

/// Which kinds of change a history has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kinds<'a> {
    /// Only those that contain one of these words; all if there are none.
    pub(super) only: &'a [String],
    /// None that contains one of these.
    pub(super) without: &'a [String],
}

/// Chooses the steps of one history.
#[derive(Debug)]
pub(super) struct Author {
    dice: Dice,
    weights: Weights,
    /// Of rows, changes of tables, the other connection, the pipeline.
    shares: [u32; 4],
    fresh: u32,
    running: bool,
    /// What the other connection has open, and for how many more steps.
    open: Option<(Table, usize)>,
}

impl Author {
    pub(super) fn new(seed: u64, kinds: Kinds<'_>) -> Self {
        let mut dice = Dice::new(seed);
        let weights = Weights::new(&mut dice, (kinds.only, kinds.without));
        let mut share = |most: usize| 1 + u32::try_from(dice.below(most)).unwrap_or(0);
        let shares = [2 + share(8), 2 + share(8), share(2), share(3)];
        Self { dice, weights, shares, fresh: 100, running: false, open: None }
    }

    /// What there is before the pipeline first runs.
    pub(super) fn prologue(&mut self) -> String {
        let mut sql = vec![
            "CREATE SCHEMA side".to_owned(),
            "CREATE TYPE public.mood AS ENUM ('ok', 'good', 'bad')".to_owned(),
            "CREATE DOMAIN public.positive AS integer CHECK (VALUE >= 0)".to_owned(),
            "CREATE TYPE public.pair AS (a integer, b text)".to_owned(),
            "CREATE TABLE public.proot (id integer, v text, PRIMARY KEY (id)) PARTITION BY RANGE (id)"
                .to_owned(),
        ];
        for at in 0..6 {
            sql.push(format!(
                "CREATE TABLE public.part{at} PARTITION OF public.proot FOR VALUES FROM ({}) TO ({})",
                at * 10,
                at * 10 + 10
            ));
        }
        for at in 0..4 {
            sql.push(super::change::made(&mut self.dice, &format!("t{at}")));
        }
        sql.join("; ")
    }

    /// The first run: while its copies are made, or after it, everything may happen. Before it, a
    /// table that cannot be followed would rightly be refused.
    pub(super) fn first(&mut self) -> Action {
        self.running = self.dice.once_in(2);
        if self.running { Action::Start } else { Action::Once }
    }

    /// What ends the history.
    pub(super) fn epilogue(&mut self) -> Vec<Action> {
        let mut rest = self.close();
        rest.push(Action::Settle);
        rest
    }

    fn close(&mut self) -> Vec<Action> {
        let open = self.open.take();
        open.map(|_| Action::Sql(Who::Other, "commit", "COMMIT".to_owned())).into_iter().collect()
    }

    /// The steps that come next, with the source's tables as they are.
    pub(super) fn next(&mut self, all: &[Table]) -> Vec<Action> {
        self.fresh += 1;
        if let Some((_, left)) = &mut self.open {
            *left = left.saturating_sub(1);
            if *left == 0 {
                return self.close();
            }
        }
        let held = self.open.as_ref().map(|(table, _)| table.clone());
        let is_free = |table: &&Table| {
            held.as_ref().is_none_or(|held| {
                held.name != table.name
                    && held.root.as_ref() != Some(&table.name)
                    && table.root.as_ref() != Some(&held.name)
            })
        };
        let free: Vec<Table> = all.iter().filter(is_free).cloned().collect();
        let tables: Vec<&Table> = free.iter().filter(|table| table.root.is_none()).collect();
        let Some(table) = self.dice.pick(&tables).copied() else { return self.close() };
        match self.dice.weighted(&self.shares) {
            0 => vec![self.rows(table)],
            1 => vec![self.change(&free, table)],
            2 if self.open.is_none() => vec![self.other(table)],
            2 => self.close(),
            _ => self.pipeline(table),
        }
    }

    fn rows(&mut self, table: &Table) -> Action {
        let sql = match self.dice.once_in(2) {
            true => rows::transaction(&mut self.dice, table),
            false => rows::change(&mut self.dice, table),
        };
        Action::Sql(Who::Main, "rows", sql)
    }

    fn change(&mut self, all: &[Table], table: &Table) -> Action {
        let scene = Scene { all, table, fresh: self.fresh };
        match change(&mut self.dice, &self.weights, &scene) {
            Some((what, sql)) => Action::Sql(Who::Main, what, sql),
            None => self.rows(table),
        }
    }

    /// A transaction of the other connection that stays open for some steps.
    fn other(&mut self, table: &Table) -> Action {
        let mut sql = format!("BEGIN; {}", rows::change(&mut self.dice, table));
        let scene = Scene { all: &[], table, fresh: self.fresh };
        if self.dice.once_in(3)
            && let Some(change) = super::change::inside(&mut self.dice, &scene)
        {
            sql.push_str(&format!("; {change}"));
        }
        self.open = Some((table.clone(), 2 + self.dice.below(6)));
        Action::Sql(Who::Other, "begin", sql)
    }

    fn pipeline(&mut self, table: &Table) -> Vec<Action> {
        let mut actions = Vec::new();
        match (self.running, self.dice.below(8)) {
            (true, 0..=2) => actions.push(Action::Stop),
            (true, 3 | 4) => actions.push(Action::Kill),
            (true, 5) => actions.push(Action::Resync(table.plain())),
            (true, _) => {
                actions.extend(self.close());
                actions.push(Action::Settle);
            }
            (false, 0) => actions.push(Action::Resync(table.plain())),
            (false, 1) => {
                // A copy waits for what was open before it.
                actions.extend(self.close());
                actions.push(Action::Once);
            }
            (false, _) => actions.push(Action::Start),
        }
        self.running = match actions.last() {
            Some(Action::Start) => true,
            Some(Action::Stop | Action::Kill | Action::Settle) => false,
            _ => self.running,
        };
        actions
    }
}
