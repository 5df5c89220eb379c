//! Connections whose messages are cut and read where they were received: what comes in bulk, the
//! log and the rows of a copy, is neither moved nor allocated for. Everything else is the driver's
//! (`client.rs`).

mod authentication;
mod connection;
mod frames;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod socket;

pub(crate) use connection::{Connection, Copied, Purpose, Reader, TextRow, Writer};
pub(crate) use frames::FrameReader;

use rowtide_core::Error;

use crate::error::from_server;
use crate::protocol::Cursor;

/// Reads an `ErrorResponse`.
pub(crate) fn server_error(doing: &str, body: &[u8]) -> Error {
    let mut cursor = Cursor::new(body);
    let (mut state, mut message, mut hint) = (String::new(), String::new(), None);
    while let Ok(field @ 1..) = cursor.u8() {
        let Some(end) = memchr::memchr(0, cursor.rest()) else { break };
        let text = cursor.take(end).map(String::from_utf8_lossy).unwrap_or_default();
        match field {
            b'C' => state = text.into_owned(),
            b'M' => message = text.into_owned(),
            b'H' => hint = Some(text.into_owned()),
            _ => {}
        }
        if cursor.u8().is_err() {
            break;
        }
    }
    from_server(doing, &state, &message, hint.as_deref())
}
