//! Which version of the protocol is spoken, and what that makes necessary.

use std::path::PathBuf;

use rowtide_core::{Error, Result};

use crate::options::Streaming;
use crate::replication::ReplicationConnection;
use crate::source::assemble::Assembler;

/// The first version that streams as between servers that apply in parallel.
pub(in crate::source) const FIRST_WITH_PARALLEL: i32 = 160_000;
/// The first version that leaves transactions without a change out unless they are streamed.
const FIRST_WITHOUT_EMPTY: i32 = 150_000;
/// The least that is kept in memory of streamed transactions, however small the buffers are.
const LEAST_KEPT: usize = 64 << 10;

/// How the server is asked.
#[derive(Debug)]
pub(super) struct Protocol {
    /// The options that say so.
    pub(super) words: &'static str,
    streams: bool,
    empty_too: bool,
}

impl Protocol {
    /// What is configured, in the latest version that the server on `connection` speaks.
    ///
    /// # Errors
    /// `Config` if it cannot do what is configured.
    pub(super) async fn with(
        connection: &mut ReplicationConnection,
        streaming: Streaming,
    ) -> Result<Self> {
        if streaming == Streaming::Off {
            return Ok(Self { words: "proto_version '1'", streams: false, empty_too: false });
        }
        let version = connection.server_version().await?;
        let words = match (streaming, version / 10_000) {
            (Streaming::Parallel, major) if version < FIRST_WITH_PARALLEL => {
                return Err(Error::config(format!(
                    "streaming = \"parallel\": PostgreSQL {major} does not have it"
                ))
                .with_hint("it takes PostgreSQL 16 at the source; use \"on\""));
            }
            (Streaming::Parallel, _) => "proto_version '4', streaming 'parallel'",
            (_, ..15) => "proto_version '2', streaming 'on'",
            (_, 15) => "proto_version '3', streaming 'on'",
            (_, _) => "proto_version '4', streaming 'on'",
        };
        Ok(Self { words, streams: true, empty_too: version < FIRST_WITHOUT_EMPTY })
    }

    /// What puts streamed transactions together, if there are any. Of `buffer_bytes`, half is for
    /// what is kept, and half for the part of it that is read back.
    pub(super) fn assembler(&self, buffer_bytes: usize, directory: PathBuf) -> Option<Assembler> {
        let limit = (buffer_bytes / 2).max(LEAST_KEPT);
        self.streams.then(|| Assembler::new(limit, directory, self.empty_too))
    }
}
