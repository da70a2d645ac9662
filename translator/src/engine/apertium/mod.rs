//! Apertium: rules and dictionaries, by the modes that are installed.
//!
//! A mode is a pipe of programs. Each is started once and kept, and told with a zero byte where a text ends (`-z`); the command
//! `apertium` would start all of them for each text. A mode whose self-test fails is not used: some that distributions have
//! are broken.

mod mode;
mod pipe;
mod stream;

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::{StreamExt, stream::iter};
use tokio::sync::{mpsc, oneshot};

use self::{mode::Mode, pipe::Pipe};
use super::{Answers, Batch, Class, Engine, EngineError, Most};
use crate::text::Lang;

/// Where distributions put modes.
pub const MODES: &str = "/usr/share/apertium/modes";
/// One text must be answered within this.
const PATIENCE: Duration = Duration::from_secs(5);
/// The first one of a pipe waits for its dictionaries to be read.
const START: Duration = Duration::from_secs(20);
/// A pipe that nobody needs is ended.
const IDLE: Duration = Duration::from_secs(600);
/// Requests that wait for one pipe; more are refused.
const WAITING: usize = 64;
/// Self-tests at the same time.
const TESTS: usize = 2;

/// A line in a language that every mode from it must change.
fn sample(lang: Lang) -> Option<&'static str> {
    Some(match lang.as_str() {
        "en" => "The house is big and the water is cold.",
        "es" => "La casa es grande y el agua está fría.",
        "ca" => "La casa és gran i l'aigua està freda.",
        "pt" => "A casa é grande e a água está fria.",
        "fr" => "La maison est grande et l'eau est froide.",
        "it" => "La casa è grande e l'acqua è fredda.",
        "ru" => "Дом большой, и вода холодная.",
        "uk" => "Будинок великий, і вода холодна.",
        "sv" => "Huset är stort och vattnet är kallt.",
        "nb" => "Huset er stort og vannet er kaldt.",
        "gl" => "A casa é grande e a auga está fría.",
        "eo" => "La domo estas granda kaj la akvo estas malvarma.",
        _ => return None,
    })
}

type Job = (Arc<[String]>, oneshot::Sender<Result<Vec<String>, EngineError>>);

/// See the module's text.
pub struct Apertium {
    lanes: BTreeMap<(Lang, Lang), Lane>,
}

struct Lane {
    version: String,
    jobs: mpsc::Sender<Job>,
}

impl Apertium {
    /// Finds the modes in a folder and tests each. Empty if there are none. `class` is for translating alone.
    pub async fn find(folder: &Path, class: Class) -> Self {
        let modes = mode::find(folder);
        let mut tests = iter(modes.into_iter().map(|mode| async move { (works(&mode).await, mode) }))
            .buffer_unordered(TESTS);
        let mut lanes = BTreeMap::new();
        while let Some((works, mode)) = tests.next().await {
            if let Err(why) = works {
                tracing::warn!(from = %mode.source, to = %mode.target, why, "Apertium's mode does not work, and is not used");
                continue;
            }
            let (jobs, queue) = mpsc::channel(WAITING);
            let (pair, version) = ((mode.source, mode.target), mode.version.clone());
            tokio::spawn(work((mode, class), queue));
            lanes.insert(pair, Lane { version, jobs });
        }
        Self { lanes }
    }

    /// Whether no mode works.
    pub fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }
}

/// Tried like any other program: on a busy machine a mode is not to be found wanting for want of time.
async fn works(mode: &Mode) -> Result<(), String> {
    let mut pipe = Pipe::start(mode, Class::Usual).await.map_err(|error| error.to_string())?;
    let text = sample(mode.source).unwrap_or("1 2 3");
    let answer = tokio::time::timeout(START, pipe.ask(&[text.to_owned()])).await;
    let answer = answer.map_err(|_| "no answer")?.map_err(|error| error.to_string())?;
    match answer.first() {
        Some(answer) if !answer.is_empty() && (sample(mode.source).is_none() || answer != text) => Ok(()),
        _ => Err("it does not translate".to_owned()),
    }
}

/// Serves one pair until the engine is dropped.
async fn work((mode, class): (Mode, Class), mut queue: mpsc::Receiver<Job>) {
    let mut pipe: Option<Pipe> = None;
    loop {
        let next = tokio::time::timeout(IDLE, queue.recv());
        let Ok(next) = next.await else {
            pipe = None;
            continue;
        };
        let Some((texts, done)) = next else { return };
        if done.is_closed() {
            continue;
        }
        let fresh = pipe.is_none();
        let ready = match pipe.take() {
            Some(pipe) => Ok(pipe),
            None => Pipe::start(&mode, class).await,
        };
        let mut ready = match ready {
            Ok(pipe) => pipe,
            Err(error) => {
                let _ = done.send(Err(EngineError::Away(format!("cannot start: {error}").into())));
                continue;
            }
        };
        let time = if fresh { START } else { PATIENCE };
        let answer = match tokio::time::timeout(time, ready.ask(&texts)).await {
            Ok(Ok(answers)) => {
                pipe = Some(ready);
                Ok(answers)
            }
            // What a broken or late pipe would say next belongs to this question: it ends here.
            Ok(Err(error)) => Err(EngineError::Away(format!("its pipe broke: {error}").into())),
            Err(_) => Err(EngineError::Late),
        };
        let _ = done.send(answer);
    }
}

#[async_trait]
impl Engine for Apertium {
    fn name(&self) -> &'static str {
        "apertium"
    }

    fn version(&self, source: Lang, target: Lang) -> String {
        self.lanes.get(&(source, target)).map(|lane| lane.version.clone()).unwrap_or_default()
    }

    fn has(&self, source: Lang, target: Lang) -> bool {
        self.lanes.contains_key(&(source, target))
    }

    fn pairs(&self) -> Vec<(Lang, Lang)> {
        self.lanes.keys().copied().collect()
    }

    fn most_per_call(&self) -> Most {
        Most { lines: 16, characters: 5_000 }
    }

    async fn translate(&self, batch: Batch) -> Result<Answers, EngineError> {
        let mut all = Vec::with_capacity(batch.targets.len());
        for target in &batch.targets {
            let lane = self.lanes.get(&(batch.source, *target));
            let lane = lane.ok_or(EngineError::Unfit("it does not have this pair".into()))?;
            let (done, answer) = oneshot::channel();
            lane.jobs.try_send((batch.texts.clone(), done)).map_err(|_| EngineError::Busy)?;
            all.push(answer.await.map_err(|_| EngineError::Away("it has ended".into()))??);
        }
        Ok(all)
    }
}
