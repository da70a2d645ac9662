//! Making one call of several: while a call for a pair is under way, what else is asked for that pair waits, and goes into the
//! next one together. Nothing waits for company.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::{
    engine::{Batch, Engine, EngineError},
    text::Lang,
};

/// Characters in one call, at most: services refuse more.
const CHARACTERS: usize = 5_000;
/// Lines that wait for one pair; more are refused.
const WAITING: usize = 4_096;

type Done = oneshot::Sender<Result<Vec<String>, EngineError>>;

#[derive(Default)]
struct Lane {
    running: bool,
    lines: usize,
    waiting: Vec<(Arc<[String]>, Done)>,
}

/// See the module's text.
#[derive(Default)]
pub(super) struct Gather {
    lanes: Mutex<HashMap<(Lang, Lang), Lane>>,
}

impl Gather {
    /// Translates by way of a call that others may share, of at most `most` lines.
    pub(super) async fn translate(
        self: &Arc<Self>,
        engine: &Arc<dyn Engine>,
        most: usize,
        (source, target): (Lang, Lang),
        texts: Arc<[String]>,
    ) -> Result<Vec<String>, EngineError> {
        let (done, answer) = oneshot::channel();
        let runs = {
            let mut lanes = self.lanes.lock();
            let lane = lanes.entry((source, target)).or_default();
            if lane.lines + texts.len() > WAITING {
                return Err(EngineError::Away("too many requests wait for it".into()));
            }
            lane.lines += texts.len();
            lane.waiting.push((texts, done));
            !std::mem::replace(&mut lane.running, true)
        };
        if runs {
            tokio::spawn(self.clone().run(engine.clone(), most, (source, target)));
        }
        answer.await.map_err(|_| EngineError::Away("it has ended".into()))?
    }

    async fn run(self: Arc<Self>, engine: Arc<dyn Engine>, most: usize, pair: (Lang, Lang)) {
        while let Some(taken) = self.take(most, pair) {
            let texts: Arc<[String]> = taken.iter().flat_map(|(texts, _)| texts.iter().cloned()).collect();
            let lines = texts.len();
            let batch = Batch { texts, source: pair.0, targets: vec![pair.1] };
            let answer = engine.translate(batch).await.and_then(|mut all| match all.pop() {
                Some(answers) if answers.len() == lines => Ok(answers),
                _ => Err(EngineError::Garbage("another number of lines")),
            });
            let mut answers = answer.map(Vec::into_iter);
            for (texts, done) in taken {
                let part = match &mut answers {
                    Ok(answers) => Ok(answers.take(texts.len()).collect()),
                    Err(error) => Err(error.clone()),
                };
                let _ = done.send(part);
            }
        }
    }

    /// What the next call carries; `None`: nothing waits, and the lane rests.
    fn take(&self, most: usize, pair: (Lang, Lang)) -> Option<Vec<(Arc<[String]>, Done)>> {
        let mut lanes = self.lanes.lock();
        let lane = lanes.get_mut(&pair)?;
        lane.waiting.retain(|(_, done)| !done.is_closed());
        let (mut lines, mut characters, mut count) = (0, 0, 0);
        for (texts, _) in &lane.waiting {
            lines += texts.len();
            characters += texts.iter().map(|text| text.chars().count()).sum::<usize>();
            if count > 0 && (lines > most || characters > CHARACTERS) {
                break;
            }
            count += 1;
        }
        if count == 0 {
            lanes.remove(&pair);
            return None;
        }
        let taken: Vec<_> = lane.waiting.drain(..count).collect();
        lane.lines = lane.waiting.iter().map(|(texts, _)| texts.len()).sum();
        Some(taken)
    }
}
