//! A proxy before the server that can lose the answer to a COMMIT.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use rowtide_postgres::{PostgresDestination, PostgresDestinationOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::Db;

/// What happens to the next COMMIT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Fate {
    /// It is answered.
    Passes = 0,
    /// It reaches the server; the answer is lost.
    AnswerLost = 1,
    /// It is lost with its connection.
    Lost = 2,
    /// It is lost, and the server does not learn that nobody is there any more.
    LostUnnoticed = 3,
}

pub(crate) struct Proxy {
    port: u16,
    fate: Arc<AtomicU8>,
}

impl Proxy {
    pub(crate) async fn before(db: &Db<'_>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, server) = (listener.local_addr().unwrap().port(), db.server.port());
        let fate = Arc::new(AtomicU8::new(0));
        let shared = Arc::clone(&fate);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, server, Arc::clone(&shared)));
            }
        });
        Self { port, fate }
    }

    pub(crate) fn destination(&self, db: &Db<'_>) -> PostgresDestination {
        PostgresDestination::new(PostgresDestinationOptions {
            port: Some(self.port),
            ..db.options()
        })
    }

    pub(crate) fn next_commit(&self, fate: Fate) {
        self.fate.store(fate as u8, Ordering::SeqCst);
    }
}

async fn pass(client: TcpStream, server: u16, fate: Arc<AtomicU8>) {
    let server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let answers = tokio::spawn(async move {
        let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
        from_server
    });
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count) = from_client.read(&mut buffer).await {
        let said = &buffer[..count];
        if count == 0 {
            return;
        }
        if said.windows(7).any(|window| window == b"COMMIT\0") {
            match fate.swap(Fate::Passes as u8, Ordering::SeqCst) {
                1 => {
                    answers.abort();
                    to_server.write_all(said).await.unwrap();
                    return;
                }
                2 => {
                    answers.abort();
                    return;
                }
                3 => {
                    answers.abort();
                    drop(from_client);
                    // The server's side stays open, and silent.
                    return std::future::pending::<()>().await;
                }
                _ => {}
            }
        }
        if to_server.write_all(said).await.is_err() {
            return;
        }
    }
}
