//! Translations of messages, for those who read another language.
//!
//! Here belongs what is translated, when, and who is told. Chat never waits for any of it: rooms say what was posted and go
//! on, and whatever cannot be translated soon is left as it is. A translation belongs to a message as it is at one moment; after
//! an edit the old one is told to nobody any more.

mod allow;
mod ask;
mod away;
mod follow;
mod history;
mod metrics;
mod settings;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use rookery_protocol::{
    id::{RoomId, UserId},
    translator::{TranslateReply, TranslateRequest},
};
pub use rookery_translator::text::Lang;
use tokio::sync::{Semaphore, mpsc};

pub use allow::Allows;
pub use ask::{Asked, InProcess, OverNats};
use follow::follow;
pub use history::translate_page;
use metrics::Because;
pub use metrics::TranslationMetrics;
pub use settings::{Mode, TranslationSettings};

use crate::{accounts::Accounts, live::Hub};

/// What was posted that may wait to be looked at; more is not translated.
const QUEUE: usize = 4096;
/// Messages that are being translated, at most; more are not translated live.
const UNDER_WAY: usize = 1024;
/// Messages that wait for engines to come back, at most.
const WAITING: usize = 1024;
/// Messages some of whose readers have yet to be written it, at most.
const BEHIND: usize = 256;

/// A message that was posted or edited in a room whose readers read other languages than one another.
#[derive(Debug)]
pub struct Spoken {
    /// Where.
    pub room: RoomId,
    /// Its number.
    pub seq: u64,
    /// The event that gave it this text: its own, or an edit.
    pub revision: u64,
    /// Who wrote it.
    pub sender: UserId,
    /// What.
    pub text: String,
    /// What those here read.
    pub languages: Vec<Lang>,
}

/// Where rooms say what was said.
#[derive(Debug)]
pub struct Translates {
    queue: mpsc::Sender<Spoken>,
    metrics: TranslationMetrics,
}

impl Translates {
    /// Never waits: when too much waits already, it is not translated.
    pub fn tell(&self, spoken: Spoken) {
        if self.queue.try_send(spoken).is_err() {
            self.metrics.dropped(Because::Queue);
        }
    }
}

/// See the module's text. One per node.
pub struct Translation {
    accounts: Arc<Accounts>,
    rooms: Arc<dyn Allows>,
    asked: Arc<dyn Asked>,
    metrics: TranslationMetrics,
    under_way: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    behind: Arc<Semaphore>,
}

impl Translation {
    /// By way of `asked`, in those of the `rooms` that allow it.
    pub fn new(
        accounts: Arc<Accounts>,
        rooms: Arc<dyn Allows>,
        asked: Arc<dyn Asked>,
        metrics: TranslationMetrics,
    ) -> Arc<Self> {
        let places = |count| Arc::new(Semaphore::new(count));
        let (under_way, waiting, behind) = (places(UNDER_WAY), places(WAITING), places(BEHIND));
        Arc::new(Self { accounts, rooms, asked, metrics, under_way, waiting, behind })
    }

    /// Translates what rooms of this node are told, from now on. Once; in a Tokio runtime.
    pub fn start(self: &Arc<Self>, hub: &Arc<Hub>) {
        let (queue, mut spoken) = mpsc::channel(QUEUE);
        hub.translate(Translates { queue, metrics: self.metrics.clone() });
        let (all, hub) = (self.clone(), Arc::downgrade(hub));
        tokio::spawn(async move {
            while let Some(spoken) = spoken.recv().await {
                match all.under_way.clone().try_acquire_owned() {
                    Ok(place) => drop(tokio::spawn(follow(all.clone(), hub.clone(), spoken, place))),
                    Err(_) => all.metrics.dropped(Because::UnderWay),
                }
            }
        });
    }

    /// The language that a user says he writes.
    async fn writes(&self, user: UserId) -> Option<Lang> {
        Lang::parse(&self.accounts.user(user).await.ok()?.language)
    }

    /// `None`: there is no translator now.
    async fn ask(&self, text: &str, hint: Option<Lang>, targets: Vec<String>) -> Option<TranslateReply> {
        let source = hint.map_or_else(String::new, |lang| lang.to_string());
        let request = TranslateRequest { text: text.to_owned(), source, targets, source_is_sure: false };
        let reply = self.asked.translate(request).await;
        self.metrics.asked(reply.is_some());
        reply
    }
}
