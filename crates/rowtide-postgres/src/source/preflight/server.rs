//! The server: version, settings, room for a slot.

use rowtide_core::{Result, Severity};

use super::Check;
use crate::client::get;
use crate::options::{Origin, Streaming};
use crate::source::slot::Slot;
use crate::source::stream::{FIRST_WITH_ORIGIN, FIRST_WITH_PARALLEL};

/// What was asked of the server at once.
pub(super) struct Facts {
    pub(super) version: i32,
    slots: (i64, i64),
    senders: (i64, i64),
}

const FACTS: &str = "\
SELECT pg_catalog.current_setting('server_version_num')::int4,
       pg_catalog.current_setting('server_version'),
       pg_catalog.current_setting('wal_level'),
       pg_catalog.pg_is_in_recovery(),
       pg_catalog.current_setting('server_encoding'),
       pg_catalog.current_setting('max_slot_wal_keep_size'),
       pg_catalog.current_setting('max_replication_slots')::int8,
       (SELECT pg_catalog.count(*) FROM pg_catalog.pg_replication_slots),
       pg_catalog.current_setting('max_wal_senders')::int8,
       (SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_replication)";

impl Check<'_> {
    /// Whether the server has what the options ask for.
    fn options_for(&mut self, version: i32) {
        if self.source.options.origin == Origin::None && version < FIRST_WITH_ORIGIN {
            self.say_fix(
                Severity::Error,
                "origin",
                "the server cannot leave out what another replication wrote: that takes \
                 PostgreSQL 16",
                "leave the option origin out",
            );
        }
        if self.source.options.streaming == Streaming::Parallel && version < FIRST_WITH_PARALLEL {
            self.say_fix(
                Severity::Error,
                "streaming",
                "the server cannot stream in parallel: that takes PostgreSQL 16",
                "set streaming to \"on\" or \"off\"",
            );
        }
    }

    pub(super) async fn server(&mut self) -> Result<Facts> {
        let row = self.sql.row("reading the server's settings", FACTS, &[]).await?;
        let version: i32 = get(&row, 0)?;
        let printed: String = get(&row, 1)?;
        if version < 140_000 {
            self.say_fix(
                Severity::Error,
                "version",
                format!("PostgreSQL {printed} is too old: 14 is the oldest that is supported"),
                "upgrade the server",
            );
        } else {
            self.ok("version", format!("PostgreSQL {printed} at {}", self.source.address()));
        }
        self.options_for(version);
        let wal_level: String = get(&row, 2)?;
        if wal_level == "logical" {
            self.ok("wal_level", "is logical");
        } else {
            self.say_fix(
                Severity::Error,
                "wal_level",
                format!("is {wal_level}: the log lacks what following needs"),
                "ALTER SYSTEM SET wal_level = 'logical'; -- then restart the server",
            );
        }
        if get(&row, 3)? {
            self.say_fix(
                Severity::Error,
                "recovery",
                "the server is a standby, where neither a publication nor a fence can be made",
                "connect to the primary",
            );
        }
        let encoding: String = get(&row, 4)?;
        if encoding == "SQL_ASCII" {
            self.say(
                Severity::Warning,
                "encoding",
                "the database does not check encodings (SQL_ASCII): text that is not UTF-8 stops \
                 its table",
            );
        }
        let keep: String = get(&row, 5)?;
        if keep != "-1" {
            self.say_fix(
                Severity::Warning,
                "max_slot_wal_keep_size",
                format!(
                    "the server gives up the slot when it falls back by more than {keep}; the \
                     tables must then be copied again"
                ),
                "ALTER SYSTEM SET max_slot_wal_keep_size = …; SELECT pg_reload_conf(); -- size it \
                 for the longest stop you expect",
            );
        }
        Ok(Facts {
            version,
            slots: (get(&row, 6)?, get(&row, 7)?),
            senders: (get(&row, 8)?, get(&row, 9)?),
        })
    }

    /// Whether a replication connection can be opened at all.
    pub(super) async fn replication(&mut self, facts: &Facts) -> Result<()> {
        let source = self.source;
        let error = match source.replication().await {
            Ok(mut connection) => {
                match connection.rows("identifying the server", "IDENTIFY_SYSTEM").await {
                    Ok(_) => {
                        source.spare_replication.keep(connection);
                        None
                    }
                    Err(error) => Some(error),
                }
            }
            Err(error) => Some(error),
        };
        let (limit, used) = facts.senders;
        match error {
            None => self.ok("replication connection", format!("{used} of {limit} are in use")),
            // A connection that broke says nothing about the server's settings: it is tried again.
            Some(error)
                if error.kind().is_transient() && !error.message().contains("(SQLSTATE 53300)") =>
            {
                return Err(error);
            }
            Some(error) => {
                let role = crate::quote::identifier(source.options.user());
                let fix = match error.kind() {
                    rowtide_core::ErrorKind::Access => format!("ALTER ROLE {role} REPLICATION;"),
                    _ => {
                        format!("ALTER SYSTEM SET max_wal_senders = {}; -- then restart", limit + 5)
                    }
                };
                self.say_fix(Severity::Error, "replication connection", error.chain(), fix);
            }
        }
        Ok(())
    }

    /// Room for the slot, or the state of the one that exists.
    pub(super) async fn slot(&mut self, facts: &Facts) -> Result<()> {
        let name = self.source.names.slot.clone();
        let (limit, used) = facts.slots;
        match Slot::load(&self.sql, &name, facts.version).await? {
            None if used >= limit => self.say_fix(
                Severity::Error,
                "max_replication_slots",
                format!("all {limit} replication slots are in use"),
                format!(
                    "ALTER SYSTEM SET max_replication_slots = {}; -- then restart the server; or \
                     drop a slot that nobody uses: SELECT slot_name, active FROM \
                     pg_replication_slots;",
                    limit + 5
                ),
            ),
            None => self.ok(
                "replication slot",
                format!("`{name}` will be made ({used} of {limit} are in use)"),
            ),
            Some(slot) if slot.is_lost() => self.say_fix(
                Severity::Error,
                "replication slot",
                format!("`{name}` was invalidated by the server: its log is gone"),
                "copy the tables again: `resync`",
            ),
            Some(slot) => {
                let state = if slot.active_pid.is_some() { "is being read" } else { "is at rest" };
                self.ok("replication slot", format!("`{name}` exists and {state}"));
            }
        }
        Ok(())
    }
}
