//! Connections that say things without waiting for each other, and what must be true of it afterwards.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rookery_core::{
    record::{Body, RoomChanged},
    room::{Profile, Reply, Role, Update, What},
};
use rookery_protocol::id::RoomId;
use tokio::sync::Semaphore;

use super::town::{Town, post, user};
use crate::{problem::Problem, rooms::Rooms};

/// Requests of one connection under way at the same time.
const WINDOW: usize = 16;

type Outcome = Result<Reply, Problem>;

/// What one connection asked, by number, and what it was told when.
#[derive(Default)]
struct Talk {
    said: Mutex<Vec<Option<(Outcome, Instant)>>>,
}

pub(super) struct Crowd {
    pub(super) room: RoomId,
    talks: Vec<Arc<Talk>>,
    stop: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

/// What a talk came to.
#[derive(Debug, Default)]
pub(super) struct Sum {
    pub(super) done: usize,
    pub(super) unavailable: usize,
    /// Of those, posts: they can be asked again.
    pub(super) posts_unavailable: usize,
    /// The longest time in which nobody was told that something is done.
    pub(super) gap: Duration,
}

impl Crowd {
    /// A connection for each of `edges`, all in one room of `owner`'s.
    pub(super) async fn start(town: &Town, owner: usize, edges: &[usize]) -> Self {
        Self::in_room(town, owner, edges, |_| true).await
    }

    /// The same, in a room that is as it is `wanted`.
    pub(super) async fn in_room(
        town: &Town,
        owner: usize,
        edges: &[usize],
        wanted: impl Fn(RoomId) -> bool,
    ) -> Self {
        let ada = user(1000);
        let people: Vec<Arc<Profile>> = (0..edges.len()).map(|number| user(number as u64)).collect();
        let room = loop {
            let room = town.room(owner, &ada, &people).await;
            if wanted(room) {
                break room;
            }
        };
        let mut crowd = Self { room, talks: Vec::new(), stop: Arc::default(), tasks: Vec::new() };
        for (number, (edge, who)) in edges.iter().zip(people).enumerate() {
            let raise = What::SetRole { user: who.id, role: Role::Moderator };
            town.nodes[owner].rooms.command(room, &ada, raise).await.unwrap();
            let talk = Arc::<Talk>::default();
            crowd.talks.push(talk.clone());
            let rooms = town.nodes[*edge].rooms.clone();
            crowd.tasks.push(tokio::spawn(connection(number, rooms, room, who, talk, crowd.stop.clone())));
        }
        crowd
    }

    /// How many requests were done so far.
    pub(super) fn done(&self) -> usize {
        (0..self.talks.len()).map(|talk| self.done_by(talk)).sum()
    }

    /// Of them, those of one connection.
    pub(super) fn done_by(&self, talk: usize) -> usize {
        self.talks[talk].said.lock().iter().flatten().filter(|(outcome, _)| outcome.is_ok()).count()
    }

    /// Waits until so many more are done.
    pub(super) async fn goes_on(&self, more: usize) {
        let (wanted, until) = (self.done() + more, Instant::now() + Duration::from_secs(60));
        while self.done() < wanted {
            assert!(Instant::now() < until, "nothing is done any more");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Lets everybody finish, and checks the promises.
    pub(super) async fn end(self, town: &Town) -> Sum {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        let mut places: HashMap<String, u64> = HashMap::new();
        let mut newest: HashMap<usize, usize> = HashMap::new();
        let mut next = 1;
        for record in town.records(self.room).await {
            for (seq, event) in record.numbered() {
                assert_eq!(seq, next, "no gap");
                next += 1;
                let id = match &event.body {
                    Body::Posted(posted) => posted.client_msg_id.clone(),
                    Body::Room(changed) => match &**changed {
                        RoomChanged::Updated(Update { topic: Some(topic), .. }) => topic.clone(),
                        _ => continue,
                    },
                    _ => continue,
                };
                let (talk, number) = id.split_once('-').unwrap();
                let (talk, number): (usize, usize) = (talk.parse().unwrap(), number.parse().unwrap());
                let before = newest.insert(talk, number);
                assert!(before < Some(number), "connection {talk}: {number} comes after {before:?} at {seq}");
                places.insert(id, seq);
            }
        }
        let (mut sum, mut times) = (Sum::default(), Vec::new());
        for (talk, said) in self.talks.iter().enumerate() {
            for (number, outcome) in said.said.lock().iter().enumerate() {
                let id = format!("{talk}-{number}");
                let Some((outcome, at)) = outcome else { panic!("{id} was not answered") };
                match outcome {
                    Ok(Reply::Posted { seq, repeated, .. }) => {
                        assert_eq!(places.get(&id), Some(seq), "{id} is stored where it was said to be");
                        assert!(!repeated, "{id} was asked once by its client");
                    }
                    Ok(Reply::Edited { seq, .. } | Reply::Done { seq }) => {
                        assert_eq!(places.get(&id), seq.as_ref(), "{id} is stored");
                    }
                    Err(problem) => assert_eq!(problem.code, "unavailable", "{id}"),
                }
                match outcome {
                    Ok(_) => {
                        sum.done += 1;
                        times.push(*at);
                    }
                    Err(_) => {
                        sum.unavailable += 1;
                        sum.posts_unavailable += usize::from(number % 5 != 4);
                    }
                }
            }
        }
        times.sort();
        sum.gap = times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default();
        sum
    }
}

async fn connection(
    name: usize,
    rooms: Arc<Rooms>,
    room: RoomId,
    who: Arc<Profile>,
    talk: Arc<Talk>,
    stop: Arc<AtomicBool>,
) {
    let window = Arc::new(Semaphore::new(WINDOW));
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let place = window.clone().acquire_owned().await.unwrap();
        let id = format!("{name}-{number}");
        let what = if number % 5 == 4 {
            // Not to be repeated by anybody who does not know whether it was done.
            What::Update(Update { topic: Some(id), ..Update::default() })
        } else {
            post(&id)
        };
        talk.said.lock().push(None);
        let told = talk.clone();
        let reply = Box::new(move |outcome| {
            let before = told.said.lock()[number].replace((outcome, Instant::now()));
            assert!(before.is_none(), "answered once");
            drop(place);
        });
        rooms.submit(room, &who, what, reply);
        number += 1;
        if number % 8 == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    let _ = window.acquire_many(u32::try_from(WINDOW).unwrap()).await.unwrap();
}
