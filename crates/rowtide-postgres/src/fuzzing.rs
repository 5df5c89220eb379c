//! What `fuzz/` feeds: each function takes any bytes and panics if a property is broken. Not part
//! of the interface.

#![allow(clippy::missing_panics_doc, reason = "a broken property is a panic")]

mod connect;
mod numeric;
mod temporal;
#[cfg(test)]
mod tests;
mod values;
mod wire;

pub use connect::url;
pub use numeric::numeric;
pub use temporal::temporal;
pub use values::{list, scalar, value};
pub use wire::{framing, pgoutput, replication};

/// The answers to a server's demands to prove who we are: none makes us send the password twice
/// or believe a server that has not proven itself.
pub fn authentication(bytes: &[u8]) {
    crate::wire::fuzzing::authentication(bytes);
}

/// The log's messages in sequence: segments may end anywhere without a change of what they hold.
pub fn stream(bytes: &[u8]) {
    crate::source::fuzzing::stream(bytes);
}

/// The log's messages where transactions are streamed before they end: whether they are kept in
/// memory or in files changes nothing of what the decoder sees.
pub fn assemble(bytes: &[u8]) {
    crate::source::fuzzing::assemble(bytes);
}

/// The rows of a copy, any and well-formed ones: both forms end in the same batch.
pub fn copy(bytes: &[u8]) {
    crate::source::fuzzing::copy(bytes);
}

/// The name of a target, and what it is fed to.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: &[Target] = &[
    ("assemble", assemble),
    ("authentication", authentication),
    ("copy", copy),
    ("framing", framing),
    ("list", list),
    ("numeric", numeric),
    ("pgoutput", pgoutput),
    ("replication", replication),
    ("scalar", scalar),
    ("stream", stream),
    ("temporal", temporal),
    ("url", url),
    ("value", value),
];

/// Takes an input apart. Past its end there are zeros.
pub(crate) struct Input<'a>(pub(crate) &'a [u8]);

impl<'a> Input<'a> {
    /// The next byte, if there is one.
    pub(crate) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// The next byte.
    pub(crate) fn u8(&mut self) -> u8 {
        self.byte().unwrap_or(0)
    }

    /// The next two bytes.
    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.u8(), self.u8()])
    }

    /// The next eight bytes.
    pub(crate) fn u64(&mut self) -> u64 {
        (0..8).fold(0, |number, _| number << 8 | u64::from(self.u8()))
    }

    /// At most `len` bytes.
    pub(crate) fn take(&mut self, len: usize) -> &'a [u8] {
        let (head, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        head
    }

    /// The next piece: a 16-bit length, and as much of it as there is. `None` at the end.
    pub(crate) fn piece(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let len = usize::from(self.u16());
        Some(self.take(len))
    }
}
