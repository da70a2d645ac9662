//! One message on its way through the translator to its readers.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use rookery_protocol::{client, translator::missing::Reason};
use rookery_translator::text::{Lang, MarkedText, detect};
use tokio::{sync::OwnedSemaphorePermit, time::sleep};

use super::{Spoken, Translation, metrics::Because};
use crate::live::{Hub, Room, Telling, Told};

/// How often engines that were away are asked again for a message.
const TRIES: u32 = 6;
/// Between two tries, at least and at most.
const SOON: Duration = Duration::from_secs(1);
const LATE: Duration = Duration::from_secs(300);
/// Readers that are not so far yet are looked at again after this, so often.
const BEHIND: Duration = Duration::from_millis(50);
const LOOKS: u32 = 100;

/// Asks, tells, and asks again for what engines could not do. While it waits for that, its place is others'.
pub(super) async fn follow(
    all: Arc<Translation>,
    hub: Weak<Hub>,
    mut spoken: Spoken,
    place: OwnedSemaphorePermit,
) {
    let hint = all.writes(spoken.sender).await;
    let Some(language) = detect(&MarkedText::new(&spoken.text).words(), hint) else { return };
    spoken.languages.retain(|wanted| *wanted != language);
    let mut wait = attempt(&all, &hub, &mut spoken, hint).await;
    drop(place);
    let mut pause = SOON;
    let mut waiting = None;
    for _ in 1..TRIES {
        let Some(asked) = wait else { return };
        if waiting.is_none() {
            waiting = all.waiting.clone().try_acquire_owned().ok();
        }
        if waiting.is_none() {
            all.metrics.dropped(Because::Waiting);
            return;
        }
        sleep(asked.max(pause).min(LATE)).await;
        pause *= 2;
        // Messages that come now go before one that has waited: it waits on.
        let Ok(_place) = all.under_way.clone().try_acquire_owned() else { continue };
        wait = attempt(&all, &hub, &mut spoken, hint).await;
    }
}

/// Asks once and tells what is answered. What may be asked for again stays in `spoken.languages`, after the time that is returned.
async fn attempt(
    all: &Arc<Translation>,
    hub: &Weak<Hub>,
    spoken: &mut Spoken,
    hint: Option<Lang>,
) -> Option<Duration> {
    if spoken.languages.is_empty() {
        return None;
    }
    let room = hub.upgrade()?.find(spoken.room)?;
    if !room.knows_translation() {
        // Once for a room that is followed here: from then on its events say so.
        let Some(may) = all.rooms.allows(spoken.room).await else { return Some(SOON) };
        room.learn_translation(may);
    }
    if !room.may_translate(spoken.seq, spoken.revision) {
        return None;
    }
    let targets = spoken.languages.iter().map(ToString::to_string).collect();
    let Some(reply) = all.ask(&spoken.text, hint, targets).await else { return Some(SOON) };
    let mut wait: Option<Duration> = None;
    for missing in &reply.missing {
        match missing.reason() {
            Reason::Away => {
                let after = Duration::from_millis(missing.retry_after_ms);
                wait = Some(wait.map_or(after, |other| other.min(after)));
            }
            // It needs none, or there is no way to get one.
            Reason::Unknown | Reason::NotNeeded | Reason::NoEngine => {
                spoken.languages.retain(|wanted| wanted.as_str() != missing.language);
            }
        }
    }
    let mut behind = Vec::new();
    for text in reply.texts {
        let Some(language) = Lang::parse(&text.language) else { continue };
        spoken.languages.retain(|wanted| *wanted != language);
        let frame = client::Translation {
            room: spoken.room.to_string(),
            seq: spoken.seq,
            language: text.language,
            text: text.text,
            engine: text.engine,
        };
        let frame = client::server_frame::Frame::Translation(frame);
        let frame = client::ServerFrame { re: None, frame: Some(frame) };
        let mut telling = Telling::new(frame, spoken.seq, spoken.revision, language);
        match tell(&room, &mut telling).await {
            Told::Behind => behind.push(telling),
            Told::Outdated => return None,
            Told::All | Told::Some => all.metrics.told(),
        }
    }
    if !behind.is_empty() {
        look_after(all, room, behind);
    }
    wait.filter(|_| !spoken.languages.is_empty())
}

/// Tells a part of the readers at a time, with others' work between.
async fn tell(room: &Room, telling: &mut Telling) -> Told {
    loop {
        match room.translated(telling) {
            Told::Some => tokio::task::yield_now().await,
            told => return told,
        }
    }
}

/// Tells those who have yet to be written the message, in a task of its own: nothing waits for slow readers.
fn look_after(all: &Arc<Translation>, room: Arc<Room>, mut behind: Vec<Telling>) {
    let Ok(place) = all.behind.clone().try_acquire_owned() else {
        all.metrics.dropped(Because::Behind);
        return;
    };
    let metrics = all.metrics.clone();
    tokio::spawn(async move {
        for _ in 0..LOOKS {
            sleep(BEHIND).await;
            let mut left = Vec::with_capacity(behind.len());
            for mut telling in behind {
                match tell(&room, &mut telling).await {
                    Told::Behind => left.push(telling),
                    Told::Outdated => return,
                    Told::All | Told::Some => metrics.told(),
                }
            }
            if left.is_empty() {
                return;
            }
            behind = left;
        }
        metrics.dropped(Because::Behind);
        drop(place);
    });
}
