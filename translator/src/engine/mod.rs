//! What translates, behind one trait.
//!
//! Here belong the engines: how each is asked and what its answers mean. Which one is asked, how often, and what is done when it
//! fails is the router's. An engine is given lines with marks in them and gives back as many.

pub mod apertium;
mod class;
pub mod firefox;
pub mod remote;

use std::{borrow::Cow, sync::Arc, time::Duration};

use async_trait::async_trait;

pub use self::class::Class;
use crate::text::Lang;

/// Lines of one language, for one or several others.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The lines, each without a line's end.
    pub texts: Arc<[String]>,
    /// Their language.
    pub source: Lang,
    /// The languages that are wanted: one, unless the engine takes many.
    pub targets: Vec<Lang>,
}

impl Batch {
    /// What a paid engine counts: characters, for each language.
    pub fn characters(&self) -> u64 {
        let each: usize = self.texts.iter().map(|text| text.chars().count()).sum();
        (each * self.targets.len()) as u64
    }
}

/// What one call may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Most {
    /// Lines.
    pub lines: usize,
    /// Characters, counted for each target. A single line may have more: the engine says itself what it thinks of that.
    pub characters: usize,
}

/// For each target, in the order of [`Batch::targets`], the lines in the order of [`Batch::texts`].
pub type Answers = Vec<Vec<String>>;

/// Why an engine gave no translation. No text and no key is in here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// It cannot be reached, or failed by itself: another time it may work.
    #[error("{0}")]
    Away(Cow<'static, str>),
    /// Too much waits for it here already: nothing is known of itself.
    #[error("too many requests wait for it")]
    Busy,
    /// It took too long.
    #[error("no answer in time")]
    Late,
    /// It wants less from us.
    #[error("it wants fewer requests")]
    Limited(Option<Duration>),
    /// It takes nothing from us: a wrong key, say.
    #[error("refused: {0}")]
    Refused(Cow<'static, str>),
    /// It will never translate this, and nothing is wrong with it or with us: a line that is longer than it takes, a pair that it
    /// does not have.
    #[error("refused for good: {0}")]
    Unfit(Cow<'static, str>),
    /// What it said is no translation.
    #[error("its answer cannot be used: {0}")]
    Garbage(&'static str),
}

impl EngineError {
    /// One word, for metrics.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Away(_) => "away",
            Self::Busy => "busy",
            Self::Late => "late",
            Self::Limited(_) => "limited",
            Self::Refused(_) | Self::Unfit(_) => "refused",
            Self::Garbage(_) => "garbage",
        }
    }
}

/// An engine.
#[async_trait]
pub trait Engine: Send + Sync {
    /// What it is called in settings, answers and metrics.
    fn name(&self) -> &'static str;

    /// Another one gives other translations: what is remembered of one version is not used with another.
    fn version(&self, source: Lang, target: Lang) -> String;

    /// Whether it translates from one to the other.
    fn has(&self, source: Lang, target: Lang) -> bool;

    /// All pairs, if it can tell: for people to read.
    fn pairs(&self) -> Vec<(Lang, Lang)> {
        Vec::new()
    }

    /// Whether somebody is paid by the character.
    fn is_paid(&self) -> bool {
        false
    }

    /// What one call may have. Calls for a pair are made one after the other, each with what has come meanwhile.
    fn most_per_call(&self) -> Most;

    /// Whether one call may have several targets.
    fn takes_many_targets(&self) -> bool {
        false
    }

    /// Translates.
    ///
    /// # Errors
    /// [`EngineError`].
    async fn translate(&self, batch: Batch) -> Result<Answers, EngineError>;
}
