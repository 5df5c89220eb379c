//! The file of a transaction: frames, each with its length and checksum. It has no name, so that
//! nothing remains of a process that died.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use rowtide_core::{Error, Result};

/// Bytes before each frame's body: a 64-bit length and a 32-bit checksum.
const HEADER: usize = 12;

/// Frames that are written once, and then read once.
#[derive(Debug)]
pub(super) struct Frames {
    file: File,
    written: u64,
    read: u64,
}

impl Frames {
    pub(super) fn create(directory: &Path) -> Result<Self> {
        let file = tempfile::tempfile_in(directory).map_err(|e| failed(e, "create", directory))?;
        Ok(Self { file, written: 0, read: 0 })
    }

    pub(super) fn bytes(&self) -> u64 {
        self.written
    }

    /// Adds a frame of `parts`, one behind the other.
    pub(super) fn write(&mut self, parts: &[&[u8]], directory: &Path) -> Result<()> {
        let mut checksum = crc32fast::Hasher::new();
        let mut length = 0_u64;
        for part in parts {
            checksum.update(part);
            length += part.len() as u64;
        }
        let mut header = [0; HEADER];
        let (size, sum) = header.split_at_mut(8);
        size.copy_from_slice(&length.to_le_bytes());
        sum.copy_from_slice(&checksum.finalize().to_le_bytes());
        let written = self.file.write_all(&header);
        let written =
            parts.iter().fold(written, |done, part| done.and_then(|()| self.file.write_all(part)));
        written.map_err(|error| failed(error, "write to", directory))?;
        self.written += length + HEADER as u64;
        Ok(())
    }

    /// Goes back to the first frame.
    pub(super) fn rewind(&mut self) -> Result<()> {
        self.read = 0;
        self.file.seek(SeekFrom::Start(0)).map_err(unreadable)?;
        Ok(())
    }

    /// Reads the next frame in the place of what is in `body`; false at the end.
    pub(super) fn read(&mut self, body: &mut Vec<u8>) -> Result<bool> {
        body.clear();
        if self.read >= self.written {
            return Ok(false);
        }
        let (mut size, mut sum) = ([0; 8], [0; 4]);
        self.file.read_exact(&mut size).map_err(unreadable)?;
        self.file.read_exact(&mut sum).map_err(unreadable)?;
        let length = u64::from_le_bytes(size);
        let rest = self.written - self.read - HEADER as u64;
        if length > rest {
            return Err(damaged());
        }
        (&self.file).take(length).read_to_end(body).map_err(unreadable)?;
        if body.len() as u64 != length || crc32fast::hash(body) != u32::from_le_bytes(sum) {
            return Err(damaged());
        }
        self.read += length + HEADER as u64;
        Ok(true)
    }
}

fn failed(error: std::io::Error, verb: &str, directory: &Path) -> Error {
    Error::unavailable(format!(
        "could not {verb} the file of a streamed transaction in {}",
        directory.display()
    ))
    .with_hint(
        "free disk space, set stream.spool_directory to a larger file system, or leave large \
         transactions to the server's disk: streaming = \"off\"",
    )
    .with_source(error)
}

fn unreadable(error: std::io::Error) -> Error {
    Error::unavailable("could not read the file of a streamed transaction back").with_source(error)
}

fn damaged() -> Error {
    Error::unavailable("the file of a streamed transaction is damaged")
        .with_hint("check the disk; the transaction is read again")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn frames_are_read_as_written_and_damage_is_seen() {
        let directory = std::env::temp_dir();
        let mut frames = Frames::create(&directory).unwrap();
        frames.write(&[b"one", b"two"], &directory).unwrap();
        frames.write(&[], &directory).unwrap();
        frames.write(&[b"three"], &directory).unwrap();
        assert_eq!(frames.bytes(), 36 + 11);
        let mut body = b"before".to_vec();
        frames.rewind().unwrap();
        for expected in ["onetwo", "", "three"] {
            assert!(frames.read(&mut body).unwrap());
            assert_eq!(body, expected.as_bytes());
        }
        assert!(!frames.read(&mut body).unwrap());
        for at in [0, 7, 8, 12, 17, 18, 46] {
            let mut byte = [0];
            frames.file.read_exact_at(&mut byte, at).unwrap();
            frames.file.write_all_at(&[byte[0] ^ 0x40], at).unwrap();
            frames.rewind().unwrap();
            let read = (0..3).try_for_each(|_| frames.read(&mut body).map(drop));
            assert!(read.unwrap_err().message().contains("damaged"), "byte {at}");
            frames.file.write_all_at(&byte, at).unwrap();
        }
    }

    #[test]
    fn a_directory_that_is_not_there_is_named() {
        let error = Frames::create(Path::new("/nowhere/at all")).unwrap_err();
        assert!(error.message().contains("/nowhere/at all"), "{error:?}");
        assert!(error.hint().unwrap().contains("stream.spool_directory"));
    }
}
