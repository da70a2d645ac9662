//! An engine with what protects it and us: time limits, a budget, and being left alone while it fails.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    LATER, Refusal,
    breaker::Breaker,
    budget::Budget,
    cache::{Content, Key},
    gather::Gather,
    shared::SharedStore,
};
use crate::{
    engine::{Answers, Batch, Engine, EngineError},
    metrics::TranslatorMetrics,
    settings::TranslatorSettings,
    text::Lang,
};

/// See the module's text.
pub(super) struct Guarded {
    pub(super) engine: Arc<dyn Engine>,
    breaker: Breaker,
    budget: Budget,
    gather: Arc<Gather>,
    timeout: Duration,
    metrics: TranslatorMetrics,
}

impl Guarded {
    pub(super) fn new(
        engine: Arc<dyn Engine>,
        settings: &TranslatorSettings,
        shared: Option<SharedStore>,
        metrics: TranslatorMetrics,
    ) -> Self {
        let remote = match engine.name() {
            "libretranslate" => Some(&settings.libretranslate),
            "deepl" => Some(&settings.deepl),
            "google" => Some(&settings.google.remote),
            "azure" => Some(&settings.azure.remote),
            _ => None,
        };
        let (minute, day) = remote.map_or((0, 0), |remote| (remote.minute_characters, remote.day_characters));
        metrics.open(engine.name(), false);
        Self {
            budget: Budget::new(engine.name(), minute, day, shared),
            breaker: Breaker::new(settings.breaker_failures, Duration::from_secs(settings.breaker_seconds)),
            gather: Arc::default(),
            timeout: Duration::from_millis(settings.timeout_ms),
            engine,
            metrics,
        }
    }

    pub(super) fn key(&self, content: Content, source: Lang, target: Lang) -> Key {
        let (engine, version) = (self.engine.name(), self.engine.version(source, target));
        Key { content, target, engine, version }
    }

    /// Asks the engine, unless it is to be spared.
    pub(super) async fn ask(&self, batch: Batch) -> Result<Answers, Refusal> {
        let name = self.engine.name();
        let spared = |why: &'static str, wait: Duration| {
            self.metrics.call(name, why, Duration::ZERO);
            (EngineError::Away(why.into()), wait)
        };
        self.breaker.pass(Instant::now()).map_err(|wait| spared("open", wait))?;
        // Whoever passed must say what became of it, also if he goes away.
        let mut verdict = Verdict { guarded: self, given: false };
        let characters = batch.characters();
        if let Err(wait) = self.budget.spend(characters).await {
            return Err(spared("over_budget", wait));
        }
        self.metrics.characters(name, characters);
        let started = Instant::now();
        let (lines, targets) = (batch.texts.len(), batch.targets.len());
        let answer = tokio::time::timeout(self.timeout, self.call(batch)).await;
        let answer = answer.unwrap_or(Err(EngineError::Late)).and_then(|answers| {
            let fits = answers.len() == targets && answers.iter().all(|answers| answers.len() == lines);
            if fits { Ok(answers) } else { Err(EngineError::Garbage("another number of lines")) }
        });
        verdict.given = answer.is_err();
        self.metrics.call(name, answer.as_ref().err().map_or("ok", EngineError::word), started.elapsed());
        match answer {
            Ok(answers) => Ok(answers),
            Err(error) => {
                let asked = match &error {
                    EngineError::Limited(asked) => Some(asked.unwrap_or(LATER)),
                    _ => None,
                };
                self.failed(&error, asked);
                Err((error, asked.unwrap_or(LATER)))
            }
        }
    }

    async fn call(&self, batch: Batch) -> Result<Answers, EngineError> {
        match (self.engine.lines_per_call(), &batch.targets[..]) {
            (Some(most), &[target]) => {
                let pair = (batch.source, target);
                self.gather
                    .translate(&self.engine, most, pair, batch.texts)
                    .await
                    .map(|answers| vec![answers])
            }
            _ => self.engine.translate(batch).await,
        }
    }

    fn failed(&self, error: &EngineError, asked: Option<Duration>) {
        let name = self.engine.name();
        if self.breaker.failed(Instant::now(), asked) {
            self.metrics.open(name, true);
            tracing::warn!(engine = name, %error, "an engine fails and is left alone for a while");
        } else {
            tracing::info!(engine = name, %error, "an engine failed");
        }
    }

    /// What it answered is a translation.
    pub(super) fn worked(&self) {
        self.breaker.worked();
        self.metrics.open(self.engine.name(), false);
    }

    /// It answered, but not with a translation.
    pub(super) fn gave_garbage(&self) {
        self.metrics.call(self.engine.name(), "garbage", Duration::ZERO);
        self.failed(&EngineError::Garbage("it is no translation"), None);
    }
}

struct Verdict<'a> {
    guarded: &'a Guarded,
    given: bool,
}

impl Drop for Verdict<'_> {
    fn drop(&mut self) {
        if !self.given {
            self.guarded.breaker.unknown();
        }
    }
}
