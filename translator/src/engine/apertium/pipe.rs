//! The running programs of one mode.

use std::{io, process::Stdio, thread};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    runtime::Handle,
    sync::oneshot,
};

use super::{Class, mode::Mode, stream};

/// An answer has at most so many bytes.
const LONGEST: u64 = 256 * 1024;

/// Ends its programs when it is dropped.
pub(super) struct Pipe {
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    _programs: Vec<Child>,
}

impl Pipe {
    /// Starts the programs, in this class; they read their data meanwhile.
    pub(super) async fn start(mode: &Mode, class: Class) -> io::Result<Self> {
        let (mode, runtime) = (mode.clone(), Handle::current());
        let (done, started) = oneshot::channel();
        // Programs begin in the class of the thread that starts them, and nothing else of ours is to be in that.
        thread::Builder::new().name("apertium".to_owned()).spawn(move || {
            class.enter();
            let _runtime = runtime.enter();
            let _ = done.send(Self::spawn(&mode));
        })?;
        started.await.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?
    }

    fn spawn(mode: &Mode) -> io::Result<Self> {
        let mut programs = Vec::with_capacity(mode.stages.len());
        let mut from_last: Option<Stdio> = None;
        let mut input = None;
        for stage in &mode.stages {
            let mut words = stage.iter();
            let program = words.next().ok_or(io::ErrorKind::InvalidInput)?;
            let first = from_last.is_none();
            let mut child = Command::new(program)
                .args(words)
                .stdin(from_last.take().unwrap_or_else(Stdio::piped))
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .kill_on_drop(true)
                .spawn()
                .map_err(|error| io::Error::new(error.kind(), format!("{program}: {error}")))?;
            if first {
                input = child.stdin.take();
            }
            programs.push(child);
            let is_last = programs.len() == mode.stages.len();
            if !is_last {
                let output = programs.last_mut().and_then(|child| child.stdout.take());
                from_last = Some(output.ok_or(io::ErrorKind::BrokenPipe)?.into_owned_fd()?.into());
            }
        }
        let output = programs.last_mut().and_then(|child| child.stdout.take());
        Ok(Self {
            input: input.ok_or(io::ErrorKind::BrokenPipe)?,
            output: BufReader::new(output.ok_or(io::ErrorKind::BrokenPipe)?),
            _programs: programs,
        })
    }

    /// Translates lines. After an error, or when it is dropped before its end, the pipe is of no use any more.
    pub(super) async fn ask(&mut self, texts: &[String]) -> io::Result<Vec<String>> {
        let Self { input, output, .. } = self;
        // Written and read at the same time: a pipe that is full on both ends would stand still.
        let write = async {
            for text in texts {
                let mut bytes = stream::encode(text).into_bytes();
                bytes.push(0);
                input.write_all(&bytes).await?;
            }
            input.flush().await
        };
        let read = async {
            let mut answers = Vec::with_capacity(texts.len());
            for _ in texts {
                let mut answer = Vec::new();
                read_to_zero(output, &mut answer).await?;
                let answer = String::from_utf8_lossy(&answer);
                if !stream::is_whole(&answer) {
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "an answer breaks off"));
                }
                answers.push(stream::decode(&answer));
            }
            io::Result::Ok(answers)
        };
        let ((), answers) = tokio::try_join!(write, read)?;
        Ok(answers)
    }
}

async fn read_to_zero(output: &mut BufReader<ChildStdout>, into: &mut Vec<u8>) -> io::Result<()> {
    use tokio::io::AsyncReadExt as _;
    output.take(LONGEST).read_until(0, into).await?;
    if into.pop() == Some(0) { Ok(()) } else { Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it ended")) }
}
