//! What `fuzz/` feeds to the side of a connection that proves who we are.

use bytes::BytesMut;

use super::authentication::Authentication;
use crate::fuzzing::Input;
use crate::options::{PostgresOptions, Secret};

const PASSWORD: &str = "correct horse";
const SASL: u8 = 10;
const CONTINUE: u8 = 11;

/// Whether the channel can be bound, then messages in pieces. In a `SASLContinue`, `r=` is
/// followed by the nonce we sent, which nobody could guess.
pub(crate) fn authentication(bytes: &[u8]) {
    let mut input = Input(bytes);
    let flags = input.u8();
    let options = PostgresOptions {
        host: Some(if flags & 1 == 0 { "db.example" } else { "localhost" }.to_owned()),
        user: Some("me".to_owned()),
        password: (flags & 2 == 0).then(|| Secret::new(PASSWORD)),
        ..PostgresOptions::default()
    };
    let encrypted = flags & 4 != 0;
    let end_point = (encrypted && flags & 8 != 0).then(|| vec![7; 32]);
    let mut exchange = Authentication::new(&options, end_point, encrypted);
    let mut nonce = Vec::new();
    let mut begun = false;
    while let Some(piece) = input.piece() {
        let method = piece.get(3).copied();
        let body = match method {
            Some(CONTINUE) => with_nonce(piece, &nonce),
            _ => piece.to_vec(),
        };
        if iterates_long(&body) {
            return;
        }
        let mut reply = BytesMut::new();
        let Ok(done) = exchange.step(&body, &mut reply) else { return };
        let sent_open = reply.windows(PASSWORD.len()).any(|part| part == PASSWORD.as_bytes());
        assert!(!sent_open || encrypted || flags & 1 != 0, "the password went over the open wire");
        if method == Some(SASL) {
            assert!(!begun, "the proof began anew, and the channel would not be bound any more");
            begun = true;
            let at = reply.windows(2).rposition(|pair| pair == b"r=").unwrap_or(0);
            nonce = reply.get(at + 2..).unwrap_or_default().to_vec();
        }
        if done {
            assert!(!begun, "a server was believed without its proof");
            return;
        }
    }
}

fn with_nonce(piece: &[u8], nonce: &[u8]) -> Vec<u8> {
    match piece.windows(2).position(|pair| pair == b"r=") {
        Some(at) => {
            let (head, tail) = piece.split_at(at + 2);
            [head, nonce, tail].concat()
        }
        None => piece.to_vec(),
    }
}

/// The driver bounds the iterations; what it allows still takes long.
fn iterates_long(body: &[u8]) -> bool {
    let mut counts = body.windows(7).filter(|window| window.starts_with(b"i="));
    counts.any(|window| window.iter().skip(2).all(u8::is_ascii_digit))
}
