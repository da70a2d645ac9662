//! Which engine translates what: order, fall-back, and what engines are spared.
//!
//! Here belong everything that does not depend on how an engine is asked: caches, equal requests that become one, time limits,
//! budgets, engines that are left alone while they fail, and the judgement of answers. What engines get and give are lines.

mod breaker;
mod budget;
mod cache;
mod elsewhere;
mod gather;
mod guarded;
mod lines;
mod order;
mod shared;

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::future::{FutureExt, Shared, join_all};
use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time::Instant,
};

pub use self::shared::SharedStore;
use self::{
    cache::{Cache, Content, Key},
    elsewhere::Elsewhere,
    guarded::Guarded,
    order::Order,
};
use crate::{
    engine::{Engine, EngineError},
    metrics::TranslatorMetrics,
    settings::TranslatorSettings,
    text::{Lang, MarkedText, detect, in_wrong_language, is_echo, phrase},
};

/// Languages that may be asked for at once.
pub const MOST_TARGETS: usize = 64;
/// Named as the engine of a text that needed none.
const PHRASES: &str = "phrases";
/// Lines that a text may have to be translated.
const MOST_LINES: usize = 1_000;
/// After which it may be tried again when too much waits.
const SOON: Duration = Duration::from_secs(1);
/// After which it may be tried again when nothing else is known.
const LATER: Duration = Duration::from_secs(5);

/// A text to translate.
#[derive(Debug, Clone)]
pub struct Request {
    /// The text.
    pub text: String,
    /// The language that its writer says he writes.
    pub source: Option<Lang>,
    /// Believe that, whatever the text looks like.
    pub source_is_sure: bool,
    /// The languages that are wanted.
    pub targets: Vec<Lang>,
}

/// What became of one language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The translation.
    Text {
        /// The text.
        text: Arc<str>,
        /// Whose.
        engine: Arc<str>,
    },
    /// The text is in this language, or nothing in it is language.
    NotNeeded,
    /// No engine has the pair, or all that have it refuse this text for good.
    NoEngine,
    /// It may work later.
    Away {
        /// Not sooner than this.
        retry_after: Duration,
    },
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The language that the text was taken for.
    pub source: Option<Lang>,
    /// For each target, in their order.
    pub outcomes: Vec<Outcome>,
}

type Flight = Shared<oneshot::Receiver<Outcome>>;

/// Translates texts with the engines that there are.
pub struct Translator {
    engines: Vec<Arc<Guarded>>,
    order: Order,
    cache: Cache,
    elsewhere: Elsewhere,
    flights: Mutex<HashMap<(Content, Lang), Flight>>,
    places: Arc<Semaphore>,
    text_bytes: usize,
    metrics: TranslatorMetrics,
}

/// A target that is being translated.
struct Wanted {
    target: Lang,
    done: oneshot::Sender<Outcome>,
    /// Engines that have the pair, best first, and how many of them were tried.
    engines: Vec<usize>,
    tried: usize,
    /// `None`: all that were tried refused it for good.
    retry_after: Option<Duration>,
}

impl Translator {
    /// With these engines, in this order unless settings say otherwise.
    pub fn new(
        engines: Vec<Arc<dyn Engine>>,
        settings: &TranslatorSettings,
        shared: Option<&SharedStore>,
        metrics: TranslatorMetrics,
    ) -> Arc<Self> {
        let names: Vec<_> = engines.iter().map(|engine| engine.name()).collect();
        let guard = |engine| Arc::new(Guarded::new(engine, settings, shared.cloned(), metrics.clone()));
        Arc::new(Self {
            order: Order::new(settings, &names),
            engines: engines.into_iter().map(guard).collect(),
            cache: Cache::new(settings, shared.cloned(), metrics.clone()),
            elsewhere: Elsewhere::new(shared.cloned(), Duration::from_millis(settings.timeout_ms)),
            flights: Mutex::default(),
            places: Arc::new(Semaphore::new(settings.concurrent)),
            text_bytes: settings.text_bytes,
            metrics,
        })
    }

    /// Names of the engines, with their pairs as far as they can tell.
    pub fn engines(&self) -> impl Iterator<Item = (&'static str, Vec<(Lang, Lang)>)> {
        self.engines.iter().map(|guarded| (guarded.engine.name(), guarded.engine.pairs()))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.engines.is_empty()
    }

    /// Translates. Whoever asks may go away: what is under way goes on for the caches.
    pub async fn translate(self: &Arc<Self>, request: Request) -> Reply {
        let all = |outcome: Outcome| vec![outcome; request.targets.len()];
        let too_large = || {
            self.metrics.outcome("too_large");
            Reply { source: request.source, outcomes: all(Outcome::NoEngine) }
        };
        if request.text.len() > self.text_bytes || request.targets.len() > MOST_TARGETS {
            return too_large();
        }
        let marked = MarkedText::new(&request.text);
        if marked.sentences().nth(MOST_LINES).is_some() {
            return too_large();
        }
        let source = match request.source {
            Some(source) if request.source_is_sure => Some(source),
            hint => detect(&marked.words(), hint),
        };
        let Some(language) = source.filter(|_| marked.sentences().next().is_some()) else {
            return Reply { source: None, outcomes: all(Outcome::NotNeeded) };
        };
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            self.metrics.outcome("busy");
            return Reply { source, outcomes: all(Outcome::Away { retry_after: SOON }) };
        };
        let outcomes = self.fly(request, marked, language, place).await;
        for outcome in &outcomes {
            self.metrics.outcome(match outcome {
                Outcome::Text { .. } => "translated",
                Outcome::NotNeeded => "not_needed",
                Outcome::NoEngine => "no_engine",
                Outcome::Away { .. } => "away",
            });
        }
        Reply { source, outcomes }
    }

    async fn fly(
        self: &Arc<Self>,
        request: Request,
        marked: MarkedText,
        source: Lang,
        place: OwnedSemaphorePermit,
    ) -> Vec<Outcome> {
        let content = Content::new(&request.text, source);
        let mut waits = Vec::with_capacity(request.targets.len());
        let mut mine = Vec::new();
        {
            let mut flights = self.flights.lock();
            for target in request.targets {
                if target == source {
                    waits.push(Err(Outcome::NotNeeded));
                    continue;
                }
                if let Some(flight) = flights.get(&(content, target)) {
                    self.metrics.joined.inc();
                    waits.push(Ok(flight.clone()));
                    continue;
                }
                let engines = self.order.of(source, target, |at| {
                    let guarded = &self.engines[at];
                    guarded.engine.has(source, target)
                        && !self.cache.is_unfit(&guarded.key(content, source, target))
                });
                if engines.is_empty() {
                    waits.push(Err(Outcome::NoEngine));
                    continue;
                }
                let (done, landed) = oneshot::channel();
                let flight = landed.shared();
                flights.insert((content, target), flight.clone());
                mine.push(Wanted { target, done, engines, tried: 0, retry_after: None });
                waits.push(Ok(flight));
            }
        }
        if !mine.is_empty() {
            let landing = Landing {
                translator: self.clone(),
                content,
                targets: mine.iter().map(|wanted| wanted.target).collect(),
            };
            self.metrics.active.inc();
            tokio::spawn(async move {
                landing.translator.work(content, source, &marked, mine).await;
                drop((landing, place));
            });
        }
        let away = Outcome::Away { retry_after: LATER };
        join_all(waits.into_iter().map(|wait| async {
            match wait {
                Ok(flight) => flight.await.unwrap_or_else(|_| away.clone()),
                Err(known) => known,
            }
        }))
        .await
    }

    /// Translates one text into several languages.
    async fn work(&self, content: Content, source: Lang, marked: &MarkedText, wanted: Vec<Wanted>) {
        let mut left = Vec::with_capacity(wanted.len());
        for wanted in wanted {
            let target = wanted.target;
            let known: Option<Vec<_>> =
                marked.sentences().map(|sentence| phrase(&sentence.original(), source, target)).collect();
            match known {
                Some(phrases) => wanted.land(marked.join(phrases), PHRASES),
                None => left.push(wanted),
            }
        }
        let left = self.remembered(content, source, left).await;
        // Who claims them all at once waits for Redis once.
        let claims = left.iter().map(|wanted| {
            let key = self.best_key(content, source, wanted);
            async move { self.elsewhere.claim(&key).await }
        });
        let (mut mine, mut theirs, mut claimed) = (Vec::new(), Vec::new(), Vec::new());
        let claims = join_all(claims).await;
        for (wanted, claim) in left.into_iter().zip(claims) {
            match claim {
                Some(claim) => {
                    mine.push(wanted);
                    claimed.push(claim);
                }
                None => theirs.push(wanted),
            }
        }
        let ask_mine = async {
            self.ask(content, source, marked, mine).await;
            join_all(claimed.into_iter().map(elsewhere::Claim::end)).await;
        };
        let await_theirs = join_all(theirs.into_iter().map(|wanted| async {
            let left = self.await_others(content, source, wanted).await;
            self.ask(content, source, marked, left).await;
        }));
        tokio::join!(ask_mine, await_theirs);
    }

    fn best_key(&self, content: Content, source: Lang, wanted: &Wanted) -> Key {
        self.engines[wanted.engines[0]].key(content, source, wanted.target)
    }

    /// Waits until another translator has translated it, or has not; returns it if not.
    async fn await_others(&self, content: Content, source: Lang, wanted: Wanted) -> Vec<Wanted> {
        self.metrics.joined.inc();
        let (key, begun) = (self.best_key(content, source, &wanted), Instant::now());
        let (mut left, mut looks) = (vec![wanted], 0);
        loop {
            // Asked first: who is at it puts the text into the cache before he says that he is not any more.
            let claimed = self.elsewhere.is_claimed(&key, looks, begun).await;
            left = self.remembered(content, source, left).await;
            if !claimed || left.is_empty() {
                return left;
            }
            looks += 1;
        }
    }

    /// Asks engines, one after the other.
    async fn ask(&self, content: Content, source: Lang, marked: &MarkedText, mut left: Vec<Wanted>) {
        while !left.is_empty() {
            let mut calls: HashMap<usize, Vec<Wanted>> = HashMap::new();
            for wanted in left {
                match wanted.engines.get(wanted.tried) {
                    Some(engine) => calls.entry(*engine).or_default().push(wanted),
                    None => {
                        let away = wanted.retry_after.map(|retry_after| Outcome::Away { retry_after });
                        let _ = wanted.done.send(away.unwrap_or(Outcome::NoEngine));
                    }
                }
            }
            let mut groups = Vec::new();
            for (engine, wanted) in calls {
                let guarded = &self.engines[engine];
                if guarded.engine.takes_many_targets() {
                    groups.push((guarded, wanted));
                } else {
                    groups.extend(wanted.into_iter().map(|one| (guarded, vec![one])));
                }
            }
            let tries = groups
                .into_iter()
                .map(|(guarded, wanted)| self.attempt(guarded, content, source, marked, wanted));
            left = join_all(tries).await.into_iter().flatten().collect();
        }
    }

    /// Takes from the caches; returns the rest.
    async fn remembered(&self, content: Content, source: Lang, wanted: Vec<Wanted>) -> Vec<Wanted> {
        let keys: Vec<Vec<_>> = wanted
            .iter()
            .map(|wanted| {
                wanted
                    .engines
                    .iter()
                    .map(|at| self.engines[*at].key(content, source, wanted.target))
                    .collect()
            })
            .collect();
        let found = self.cache.get(keys).await;
        let mut left = Vec::new();
        for (wanted, found) in wanted.into_iter().zip(found) {
            match found {
                Some((text, engine)) => {
                    let _ = wanted.done.send(Outcome::Text { text, engine: engine.into() });
                }
                None => left.push(wanted),
            }
        }
        left
    }

    /// Asks one engine; returns what it did not translate.
    async fn attempt(
        &self,
        guarded: &Arc<Guarded>,
        content: Content,
        source: Lang,
        marked: &MarkedText,
        mut wanted: Vec<Wanted>,
    ) -> Vec<Wanted> {
        let targets: Vec<_> = wanted.iter().map(|wanted| wanted.target).collect();
        let answers = match lines::translate(guarded, marked, source, &targets, &self.metrics).await {
            Ok(answers) => answers,
            Err((error, wait)) => {
                tracing::debug!(engine = guarded.engine.name(), %source, %error, "an engine did not translate");
                let is_unfit = matches!(error, EngineError::Unfit(_));
                if is_unfit && wanted.len() > 1 {
                    // One of the languages it may not have. The others are not to be refused for good with it.
                    let each = wanted
                        .into_iter()
                        .map(|one| Box::pin(self.attempt(guarded, content, source, marked, vec![one])));
                    return join_all(each).await.into_iter().flatten().collect();
                }
                for wanted in &mut wanted {
                    if is_unfit {
                        self.cache.remember_unfit(guarded.key(content, source, wanted.target));
                        wanted.tried += 1;
                    } else {
                        wanted.failed(wait);
                    }
                }
                return wanted;
            }
        };
        let mut left = Vec::new();
        for (mut wanted, text) in wanted.into_iter().zip(answers) {
            if unusable(&text, marked, (source, wanted.target)) {
                guarded.gave_garbage();
                wanted.failed(LATER);
                left.push(wanted);
                continue;
            }
            guarded.worked();
            self.cache.put(guarded.key(content, source, wanted.target), &text).await;
            wanted.land(text, guarded.engine.name());
        }
        left
    }
}

/// Whether an answer cannot be a translation: engines repeat themselves without end, give back what they were given, answer in another
/// language, or not at all.
fn unusable(text: &str, marked: &MarkedText, (source, target): (Lang, Lang)) -> bool {
    let words = marked.words();
    let answer = MarkedText::new(text).words();
    let (asked, got) = (words.chars().count(), answer.chars().count());
    got > asked * 4 + 60
        || (got * 8 < asked && asked > 24)
        || in_wrong_language(&answer, target)
        || is_echo(&words, &answer, (source, target))
}

impl Wanted {
    fn land(self, text: String, engine: &str) {
        let _ = self.done.send(Outcome::Text { text: text.into(), engine: engine.into() });
    }

    fn failed(&mut self, wait: Duration) {
        self.tried += 1;
        self.retry_after = Some(self.retry_after.map_or(wait, |other| other.min(wait)));
    }
}

/// However a translation ends, nobody is to wait for it any more.
struct Landing {
    translator: Arc<Translator>,
    content: Content,
    targets: Vec<Lang>,
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.translator.metrics.active.dec();
        let mut flights = self.translator.flights.lock();
        for target in &self.targets {
            flights.remove(&(self.content, *target));
        }
    }
}

/// An engine's failure, and when it may be asked again.
type Refusal = (EngineError, Duration);
