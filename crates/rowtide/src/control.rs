//! How a command reaches a pipeline that runs on this machine: a Unix socket only its user may
//! open, one line of JSON each way.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::PathBuf;
use std::time::Duration;

use rowtide_core::{Error, ErrorKind, Result, TableName};
use rowtide_engine::config::Configuration;
use rowtide_engine::{Request, TableCommand};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// No request or answer is longer.
const LONGEST: u64 = 64 << 10;
/// How long a client may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a pipeline may take to come to a request: it finishes a transaction first.
const ANSWER: Duration = Duration::from_secs(60);

#[derive(Debug, Serialize, Deserialize)]
struct Question {
    schema: String,
    table: String,
    command: TableCommand,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Done(String),
    Refused { message: String, hint: Option<String> },
}

/// The socket of a running pipeline; it is removed with this value.
pub(crate) struct Listening {
    path: PathBuf,
    task: JoinHandle<()>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Listens for commands and passes them to `requests`.
///
/// # Errors
/// What the system says; a pipeline runs as well without.
pub(crate) fn listen(
    configuration: &Configuration,
    requests: mpsc::Sender<Request>,
) -> io::Result<Listening> {
    let path = path(configuration);
    if let Some(directory) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    // The destination has one writer: a socket that is there was left behind.
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path)?;
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, requests.clone()));
        }
    });
    Ok(Listening { path, task })
}

async fn serve(stream: UnixStream, requests: mpsc::Sender<Request>) {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    let mut reader = BufReader::new(reader.take(LONGEST));
    let read = tokio::time::timeout(PATIENCE, reader.read_line(&mut line)).await;
    let answer = match (read, serde_json::from_str::<Question>(&line)) {
        (Ok(Ok(_)), Ok(question)) => ask(question, &requests).await,
        _ => Err(Error::config("the request could not be read")),
    };
    let answer = match answer {
        Ok(said) => Answer::Done(said),
        Err(error) => {
            Answer::Refused { message: error.chain(), hint: error.hint().map(str::to_owned) }
        }
    };
    if let Ok(mut text) = serde_json::to_string(&answer) {
        text.push('\n');
        // A client that left needs no answer.
        let _ = writer.write_all(text.as_bytes()).await;
    }
}

async fn ask(question: Question, requests: &mpsc::Sender<Request>) -> Result<String> {
    let (reply, answer) = oneshot::channel();
    let table = TableName::new(question.schema, question.table);
    let request = Request { table, command: question.command, reply };
    let gone = |_| Error::unavailable("the pipeline is ending");
    let exchange = async {
        requests.send(request).await.map_err(|_| Error::unavailable("the pipeline is ending"))?;
        answer.await.map_err(gone)?
    };
    let late = |_| Error::unavailable("the pipeline is busy and has not come to the request yet");
    tokio::time::timeout(ANSWER, exchange).await.map_err(late)?
}

/// Asks the running pipeline; `None` if none runs on this machine.
///
/// # Errors
/// What the pipeline answers.
pub(crate) async fn send(
    configuration: &Configuration,
    table: &TableName,
    command: TableCommand,
) -> Result<Option<String>> {
    let Ok(stream) = UnixStream::connect(path(configuration)).await else {
        return Ok(None);
    };
    let broken =
        |error: io::Error| Error::unavailable("talking to the running pipeline").with_source(error);
    let (reader, mut writer) = stream.into_split();
    let question =
        Question { schema: table.schema.to_string(), table: table.name.to_string(), command };
    let unreadable = |error| Error::internal("a request could not be written").with_source(error);
    let mut text = serde_json::to_string(&question).map_err(unreadable)?;
    text.push('\n');
    writer.write_all(text.as_bytes()).await.map_err(broken)?;
    let mut line = String::new();
    let mut reader = BufReader::new(reader.take(LONGEST));
    reader.read_line(&mut line).await.map_err(broken)?;
    match serde_json::from_str(&line) {
        Ok(Answer::Done(said)) => Ok(Some(said)),
        Ok(Answer::Refused { message, hint }) => {
            let error = Error::new(ErrorKind::Config, message);
            Err(match hint {
                Some(hint) => error.with_hint(hint),
                None => error,
            })
        }
        Err(_) => Err(Error::unavailable("the running pipeline ended before it answered")),
    }
}

/// Where the socket of this pipeline is: below the user's runtime directory, named by a hash of
/// pipeline and destination.
fn path(configuration: &Configuration) -> PathBuf {
    let destination = &configuration.destination;
    let named =
        format!("{}\0{}\0{}", configuration.pipeline, destination.kind, destination.options);
    // FNV-1a: the same in every version of the program.
    let hash = named.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let directory = runtime.filter(|path| path.is_absolute()).map_or_else(
        || {
            // The owner of this process's own entry is this process's user.
            let user = std::fs::metadata("/proc/self").map_or(0, |own| own.uid());
            std::env::temp_dir().join(format!("rowtide-{user}"))
        },
        |path| path.join("rowtide"),
    );
    directory.join(format!("{hash:016x}.sock"))
}
