//! Forwards one direction of one connection, and does to it what the rules say.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, watch};

use super::Shared;
use super::pgwire::{Framer, Piece, Startup};
use super::rule::{Action, Direction, Kind, Shape};

/// What is read at once.
const CHUNK: usize = 64 << 10;
/// How finely a throttled connection is dosed, in doses a second.
const DOSES: u64 = 50;
/// The proxy's own answer to a wish for encryption, which it could not look into.
const NO_ENCRYPTION: u8 = b'N';

/// How a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    Open,
    /// Nothing passes, nothing is closed.
    Silent,
    /// Both sides are closed.
    Ended,
}

/// What the two directions of a connection share.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) kind: OnceLock<Kind>,
    state: watch::Sender<State>,
    /// What the server says is dropped, up to the end of its answer.
    dropping: AtomicBool,
    half_closed: AtomicBool,
}

impl Link {
    pub(super) fn new() -> Self {
        Self {
            kind: OnceLock::new(),
            state: watch::Sender::new(State::Open),
            dropping: AtomicBool::new(false),
            half_closed: AtomicBool::new(false),
        }
    }

    /// Makes it silent or ends it; whether that was new.
    pub(super) fn turn(&self, to: State) -> bool {
        self.state.send_if_modified(|state| {
            let changes = *state < to;
            *state = (*state).max(to);
            changes
        })
    }
}

/// One direction.
pub(super) struct Pump {
    pub(super) direction: Direction,
    pub(super) reader: OwnedReadHalf,
    pub(super) writer: OwnedWriteHalf,
    pub(super) link: Arc<Link>,
    pub(super) shared: Arc<Shared>,
    pub(super) framer: Framer,
    /// Bytes that the other direction wants said to this direction's receiver.
    pub(super) own_words: mpsc::UnboundedReceiver<u8>,
    /// Where this direction puts such bytes.
    pub(super) to_peer: mpsc::UnboundedSender<u8>,
    /// What happens at the end of the message that is passing.
    pub(super) pending: Option<Action>,
}

impl Pump {
    /// Forwards until the connection ends.
    pub(super) async fn run(mut self) {
        let link = Arc::clone(&self.link);
        let mut state = link.state.subscribe();
        let closed = tokio::select! {
            biased;
            _ = state.wait_for(|state| *state != State::Open) => false,
            closed = self.forward() => match closed {
                Ok(()) => true,
                Err(_) => {
                    link.turn(State::Ended);
                    false
                }
            },
        };
        if closed {
            // An error here means that the receiver is gone already.
            let _ = self.writer.shutdown().await;
            if link.half_closed.load(Ordering::Acquire) {
                link.turn(State::Ended);
            }
            return;
        }
        let _ = state.wait_for(|state| *state == State::Ended).await;
    }

    /// Returns at the end of what the sender says.
    async fn forward(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; CHUNK];
        loop {
            let read = tokio::select! {
                Some(byte) = self.own_words.recv() => {
                    self.writer.write_all(&[byte]).await?;
                    continue;
                }
                read = self.reader.read(&mut buffer) => read?,
            };
            if read == 0 {
                return Ok(());
            }
            let mut out = Vec::new();
            for piece in self.framer.feed(buffer.get(..read).unwrap_or_default()) {
                self.piece(piece, &mut out).await?;
            }
            self.flush(&mut out).await?;
        }
    }

    /// One piece into `out`, or where the rules want it.
    async fn piece(&mut self, piece: Piece, out: &mut Vec<u8>) -> io::Result<()> {
        match piece.begins.as_ref().and_then(|message| message.startup.as_ref()) {
            Some(Startup::Encryption) => {
                let _ = self.to_peer.send(NO_ENCRYPTION);
                return Ok(());
            }
            Some(Startup::Session(session)) => {
                let _ = self.link.kind.set(Kind::of(session));
            }
            _ => {}
        }
        if self.direction == Direction::ToClient && self.link.dropping.load(Ordering::Acquire) {
            let answered = piece.begins.is_some_and(|message| message.tag == b'Z');
            return if answered { self.act(Action::Cut).await } else { Ok(()) };
        }
        let kind = self.link.kind.get();
        let (verdict, shape) = self.shared.judge(kind, self.direction, &piece);
        let (mut now, mut passing) = (None, piece.bytes.len());
        match verdict.map(|verdict| (verdict.action, verdict.passing)) {
            Some((action, Some(bytes))) => (now, passing) = (Some(action), bytes),
            Some((action, None)) => self.pending = Some(action),
            None => {}
        }
        if now.is_none() && piece.ends {
            now = self.pending.take();
        }
        if now == Some(Action::CutReply) {
            // Before the server can see the message, or its answer might slip through.
            self.link.dropping.store(true, Ordering::Release);
        }
        let bytes = piece.bytes.get(..passing).unwrap_or(&piece.bytes);
        self.shared.passed(self.direction, bytes.len(), piece.begins.is_some());
        if shape == Shape::default() {
            out.extend_from_slice(bytes);
        } else {
            self.flush(out).await?;
            self.shaped(bytes, shape, piece.begins.is_some()).await?;
        }
        if let Some(action) = now {
            self.flush(out).await?;
            self.act(action).await?;
        }
        Ok(())
    }

    async fn flush(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        self.writer.write_all(out).await?;
        out.clear();
        Ok(())
    }

    async fn shaped(&mut self, bytes: &[u8], shape: Shape, begins: bool) -> io::Result<()> {
        if begins && !shape.delay.is_zero() {
            tokio::time::sleep(shape.delay).await;
        }
        let dose = match (shape.one_byte, shape.bytes_per_second) {
            (true, _) => 1,
            (false, 0) => bytes.len(),
            (false, rate) => usize::try_from(rate / DOSES).unwrap_or(usize::MAX),
        };
        for part in bytes.chunks(dose.max(1)) {
            self.writer.write_all(part).await?;
            if shape.bytes_per_second > 0 {
                let seconds = part.len() as f64 / shape.bytes_per_second as f64;
                tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
            }
        }
        Ok(())
    }

    /// Does it. Only [`Action::CutReply`] lets anything pass afterwards.
    async fn act(&mut self, action: Action) -> io::Result<()> {
        match action {
            Action::CutReply => return Ok(()),
            Action::Cut => {
                // First, or the peer could see the end before the proxy knows of it.
                self.link.turn(State::Ended);
                // What has passed arrives before the end does.
                let _ = self.writer.shutdown().await;
            }
            Action::BlackHole => {
                self.link.turn(State::Silent);
            }
            Action::HalfClose => {
                self.link.half_closed.store(true, Ordering::Release);
                let _ = self.writer.shutdown().await;
            }
        }
        std::future::pending().await
    }
}
