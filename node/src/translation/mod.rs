//! Translations of messages, for those who read another language.
//!
//! Here belongs what is translated, when, and who is told. Chat never waits for any of it: rooms say what was posted and go
//! on, and whatever cannot be translated soon is left as it is. A translation belongs to a message as it is at one moment; after
//! an edit the old one is told to nobody any more.

mod ask;
mod history;
mod metrics;
mod settings;

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use rookery_protocol::{
    client,
    id::{RoomId, UserId},
    translator::{TranslateReply, TranslateRequest, missing::Reason},
};
pub use rookery_translator::text::Lang;
use rookery_translator::text::{MarkedText, detect};
use tokio::sync::{Semaphore, mpsc};

pub use ask::{Asked, InProcess, OverNats};
pub use history::translate_page;
pub use metrics::TranslationMetrics;
pub use settings::{Mode, TranslationSettings};

use crate::{
    accounts::Accounts,
    live::{Hub, Told},
};

/// What was posted that may wait to be looked at; more is not translated.
const WAITING: usize = 4096;
/// Messages under way, those that wait for engines included; more are not translated live.
const UNDER_WAY: usize = 1024;
/// How often engines that were away are asked again for a message.
const TRIES: u32 = 6;
/// Between two tries, at least and at most.
const SOON: Duration = Duration::from_secs(1);
const LATE: Duration = Duration::from_secs(300);
/// A reader that is not so far yet is looked at again after this, so often.
const BEHIND: Duration = Duration::from_millis(50);
const LOOKS: u32 = 100;

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

/// See the module's text. One per node.
pub struct Translation {
    accounts: Arc<Accounts>,
    asked: Arc<dyn Asked>,
    metrics: TranslationMetrics,
    places: Arc<Semaphore>,
    spoken: Mutex<Option<mpsc::Receiver<Spoken>>>,
    tell: mpsc::Sender<Spoken>,
}

/// Why a message has no translation now.
enum Why {
    /// It needs none, or there is no way to get one.
    Never,
    /// Engines may be back after this.
    Later(Duration),
}

impl Translation {
    /// By way of `asked`.
    pub fn new(accounts: Arc<Accounts>, asked: Arc<dyn Asked>, metrics: TranslationMetrics) -> Arc<Self> {
        let (tell, spoken) = mpsc::channel(WAITING);
        let places = Arc::new(Semaphore::new(UNDER_WAY));
        Arc::new(Self { accounts, asked, metrics, places, spoken: Mutex::new(Some(spoken)), tell })
    }

    /// Translates what rooms of this node are told, from now on. Once; in a Tokio runtime.
    pub fn start(self: &Arc<Self>, hub: &Arc<Hub>) {
        let Some(mut spoken) = self.spoken.lock().take() else { return };
        hub.translate(self.tell.clone());
        let (all, hub) = (self.clone(), Arc::downgrade(hub));
        tokio::spawn(async move {
            while let Some(spoken) = spoken.recv().await {
                let Some(hub) = hub.upgrade() else { return };
                let Ok(place) = all.places.clone().try_acquire_owned() else {
                    all.metrics.dropped.inc();
                    continue;
                };
                let all = all.clone();
                tokio::spawn(async move {
                    all.follow(&hub, spoken).await;
                    drop(place);
                });
            }
        });
    }

    /// The language that a user says he writes.
    async fn writes(&self, user: UserId) -> Option<Lang> {
        Lang::parse(&self.accounts.user(user).await.ok()?.language)
    }

    /// One message: asks, tells, and asks again for what engines could not do.
    async fn follow(&self, hub: &Hub, mut spoken: Spoken) {
        let hint = self.writes(spoken.sender).await;
        let Some(language) = detect(&MarkedText::new(&spoken.text).words(), hint) else { return };
        spoken.languages.retain(|wanted| *wanted != language);
        let mut pause = SOON;
        for _ in 0..TRIES {
            if spoken.languages.is_empty() {
                return;
            }
            let Some(room) = hub.find(spoken.room) else { return };
            if !room.says_still(spoken.seq, spoken.revision) {
                return;
            }
            let targets = spoken.languages.iter().map(ToString::to_string).collect();
            let reply = self.ask(&spoken.text, hint, targets).await;
            let mut wait: Option<Duration> = reply.is_none().then_some(pause);
            let reply = reply.unwrap_or_default();
            for text in &reply.texts {
                let Some(language) = Lang::parse(&text.language) else { continue };
                spoken.languages.retain(|wanted| *wanted != language);
                let told = client::Translation {
                    room: spoken.room.to_string(),
                    seq: spoken.seq,
                    language: text.language.clone(),
                    text: text.text.clone(),
                    engine: text.engine.clone(),
                };
                self.tell(&room, language, spoken.revision, told).await;
            }
            for missing in &reply.missing {
                match why(missing.reason(), missing.retry_after_ms) {
                    Why::Later(after) => wait = Some(wait.map_or(after, |other| other.min(after))),
                    Why::Never => spoken.languages.retain(|wanted| wanted.as_str() != missing.language),
                }
            }
            let Some(wait) = wait else { return };
            tokio::time::sleep(wait.max(pause).min(LATE)).await;
            pause *= 2;
        }
    }

    /// Tells those who read the language, each once he has got the message itself.
    async fn tell(&self, room: &crate::live::Room, language: Lang, revision: u64, told: client::Translation) {
        let frame = client::ServerFrame {
            re: None,
            frame: Some(client::server_frame::Frame::Translation(told.clone())),
        };
        let mut behind = None;
        for _ in 0..LOOKS {
            match room.translated(&frame, told.seq, revision, language, behind) {
                Told::All => {
                    self.metrics.told.inc();
                    return;
                }
                Told::Outdated => return,
                Told::Behind(readers) => behind = Some(readers),
            }
            tokio::time::sleep(BEHIND).await;
        }
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

fn why(reason: Reason, retry_after_ms: u64) -> Why {
    match reason {
        Reason::Away => Why::Later(Duration::from_millis(retry_after_ms)),
        Reason::Unknown | Reason::NotNeeded | Reason::NoEngine => Why::Never,
    }
}
