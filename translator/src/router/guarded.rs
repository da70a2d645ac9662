//! An engine with what protects it and us: time limits, a budget, and being left alone while it fails.

use std::{
    iter,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::try_join_all;

use super::{
    LATER, Refusal, SOON,
    breaker::Breaker,
    budget::Budget,
    cache::{Content, Key},
    gather::Gather,
    shared::SharedStore,
};
use crate::{
    engine::{Answers, Batch, Engine, EngineError, Most},
    metrics::TranslatorMetrics,
    settings::{PAID_DAY, TranslatorSettings},
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
        let unless_said = if engine.is_paid() { PAID_DAY } else { 0 };
        let (minute, day) = remote.map_or((0, 0), |remote| {
            (remote.minute_characters, remote.day_characters.unwrap_or(unless_said))
        });
        let timeout = Duration::from_millis(settings.timeout_ms);
        metrics.open(engine.name(), false);
        Self {
            budget: Budget::new(engine.name(), minute, day, shared),
            breaker: Breaker::new(settings.breaker_failures, Duration::from_secs(settings.breaker_seconds)),
            gather: Gather::new(engine.clone(), engine.most_per_call(), timeout),
            timeout,
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
        let answer = self.calls(batch).await.and_then(|answers| {
            let fits = answers.len() == targets && answers.iter().all(|answers| answers.len() == lines);
            if fits { Ok(answers) } else { Err(EngineError::Garbage("another number of lines")) }
        });
        // Neither says anything of the engine: too much waits for it, so it was not asked; or it will never have this text.
        let spares = matches!(answer, Err(EngineError::Busy | EngineError::Unfit(_)));
        verdict.given = answer.is_err() && !spares;
        self.metrics.call(name, answer.as_ref().err().map_or("ok", EngineError::word), started.elapsed());
        match answer {
            Ok(answers) => Ok(answers),
            Err(error) if spares => Err((error, SOON)),
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

    /// As many calls as it takes. For each of them, not for what stands before it, the engine has its time.
    async fn calls(&self, batch: Batch) -> Result<Answers, EngineError> {
        let most = self.engine.most_per_call();
        let parts = parts(&batch.texts, most);
        if let &[target] = &batch.targets[..] {
            let pair = (batch.source, target);
            let calls = parts.into_iter().map(|texts| self.gather.translate(pair, texts));
            return Ok(vec![try_join_all(calls).await?.concat()]);
        }
        let mut answers: Answers =
            batch.targets.iter().map(|_| Vec::with_capacity(batch.texts.len())).collect();
        for texts in parts {
            let characters = characters(&texts).max(1);
            let at_once = (most.characters / characters).clamp(1, batch.targets.len());
            let all = batch.targets.chunks(at_once).zip(answers.chunks_mut(at_once));
            for (targets, answers) in all {
                let (texts, lines) = (texts.clone(), texts.len());
                let part = Batch { texts, source: batch.source, targets: targets.to_vec() };
                let told = tokio::time::timeout(self.timeout, self.engine.translate(part)).await;
                let told = told.unwrap_or(Err(EngineError::Late))?;
                if told.len() != targets.len() || told.iter().any(|told| told.len() != lines) {
                    return Err(EngineError::Garbage("another number of lines"));
                }
                answers.iter_mut().zip(told).for_each(|(answers, told)| answers.extend(told));
            }
        }
        Ok(answers)
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

fn characters(texts: &[String]) -> usize {
    texts.iter().map(|text| text.chars().count()).sum()
}

/// Lines cut into as few parts as each go into one call.
fn parts(texts: &Arc<[String]>, most: Most) -> Vec<Arc<[String]>> {
    if texts.len() <= most.lines && characters(texts) <= most.characters {
        return vec![texts.clone()];
    }
    let mut left = &texts[..];
    iter::from_fn(|| {
        let mut sum = 0;
        let mut fits = |text: &String| {
            sum += text.chars().count();
            sum <= most.characters
        };
        let count = left.iter().take(most.lines).take_while(|text| fits(text)).count().max(1);
        let (part, rest) = left.split_at_checked(count)?;
        left = rest;
        Some(part.into())
    })
    .collect()
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use async_trait::async_trait;
    use futures_util::future::join_all;

    use super::*;

    /// Takes two lines a call, and so long for each; the first call never ends, or ends in a panic.
    #[derive(Default)]
    struct Slow {
        takes: Duration,
        hangs: bool,
        panics: bool,
        calls: AtomicU32,
    }

    #[async_trait]
    impl Engine for Slow {
        fn name(&self) -> &'static str {
            "slow"
        }

        fn version(&self, _: Lang, _: Lang) -> String {
            String::new()
        }

        fn has(&self, _: Lang, _: Lang) -> bool {
            true
        }

        fn most_per_call(&self) -> Most {
            Most { lines: 2, characters: 100 }
        }

        async fn translate(&self, batch: Batch) -> Result<Answers, EngineError> {
            let is_first = self.calls.fetch_add(1, Ordering::SeqCst) == 0;
            assert!(!(is_first && self.panics), "as it was told");
            if is_first && self.hangs {
                std::future::pending::<()>().await;
            }
            let characters = characters(&batch.texts) * batch.targets.len();
            assert!(batch.texts.len() <= 2 && characters <= 100, "{characters}: {batch:?}");
            tokio::time::sleep(self.takes).await;
            Ok(batch.targets.iter().map(|_| batch.texts.to_vec()).collect())
        }
    }

    fn lines(count: usize, targets: &[&str]) -> Batch {
        let lang = |tag| Lang::parse(tag).unwrap();
        let texts = (0..count).map(|number| number.to_string()).collect();
        Batch { texts, source: lang("en"), targets: targets.iter().map(|tag| lang(tag)).collect() }
    }

    /// With a breaker that the first failure opens.
    fn guarded(engine: Slow) -> Guarded {
        let settings =
            TranslatorSettings { timeout_ms: 300, breaker_failures: 1, ..TranslatorSettings::default() };
        Guarded::new(Arc::new(engine), &settings, None, TranslatorMetrics::default())
    }

    fn outcome(answer: Result<Answers, Refusal>) -> &'static str {
        answer.err().map_or("ok", |(error, _)| error.word())
    }

    async fn ask(guarded: &Guarded, batch: Batch) -> Result<Answers, Refusal> {
        let minute = Duration::from_secs(60);
        tokio::time::timeout(minute, guarded.ask(batch)).await.expect("an answer comes within a minute")
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_for_others_is_no_failure_of_the_engine() {
        let guarded = guarded(Slow { takes: Duration::from_millis(200), ..Slow::default() });
        let all = join_all((0..8).map(|_| ask(&guarded, lines(2, &["es"])))).await;
        // The third call begins at 400 ms: who waits for it has waited for 300 already.
        let outcomes: Vec<_> = all.into_iter().map(outcome).collect();
        assert_eq!(outcomes, ["ok", "ok", "busy", "busy", "busy", "busy", "busy", "busy"]);
        // Nor is a queue that is full.
        let many = join_all((0..5).map(|_| ask(&guarded, lines(1_000, &["es"])))).await;
        assert!(many.into_iter().all(|answer| outcome(answer) == "busy"));
        assert_eq!(outcome(ask(&guarded, lines(2, &["es"])).await), "ok");
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_hangs_or_panics_ends_and_the_next_one_is_made() {
        for (engine, wanted) in [
            (Slow { hangs: true, ..Slow::default() }, "late"),
            (Slow { panics: true, ..Slow::default() }, "away"),
        ] {
            let guarded = guarded(engine);
            assert_eq!(outcome(ask(&guarded, lines(2, &["es"])).await), wanted);
            assert_eq!(outcome(ask(&guarded, lines(2, &["es"])).await), "away", "it is left alone");
            guarded.worked();
            assert_eq!(outcome(ask(&guarded, lines(2, &["es"])).await), "ok");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_too_much_for_one_call_goes_into_several() {
        let guarded = guarded(Slow::default());
        let few = lines(5, &["es"]);
        assert_eq!(ask(&guarded, few.clone()).await.unwrap(), [few.texts.to_vec()]);
        // As Azure counts: the characters of a call, for each of its languages.
        let mut many = lines(5, &["es", "pt", "fr", "de", "it"]);
        many.texts = many.texts.iter().map(|text| text.repeat(20)).collect();
        let answers = ask(&guarded, many.clone()).await.unwrap();
        assert_eq!(answers, vec![many.texts.to_vec(); 5]);
    }

    #[test]
    fn no_part_has_more_than_it_may() {
        let texts = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect::<Arc<[String]>>();
        let parts = |all: &[&str]| {
            let parts = parts(&texts(all), Most { lines: 3, characters: 10 });
            parts.iter().map(|part| part.len()).collect::<Vec<_>>()
        };
        assert_eq!(parts(&["a", "b", "c"]), [3]);
        assert_eq!(parts(&["a", "b", "c", "d"]), [3, 1]);
        assert_eq!(parts(&["äöüäö", "äöüäö", "a"]), [2, 1]);
        assert_eq!(parts(&["a", "longer than ten", "b"]), [1, 1, 1]);
    }
}
