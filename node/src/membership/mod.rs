//! Who is in the cluster, by etcd: this node's own key under a lease, and the view of all nodes.
//!
//! Here belongs everything that talks to etcd. What a view means for rooms is the ring's business
//! (`rookery_core::ring`), and nothing here makes writing safe: the log does. A lease is not a lock.
//!
//! `claim.rs` and `directory.rs` decide, without I/O; `keeper.rs` and `observer.rs` do.
//!
//! Rooms that are pinned to a shard have keys beside those of the nodes (`pins.rs`), and are part of the view.
//!
//! A node's key is `/rookery/<cluster>/nodes/<name>`. Its incarnation is the key's create revision, which etcd never
//! gives twice: a node that starts anew, or comes back after its lease ran out, makes its key anew.
//!
//! **Two processes with one name.** One that starts and finds its key there looks at the address: if it is its own,
//! which it listens on itself, the former process is gone (a pod that was restarted): it revokes that lease and takes
//! over at once. Otherwise it waits for the lease to run out, and if it does not, gives up with an error that
//! says where the other one is. One that lost its lease (a pause) and finds its key taken ends, too: it was replaced.

mod claim;
mod directory;
mod etcd;
mod keeper;
mod metrics;
mod observer;
mod pins;
mod settings;
#[cfg(test)]
mod tests;
mod value;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rookery_core::ring::{MemberState, View};
use rookery_protocol::id::RoomId;
use tokio::sync::{mpsc, oneshot, watch};

pub use metrics::MembershipMetrics;
pub use settings::{ClusterSettings, EtcdSettings};

/// etcd is not asked about the same revision again sooner. (It may never know it: who has seen it still believes an etcd that has lost
/// its history since.)
const HEAR_AGAIN: Duration = Duration::from_secs(1);

/// This node, as the others shall know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Me {
    /// Its name; unique in the cluster.
    pub name: String,
    /// Where other nodes reach it: `host:port`.
    pub address: String,
}

/// Why this node is no member, and will not become one by waiting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Another process lives under this node's name.
    #[error(
        "another process is in the cluster as node \"{name}\" (at {address}, incarnation {incarnation}). Stop it, or give \
         this one a name of its own with server.node"
    )]
    Taken {
        /// The name.
        name: String,
        /// Where the other process is.
        address: String,
        /// Which one it is.
        incarnation: u64,
    },
    /// The key was not written by a node.
    #[error("the key {key} in etcd was not written by a node (it has no lease). Remove it")]
    Foreign {
        /// Which.
        key: String,
    },
    /// The settings cannot be used.
    #[error("{0}")]
    Settings(String),
    /// etcd is too old.
    #[error("etcd at {endpoint} is too old: it is {found}, and {} or later is needed", etcd::OLDEST_TEXT)]
    Version {
        /// Which member.
        endpoint: String,
        /// Its version.
        found: String,
    },
    /// etcd does not know the user or his password.
    #[error("etcd refuses the user \"{user}\": {why}")]
    Credentials {
        /// Who.
        user: String,
        /// In etcd's words.
        why: String,
    },
}

/// Where this node stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    /// Its incarnation, while it has a key.
    pub incarnation: Option<u64>,
    /// What its key says.
    pub state: Option<MemberState>,
    /// Until then it may claim what is its own by the view; see [`Membership::may_claim`].
    pub claims_until: Option<Instant>,
    /// It will never be a member (again).
    pub refused: Option<Refused>,
    /// It left.
    pub left: bool,
    /// Which member of etcd does not answer, and why, while none has answered since.
    pub failing: Option<String>,
}

/// Asks the observer to look.
struct CatchUp {
    revision: u64,
    /// Answered when it has; `None`: nobody waits.
    done: Option<oneshot::Sender<()>>,
}

/// This node's membership. Dropping it lets the lease run out; [`Self::leave`] ends it at once.
pub struct Membership {
    me: Me,
    view: watch::Receiver<Arc<View>>,
    standing: watch::Receiver<Standing>,
    wanted: watch::Sender<claim::Wanted>,
    catch_up: mpsc::Sender<CatchUp>,
    /// The revision that another node was heard to have seen, and when.
    heard: Mutex<Option<(u64, Instant)>>,
    pins: pins::Writer,
    tasks: Vec<tokio::task::AbortHandle>,
}

/// Why a room could not be pinned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PinError {
    /// There are too many.
    #[error("{} rooms are pinned to shards already, and no more can be: unpin others first", pins::MOST_PINS)]
    TooMany,
    /// etcd does not do it now.
    #[error("etcd does not take the pin of a room: {0}")]
    Etcd(String),
}

impl Drop for Membership {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Membership {
    /// Begins to become a member, as [`MemberState::Joining`]. Returns at once; see [`Self::joined`]. In a Tokio runtime.
    ///
    /// # Errors
    /// [`Refused::Settings`]: a file cannot be read, an endpoint is none.
    pub fn start(
        me: Me,
        cluster: &ClusterSettings,
        settings: &EtcdSettings,
        metrics: MembershipMetrics,
    ) -> Result<Self, Refused> {
        let etcd = Arc::new(etcd::Etcd::new(cluster, settings).map_err(Refused::Settings)?);
        let (wanted, wants) = watch::channel(claim::Wanted::Be(MemberState::Joining));
        let (stand, standing) = watch::channel(Standing::default());
        let (show, view) = watch::channel(Arc::new(View::default()));
        let (catch_up, asked) = mpsc::channel(64);
        let claim = claim::Claim::new(me.clone(), cluster, etcd.key(&me.name));
        let keeper = keeper::Keeper::new(etcd.clone(), claim, wants, stand, metrics.clone());
        let pins = pins::Writer::new(etcd.clone());
        let observer = observer::Observer::new(etcd, show, asked, metrics);
        let tasks =
            vec![tokio::spawn(keeper.run()).abort_handle(), tokio::spawn(observer.run()).abort_handle()];
        Ok(Self { me, view, standing, wanted, catch_up, heard: Mutex::default(), pins, tasks })
    }

    /// Name and address of this node.
    pub fn me(&self) -> &Me {
        &self.me
    }

    /// The newest view. With etcd away the last one stays.
    pub fn view(&self) -> watch::Receiver<Arc<View>> {
        self.view.clone()
    }

    /// Where this node stands.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }

    /// Waits until this node has its key, and a view that shows it.
    ///
    /// # Errors
    /// [`Refused`]. Waits as long as etcd is away: the caller bounds the time.
    pub async fn joined(&self) -> Result<(), Refused> {
        let mut standing = self.standing();
        let incarnation = loop {
            let now = standing.borrow_and_update().clone();
            if let Some(refused) = now.refused {
                return Err(refused);
            }
            if let Some(incarnation) = now.incarnation {
                break incarnation;
            }
            if standing.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let mut view = self.view();
        let shown = |view: &Arc<View>| {
            view.members().iter().any(|m| m.name == self.me.name && m.incarnation >= incarnation)
        };
        if view.wait_for(shown).await.is_err() {
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    /// Wants its key to say this from now on, also after the lease was lost. See [`Self::is`].
    pub fn set_state(&self, state: MemberState) {
        self.wanted.send_if_modified(|wanted| match wanted {
            claim::Wanted::Leave => false,
            claim::Wanted::Be(now) => {
                let changed = *now != state;
                *now = state;
                changed
            }
        });
    }

    /// Waits until its key says `state`; says whether it did in time.
    pub async fn is(&self, state: MemberState, within: Duration) -> bool {
        let mut standing = self.standing();
        let said = standing.wait_for(|now| now.state == Some(state));
        tokio::time::timeout(within, said).await.is_ok_and(|said| said.is_ok())
    }

    /// Whether the others still have to take this node for a member: its lease cannot have run out yet, by its own
    /// monotonic clock, counted from when the last answered keep-alive was sent.
    ///
    /// It is told to whoever watches (`/readyz`, the metric of the lease) and decides nothing. What a node writes is safe
    /// by the condition of each append, and a node that went silent without etcd would stop its rooms for nothing: all
    /// of them are in that place at once, with the last view in force.
    pub fn may_claim(&self) -> bool {
        self.standing.borrow().claims_until.is_some_and(|until| Instant::now() < until)
    }

    /// Waits until the view is at least that of `revision`, which another node has seen; says whether it is in time.
    /// Asks etcd at once.
    pub async fn catch_up(&self, revision: u64, within: Duration) -> bool {
        if self.view.borrow().revision() >= revision {
            return true;
        }
        let (done, told) = oneshot::channel();
        let asked = async {
            if self.catch_up.send(CatchUp { revision, done: Some(done) }).await.is_ok() {
                let _ = told.await;
            }
        };
        let _ = tokio::time::timeout(within, asked).await;
        self.view.borrow().revision() >= revision
    }

    /// Another node has seen this revision: asks etcd at once, without waiting for the answer. Told as often as one likes.
    pub fn hear_of(&self, revision: u64) {
        if self.view.borrow().revision() >= revision {
            return;
        }
        let mut heard = self.heard.lock();
        if heard.is_some_and(|(newest, at)| newest >= revision && at.elapsed() < HEAR_AGAIN) {
            return;
        }
        *heard = Some((revision, Instant::now()));
        let _ = self.catch_up.try_send(CatchUp { revision, done: None });
    }

    /// Pins a room to a shard, or lets it go where hashing puts it, and waits until the view shows it. Nothing is done where it
    /// is so already.
    ///
    /// # Errors
    /// [`PinError`].
    pub async fn pin(&self, room: RoomId, shard: Option<&str>, within: Duration) -> Result<(), PinError> {
        let begun = Instant::now();
        let view = self.view.borrow().clone();
        if view.pin(room) == shard {
            return Ok(());
        }
        if shard.is_some() && view.pin(room).is_none() && view.pins().len() >= pins::MOST_PINS {
            return Err(PinError::TooMany);
        }
        let revision = self.pins.write(room, shard, within).await.map_err(PinError::Etcd)?;
        if self.catch_up(revision, within.saturating_sub(begun.elapsed())).await {
            return Ok(());
        }
        Err(PinError::Etcd("this node does not hear of it".to_owned()))
    }

    /// Removes the key and ends the lease; says whether etcd heard it in time. Otherwise the lease runs out.
    pub async fn leave(&self, within: Duration) -> bool {
        self.wanted.send_replace(claim::Wanted::Leave);
        let mut standing = self.standing();
        let left = standing.wait_for(|now| now.left);
        tokio::time::timeout(within, left).await.is_ok_and(|left| left.is_ok())
    }
}
