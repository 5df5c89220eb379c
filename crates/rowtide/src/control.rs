//! How a command reaches a pipeline that runs on this machine: a Unix socket only its user may
//! open, one line of JSON for the question, and one or more for the answer.

mod turn;

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rowtide_core::{Error, ErrorKind, Result, TableName};
use rowtide_engine::config::Configuration;
use rowtide_engine::{Request, TableCommand, TableRequest};
use rowtide_verify::{Report, TableReport};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Take};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::verification::{Asked, Desk};
pub(crate) use turn::Turn;

/// No request is longer, and no answer but a report.
const LONGEST: u64 = 64 << 10;
/// No report is longer, with all that is told on the way.
const LONGEST_REPORT: u64 = 1 << 30;
/// How long a client may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a pipeline may take to come to a request: it finishes a transaction first.
const ANSWER: Duration = Duration::from_secs(60);

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Question {
    Table { schema: String, table: String, command: TableCommand },
    Verify { verify: Asked },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Done(String),
    Refused {
        /// The error's kind as a word.
        #[serde(default)]
        kind: String,
        message: String,
        hint: Option<String>,
    },
    /// A table is compared; more follows.
    Table(Box<TableReport>),
    /// All are.
    Report(Box<Report>),
}

/// Who answers in a running pipeline.
#[derive(Clone)]
pub(crate) struct Answering {
    /// Where requests go.
    pub(crate) requests: mpsc::Sender<Request>,
    /// Who compares.
    pub(crate) desk: Arc<Desk>,
}

/// The socket of a running pipeline; it is removed with this value.
pub(crate) struct Listening {
    path: PathBuf,
    task: JoinHandle<()>,
    _turn: Turn,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Listens for commands and lets `answering` answer them, from before the pipeline's writer is
/// opened. Waits for a command that is the writer at the moment.
///
/// # Errors
/// What the system says; a pipeline runs as well without.
pub(crate) async fn listen(
    configuration: &Configuration,
    answering: Answering,
) -> io::Result<Listening> {
    let path = path(configuration);
    make_directory(&path)?;
    let turn = Turn::of_a_run(&path.with_extension("lock")).await?;
    // The destination has one writer: a socket that is there was left behind.
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path)?;
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, answering.clone()));
        }
    });
    Ok(Listening { path, task, _turn: turn })
}

fn make_directory(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(directory) => DirBuilder::new().recursive(true).mode(0o700).create(directory),
        None => Ok(()),
    }
}

/// The right to become the pipeline's writer for a moment; `None` while a run on this machine has
/// it, which listens or is about to.
///
/// # Errors
/// What the system says.
pub(crate) fn turn(configuration: &Configuration) -> io::Result<Option<Turn>> {
    let path = path(configuration);
    make_directory(&path)?;
    Turn::of_a_command(&path.with_extension("lock"))
}

async fn serve(stream: UnixStream, answering: Answering) {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    let mut reader = BufReader::new(reader.take(LONGEST));
    let read = tokio::time::timeout(PATIENCE, reader.read_line(&mut line)).await;
    let answer = match (read, serde_json::from_str::<Question>(&line)) {
        (Ok(Ok(_)), Ok(Question::Table { schema, table, command })) => {
            let table = TableName::new(schema, table);
            ask(table, command, &answering.requests).await.map(Answer::Done)
        }
        (Ok(Ok(_)), Ok(Question::Verify { verify })) => {
            let mut rest = Vec::new();
            tokio::select! {
                answer = compare(&verify, &answering.desk, &mut writer) => answer,
                // Whoever asked has left: nobody wants to know any more.
                _ = reader.read_to_end(&mut rest) => return,
            }
        }
        _ => Err(Error::config("the request could not be read")),
    };
    let answer = answer.unwrap_or_else(|error| Answer::Refused {
        kind: error.kind().as_str().to_owned(),
        message: error.chain(),
        hint: error.hint().map(str::to_owned),
    });
    write(&answer, &mut writer).await;
}

/// Writes an answer; a client that left needs none.
async fn write(answer: &Answer, writer: &mut OwnedWriteHalf) {
    if let Ok(mut text) = serde_json::to_string(answer) {
        text.push('\n');
        let _ = writer.write_all(text.as_bytes()).await;
    }
}

/// Compares what is asked for, and tells of each table meanwhile.
async fn compare(asked: &Asked, desk: &Desk, writer: &mut OwnedWriteHalf) -> Result<Answer> {
    let (done, mut told) = mpsc::channel::<TableReport>(16);
    let tell = move |table: &TableReport| {
        // What does not fit now is in the report.
        let _ = done.try_send(TableReport { differences: Vec::new(), ..table.clone() });
    };
    let verified = desk.verify(asked, &tell);
    tokio::pin!(verified);
    loop {
        tokio::select! {
            report = &mut verified => return Ok(Answer::Report(Box::new(report?))),
            Some(table) = told.recv() => write(&Answer::Table(Box::new(table)), writer).await,
        }
    }
}

async fn ask(
    table: TableName,
    command: TableCommand,
    requests: &mpsc::Sender<Request>,
) -> Result<String> {
    let (reply, answer) = oneshot::channel();
    let request = Request::Table(TableRequest { table, command, reply });
    let gone = |_| Error::unavailable("the pipeline is ending");
    let exchange = async {
        requests.send(request).await.map_err(|_| Error::unavailable("the pipeline is ending"))?;
        answer.await.map_err(gone)?
    };
    let late = |_| Error::unavailable("the pipeline is busy and has not come to the request yet");
    tokio::time::timeout(ANSWER, exchange).await.map_err(late)?
}

/// Asks the running pipeline to do something with a table; `None` if none runs on this machine.
///
/// # Errors
/// What the pipeline answers.
pub(crate) async fn send(
    configuration: &Configuration,
    table: &TableName,
    command: TableCommand,
) -> Result<Option<String>> {
    let (schema, table) = (table.schema.to_string(), table.name.to_string());
    let question = Question::Table { schema, table, command };
    let Some(mut answers) = put(configuration, &question, LONGEST).await? else {
        return Ok(None);
    };
    match answers.next().await? {
        Answer::Done(said) => Ok(Some(said)),
        _ => Err(Error::internal("the running pipeline answered something else")),
    }
}

/// Asks the running pipeline to compare its tables, and tells of each as it is done; `None` if
/// none runs on this machine.
///
/// # Errors
/// What the pipeline answers.
pub(crate) async fn verify(
    configuration: &Configuration,
    asked: &Asked,
    tell: &(dyn Fn(&TableReport) + Send + Sync),
) -> Result<Option<Report>> {
    let question = Question::Verify { verify: asked.clone() };
    let Some(mut answers) = put(configuration, &question, LONGEST_REPORT).await? else {
        return Ok(None);
    };
    loop {
        match answers.next().await? {
            Answer::Table(table) => tell(&table),
            Answer::Report(report) => return Ok(Some(*report)),
            _ => return Err(Error::internal("the running pipeline answered something else")),
        }
    }
}

/// What a running pipeline answers, line by line.
struct Answers {
    reader: BufReader<Take<OwnedReadHalf>>,
    /// Closing it would say that nobody waits any more.
    _writer: OwnedWriteHalf,
}

/// Puts a question to the running pipeline.
async fn put(
    configuration: &Configuration,
    question: &Question,
    longest: u64,
) -> Result<Option<Answers>> {
    let Ok(stream) = UnixStream::connect(path(configuration)).await else {
        return Ok(None);
    };
    let (reader, mut writer) = stream.into_split();
    let unreadable = |error| Error::internal("a request could not be written").with_source(error);
    let mut text = serde_json::to_string(question).map_err(unreadable)?;
    text.push('\n');
    writer.write_all(text.as_bytes()).await.map_err(broken)?;
    Ok(Some(Answers { reader: BufReader::new(reader.take(longest)), _writer: writer }))
}

impl Answers {
    async fn next(&mut self) -> Result<Answer> {
        let mut line = String::new();
        self.reader.read_line(&mut line).await.map_err(broken)?;
        match serde_json::from_str(&line) {
            Ok(Answer::Refused { kind, message, hint }) => {
                let error = Error::new(kind_of(&kind), message);
                Err(match hint {
                    Some(hint) => error.with_hint(hint),
                    None => error,
                })
            }
            Ok(answer) => Ok(answer),
            Err(_) => Err(Error::unavailable("the running pipeline ended before it answered")),
        }
    }
}

/// The kind that is called this; a pipeline of another version may have no word, or others.
fn kind_of(word: &str) -> ErrorKind {
    let all = [
        ErrorKind::Access,
        ErrorKind::Unavailable,
        ErrorKind::PositionLost,
        ErrorKind::SchemaDrift,
        ErrorKind::Data,
        ErrorKind::Fenced,
        ErrorKind::Internal,
    ];
    all.into_iter().find(|kind| kind.as_str() == word).unwrap_or(ErrorKind::Config)
}

fn broken(error: io::Error) -> Error {
    Error::unavailable("talking to the running pipeline").with_source(error)
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
