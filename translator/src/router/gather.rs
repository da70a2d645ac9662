//! Making one call of several: while a call for a pair is under way, what else is asked for that pair waits, and goes into the
//! next one together. Nothing waits for company.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{sync::oneshot, time::Instant};

use crate::{
    engine::{Batch, Engine, EngineError, Most},
    text::Lang,
};

/// Characters in one call for several requests, at most, even if the engine takes more: who comes first waits for all of them.
const CHARACTERS: usize = 5_000;
/// Lines that wait for one pair; more are refused.
const WAITING: usize = 4_096;

type Pair = (Lang, Lang);
type Done = oneshot::Sender<Result<Vec<String>, EngineError>>;

struct Waiting {
    texts: Arc<[String]>,
    since: Instant,
    done: Done,
}

#[derive(Default)]
struct Lane {
    running: bool,
    lines: usize,
    waiting: Vec<Waiting>,
}

/// See the module's text.
pub(super) struct Gather {
    engine: Arc<dyn Engine>,
    most: Most,
    /// A call may take so long; so may waiting for one to begin.
    timeout: Duration,
    lanes: Mutex<HashMap<Pair, Lane>>,
}

impl Gather {
    /// For calls of at most `most`.
    pub(super) fn new(engine: Arc<dyn Engine>, most: Most, timeout: Duration) -> Arc<Self> {
        Arc::new(Self { engine, most, timeout, lanes: Mutex::default() })
    }

    /// Translates by way of a call that others may share. Takes the time of two calls at most to begin, and that of one to end.
    pub(super) async fn translate(
        self: &Arc<Self>,
        pair: Pair,
        texts: Arc<[String]>,
    ) -> Result<Vec<String>, EngineError> {
        let (done, answer) = oneshot::channel();
        let runs = {
            let mut lanes = self.lanes.lock();
            let lane = lanes.entry(pair).or_default();
            if lane.lines + texts.len() > WAITING {
                return Err(EngineError::Busy);
            }
            lane.lines += texts.len();
            lane.waiting.push(Waiting { texts, since: Instant::now(), done });
            !std::mem::replace(&mut lane.running, true)
        };
        if runs {
            tokio::spawn(Run { gather: self.clone(), pair }.run());
        }
        answer.await.map_err(|_| EngineError::Away("it has ended".into()))?
    }

    async fn call(&self, (source, target): Pair, taken: Vec<Waiting>) {
        let texts: Arc<[String]> = taken.iter().flat_map(|waiting| waiting.texts.iter().cloned()).collect();
        let answer = self.ask((source, target), texts).await;
        if matches!(answer, Err(EngineError::Unfit(_))) && taken.len() > 1 {
            // One of them it will never have. Which one is found by asking for each: the others are not to be refused for good with it.
            for waiting in taken {
                let answer = self.ask((source, target), waiting.texts).await;
                let _ = waiting.done.send(answer);
            }
            return;
        }
        let mut answers = answer.map(Vec::into_iter);
        for waiting in taken {
            let part = match &mut answers {
                Ok(answers) => Ok(answers.take(waiting.texts.len()).collect()),
                Err(error) => Err(error.clone()),
            };
            let _ = waiting.done.send(part);
        }
    }

    /// One call.
    async fn ask(&self, (source, target): Pair, texts: Arc<[String]>) -> Result<Vec<String>, EngineError> {
        let lines = texts.len();
        let batch = Batch { texts, source, targets: vec![target] };
        let answer = tokio::time::timeout(self.timeout, self.engine.translate(batch)).await;
        answer.unwrap_or(Err(EngineError::Late)).and_then(|mut all| match all.pop() {
            Some(answers) if answers.len() == lines => Ok(answers),
            _ => Err(EngineError::Garbage("another number of lines")),
        })
    }

    /// What the next call carries; `None`: nothing waits, and the lane rests.
    fn take(&self, pair: Pair) -> Option<Vec<Waiting>> {
        let mut lanes = self.lanes.lock();
        let lane = lanes.get_mut(&pair)?;
        // Who has waited too long gives way to those whom it is not too late for.
        for late in lane
            .waiting
            .extract_if(.., |waiting| waiting.done.is_closed() || waiting.since.elapsed() > self.timeout)
        {
            let _ = late.done.send(Err(EngineError::Busy));
        }
        let (mut lines, mut characters, mut count) = (0, 0, 0);
        for waiting in &lane.waiting {
            lines += waiting.texts.len();
            characters += waiting.texts.iter().map(|text| text.chars().count()).sum::<usize>();
            let fits = lines <= self.most.lines && characters <= self.most.characters.min(CHARACTERS);
            if count > 0 && !fits {
                break;
            }
            count += 1;
        }
        if count == 0 {
            lanes.remove(&pair);
            return None;
        }
        let taken: Vec<_> = lane.waiting.drain(..count).collect();
        lane.lines = lane.waiting.iter().map(|waiting| waiting.texts.len()).sum();
        Some(taken)
    }
}

/// The calls for one pair, one after the other. However it ends, the pair can be asked for again.
struct Run {
    gather: Arc<Gather>,
    pair: Pair,
}

impl Run {
    async fn run(self) {
        while let Some(taken) = self.gather.take(self.pair) {
            self.gather.call(self.pair, taken).await;
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // Usually gone already: `take` gave the lane up under the same lock that found nothing waiting, and another run may
        // have begun since. Only an engine that panicked leaves it.
        if std::thread::panicking() {
            self.gather.lanes.lock().remove(&self.pair);
        }
    }
}
