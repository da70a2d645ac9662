//! One model and its thread.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, mpsc},
    time::Duration,
};

use fxtranslate::{engine, shortlist::Shortlist};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{block, models::Files};
use crate::{
    engine::{Class, EngineError},
    text::Lang,
};

/// Requests that wait for one model; more are refused.
const WAITING: usize = 64;
/// A model that nobody needs gives its memory back.
const IDLE: Duration = Duration::from_secs(600);

type Job = (Arc<[String]>, oneshot::Sender<Result<Vec<String>, EngineError>>);

pub(super) struct Direction {
    name: String,
    files: Files,
    class: Class,
    /// To the thread that runs now, if one does.
    jobs: Mutex<Option<mpsc::SyncSender<Job>>>,
}

impl Direction {
    pub(super) fn new((source, target): (Lang, Lang), files: Files, class: Class) -> Self {
        Self { name: format!("{source}-{target}"), files, class, jobs: Mutex::default() }
    }

    /// Loads the model, and forgets it: it is loaded again when somebody needs it.
    ///
    /// # Errors
    /// A sentence that names it.
    pub(super) fn try_out(&self) -> Result<(), String> {
        load(&self.files).map(drop).map_err(|why| format!("{}: {why}", self.files.model.display()))
    }

    pub(super) fn version(&self) -> &str {
        &self.files.version
    }

    pub(super) async fn ask(&self, texts: Arc<[String]>) -> Result<Vec<String>, EngineError> {
        let (done, answer) = oneshot::channel();
        self.send((texts, done))?;
        // A thread that ends with a request still waiting leaves it without an answer.
        answer.await.map_err(|_| EngineError::Away("the model's thread has ended".into()))?
    }

    fn send(&self, job: Job) -> Result<(), EngineError> {
        let mut jobs = self.jobs.lock();
        let mut job = job;
        if let Some(running) = &*jobs {
            match running.try_send(job) {
                Ok(()) => return Ok(()),
                Err(mpsc::TrySendError::Full(_)) => {
                    return Err(EngineError::Busy);
                }
                // It has ended, having had nothing to do: another one begins.
                Err(mpsc::TrySendError::Disconnected(back)) => job = back,
            }
        }
        let (sender, queue) = mpsc::sync_channel(WAITING);
        let (files, class) = (self.files.clone(), self.class);
        let started = std::thread::Builder::new().name(format!("firefox {}", self.name)).spawn(move || {
            class.enter();
            run(&files, &queue);
        });
        started.map_err(|error| EngineError::Away(format!("no thread: {error}").into()))?;
        let sent = sender.try_send(job).map_err(|_| EngineError::Away("the model's thread has ended".into()));
        *jobs = Some(sender);
        sent
    }
}

fn load(files: &Files) -> Result<engine::Engine, String> {
    let loaded = catch_unwind(|| {
        let engine =
            engine::Engine::load_mmapped(&files.model, &files.source_vocabulary, &files.target_vocabulary)?;
        Ok(match &files.shortlist {
            Some(path) => engine.with_shortlist(Shortlist::load(path).map_err(|error| error.to_string())?),
            None => engine,
        })
    });
    // The library takes a file that is cut short for a whole one, and panics.
    loaded.unwrap_or_else(|_| Err("its files are damaged".to_owned()))
}

fn run(files: &Files, queue: &mpsc::Receiver<Job>) {
    let engine = load(files);
    if let Err(why) = &engine {
        tracing::error!(model = %files.model.display(), why, "a model cannot be loaded");
    }
    while let Ok((texts, done)) = queue.recv_timeout(IDLE) {
        let answer = match &engine {
            Err(_) => Err(EngineError::Away("its model cannot be loaded".into())),
            // Nobody waits for it any more.
            Ok(_) if done.is_closed() => continue,
            Ok(engine) => catch_unwind(AssertUnwindSafe(|| block::translate(engine, &texts)))
                .map_err(|_| EngineError::Garbage("the model failed on this text")),
        };
        let _ = done.send(answer);
        if engine.is_err() {
            // The next request tries again: the files may be there by then.
            return;
        }
    }
}
