//! Proving who we are: SCRAM-SHA-256, bound to the TLS channel where there is one.

use bytes::BytesMut;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{
    ChannelBinding, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256,
};
use postgres_protocol::message::frontend;
use rowtide_core::{Error, Result};

use crate::options::PostgresOptions;
use crate::protocol::Cursor;

/// One exchange with the server.
pub(super) struct Authentication<'a> {
    options: &'a PostgresOptions,
    /// The hash of the server's certificate; `None` without TLS or where none is defined.
    end_point: Option<Vec<u8>>,
    encrypted: bool,
    scram: Option<ScramSha256>,
    proven: bool,
}

impl<'a> Authentication<'a> {
    pub(super) fn new(
        options: &'a PostgresOptions,
        end_point: Option<Vec<u8>>,
        encrypted: bool,
    ) -> Self {
        Self { options, end_point, encrypted, scram: None, proven: false }
    }

    /// Answers one `Authentication…` message into `reply`; true when the server is satisfied.
    pub(super) fn step(&mut self, body: &[u8], reply: &mut BytesMut) -> Result<bool> {
        let mut cursor = Cursor::new(body);
        match cursor.u32()? {
            0 => return self.end(),
            3 => self.plain(reply, <[u8]>::to_vec)?,
            5 => {
                let salt = <[u8; 4]>::try_from(cursor.take(4)?).unwrap_or_default();
                let user = self.options.user().as_bytes();
                self.plain(reply, |password| md5_hash(user, password, salt).into_bytes())?;
            }
            10 => self.begin_scram(cursor, reply)?,
            11 => {
                let scram = self.scram.as_mut().ok_or_else(unexpected)?;
                scram.update(cursor.rest()).map_err(failed)?;
                frontend::sasl_response(scram.message(), reply).map_err(failed)?;
            }
            12 => {
                self.scram
                    .as_mut()
                    .ok_or_else(unexpected)?
                    .finish(cursor.rest())
                    .map_err(failed)?;
                self.proven = true;
            }
            method => {
                return Err(Error::access(format!(
                    "the server asks for authentication method {method}, which is not supported"
                ))
                .with_hint("let pg_hba.conf ask this user for scram-sha-256"));
            }
        }
        Ok(false)
    }

    /// A server that began SCRAM must also have proven that it knows the password.
    fn end(&self) -> Result<bool> {
        if self.scram.is_some() && !self.proven {
            return Err(unexpected());
        }
        Ok(true)
    }

    fn password(&self) -> Result<&'a [u8]> {
        let password = self.options.password.as_ref().map(|secret| secret.reveal().as_bytes());
        password.ok_or_else(|| {
            Error::access(format!("the server wants a password for {}", self.options.user()))
                .with_hint("put it into the URL, PGPASSWORD or ~/.pgpass")
        })
    }

    fn plain(&self, reply: &mut BytesMut, form: impl Fn(&[u8]) -> Vec<u8>) -> Result<()> {
        if !self.encrypted && !self.options.is_loopback() {
            return Err(Error::access("the server wants the password over an open connection")
                .with_hint("use sslmode=verify-full, or scram-sha-256 in pg_hba.conf"));
        }
        let mut message = form(self.password()?);
        message.retain(|byte| *byte != 0);
        frontend::password_message(&message, reply).map_err(failed)
    }

    fn begin_scram(&mut self, mut mechanisms: Cursor<'_>, reply: &mut BytesMut) -> Result<()> {
        // INVARIANT: the proof begins once. A second beginning would no more be bound to the
        // channel, and somebody between could pass it on to the real server.
        if self.scram.is_some() {
            return Err(unexpected());
        }
        let (mut plain, mut plus) = (false, false);
        loop {
            match mechanisms.cstr()? {
                "" => break,
                SCRAM_SHA_256 => plain = true,
                SCRAM_SHA_256_PLUS => plus = true,
                _ => {}
            }
        }
        let (mechanism, binding) = match self.end_point.take() {
            Some(hash) if plus => (SCRAM_SHA_256_PLUS, ChannelBinding::tls_server_end_point(hash)),
            // The server is told that we could have bound the channel: it notices a downgrade.
            Some(_) if plain => (SCRAM_SHA_256, ChannelBinding::unrequested()),
            None if plain => (SCRAM_SHA_256, ChannelBinding::unsupported()),
            _ => {
                return Err(Error::access("the server offers no SCRAM-SHA-256")
                    .with_hint("let pg_hba.conf ask this user for scram-sha-256"));
            }
        };
        let scram = ScramSha256::new(self.password()?, binding);
        frontend::sasl_initial_response(mechanism, scram.message(), reply).map_err(failed)?;
        self.scram = Some(scram);
        Ok(())
    }
}

fn unexpected() -> Error {
    Error::access("the server did not prove that it knows the password")
        .with_hint("somebody may stand between: use sslmode=verify-full")
}

fn failed(error: std::io::Error) -> Error {
    Error::access("authentication failed").with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Secret;

    #[test]
    fn the_proof_begins_once_and_is_bound_to_the_channel() {
        let options = PostgresOptions {
            user: Some("me".to_owned()),
            password: Some(Secret::new("hush")),
            ..PostgresOptions::default()
        };
        let mut exchange = Authentication::new(&options, Some(vec![7; 32]), true);
        let begin = b"\0\0\0\x0aSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0";
        let mut reply = BytesMut::new();
        assert!(!exchange.step(begin, &mut reply).unwrap());
        assert!(reply.windows(22).any(|part| part == b"p=tls-server-end-point"));
        let mut again = BytesMut::new();
        assert!(exchange.step(begin, &mut again).is_err());
        assert!(again.is_empty(), "nothing is sent that is not bound");
        assert!(exchange.step(&[0; 4], &mut again).is_err(), "no proof came from the server");
    }
}
