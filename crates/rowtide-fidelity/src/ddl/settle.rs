//! Waiting until all has arrived, helping what rightly stopped, and comparing everything.

use std::collections::BTreeSet;

use rowtide_testkit::{Result, wait_for};
use serde_json::Value;

use super::play::{LIMIT, Play, ended_well};
use super::session::Who;
use super::world::{self, Table};
use crate::stage::End;

/// How often a table may be helped before it counts as stuck.
const ROUNDS: usize = 6;

/// Why a table may wait for somebody: its reason must have one of these.
const RIGHTLY: &[&str] = &["no longer at the source", "usable key", "lost its key"];

impl Play<'_> {
    pub(super) fn settle(&mut self) -> Result<()> {
        if self.running.is_some() {
            self.catch_up()?;
            self.watch_live()?;
            self.stop()?;
        }
        for _ in 0..ROUNDS {
            let once = self.once()?;
            let said = once.stderr.clone();
            ended_well(once)?;
            if !self.help().map_err(|e| format!("{e}\nthe last run said:\n{said}"))? {
                self.check_slot()?;
                return self.compare();
            }
        }
        let last = self.once()?;
        Err(format!(
            "tables still stopped after being helped {ROUNDS} times: {}\nthe last run said:\n{}",
            self.status()?,
            last.stderr
        ))
    }

    /// A destination that can be read while it is written to becomes equal by itself.
    fn watch_live(&mut self) -> Result<()> {
        if self.stage.end != End::Postgres {
            return Ok(());
        }
        let status = self.status()?;
        if stopped(&status).next().is_some() {
            return Ok(());
        }
        wait_for("the running pipeline's copy to be equal", LIMIT, || {
            if stopped(&self.status()?).next().is_some() {
                return Ok(Some(()));
            }
            self.compare().map(Some)
        })
    }

    fn status(&self) -> Result<Value> {
        let said = self.stage.command("status", &["--json"]).run(LIMIT)?.success()?;
        serde_json::from_str(&said.stdout).map_err(|e| format!("status: {e}: {}", said.stdout))
    }

    /// Does what the stopped tables' reasons ask for; tells whether there was any.
    fn help(&mut self) -> Result<bool> {
        let status = self.status()?;
        let tables = world::look(&self.sessions)?;
        let mut any = false;
        for (name, reason) in stopped(&status) {
            let Some(table) = tables.iter().find(|t| t.is_selected() && t.plain() == name) else {
                continue;
            };
            if !RIGHTLY.iter().any(|known| reason.contains(known)) {
                return Err(format!("{name} stopped without need: {reason}"));
            }
            // An index that a new partition lacks is no key either, whatever the catalog's row says.
            if reason.contains("key") && table.identity != "f" {
                let full = format!("ALTER TABLE {} REPLICA IDENTITY FULL", table.quoted());
                self.sessions.run(Who::Main, &full)??;
            }
            self.stage.command("table", &["resume", &name]).run(LIMIT)?.success()?;
            let what = RIGHTLY.iter().find(|known| reason.contains(**known)).copied();
            *self.tally.helped.entry(what.unwrap_or_default().to_owned()).or_default() += 1;
            any = true;
        }
        Ok(any)
    }

    fn check_slot(&self) -> Result<()> {
        let slots = self.stage.sql(
            "SELECT count(*) FROM pg_replication_slots WHERE NOT temporary AND wal_status <> 'lost'",
        )?;
        if slots.trim() == "1" { Ok(()) } else { Err(format!("there are {slots} slots")) }
    }

    fn compare(&mut self) -> Result<()> {
        let tables = world::look(&self.sessions)?;
        let status = self.status()?;
        for table in tables.iter().filter(|table| table.is_selected()) {
            let state = find(&status, &table.plain());
            let phase = state.and_then(|state| state["phase"].as_str()).unwrap_or("unknown");
            if phase != "streaming" {
                return Err(format!("{} is {phase}: {status:#}", table.plain()));
            }
            self.compare_columns(table)?;
            self.stage.compare(&[&table.plain()])?;
            self.tally.compared += 1;
        }
        Ok(())
    }

    fn compare_columns(&self, table: &Table) -> Result<()> {
        let of = match self.stage.end {
            End::Duckdb => format!(
                "SELECT column_name FROM duckdb_columns() WHERE schema_name = {} AND table_name = {}",
                world::literal(&table.schema),
                world::literal(&table.name)
            ),
            End::Postgres => format!(
                "SELECT attname FROM pg_attribute WHERE attrelid = {}::regclass AND attnum > 0 \
                 AND NOT attisdropped",
                world::literal(&table.quoted())
            ),
        };
        let there: BTreeSet<String> = self.stage.rows(&of)?.into_iter().collect();
        let here: BTreeSet<String> =
            table.writable().into_iter().map(|column| column.name.clone()).collect();
        // From version 18 on, stored generated columns are in the log.
        let any: BTreeSet<String> =
            table.columns.iter().map(|column| column.name.clone()).collect();
        match here.is_subset(&there) && there.is_subset(&any) {
            true => Ok(()),
            false => Err(format!("{} has the columns {here:?}, its copy {there:?}", table.plain())),
        }
    }
}

fn tables(status: &Value) -> impl Iterator<Item = &Value> {
    status["destination"]["tables"].as_array().into_iter().flatten()
}

fn find<'a>(status: &'a Value, table: &str) -> Option<&'a Value> {
    tables(status).find(|state| state["table"] == table)
}

/// The tables that stopped, and why.
fn stopped(status: &Value) -> impl Iterator<Item = (String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    tables(status)
        .filter(|state| state["phase"] == "stopped")
        .map(move |state| (text(&state["table"]), text(&state["reason"])))
}
