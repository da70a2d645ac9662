//! What this node does about its lease and its key, as a state machine without I/O and clock.
//!
//! `keeper.rs` asks [`Claim::next`] what to do, does it, and tells the outcome. An outcome that is not known is told
//! as such ([`Claim::unsure`]), and the key is read before anything else is written: no Txn is blindly repeated. Such a
//! Txn may also arrive late, for instance when a member of etcd that stood still goes on: so each write names the
//! revision that it replaces, and after an unknown outcome the key is written anew even if it says what it should.

use std::time::{Duration, Instant};

use rookery_core::ring::{LEVEL, MemberState};

use super::{ClusterSettings, Me, Refused, Standing, value::Value};

/// A key that is in the way is looked at again after this time.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// A foreign key may stay so much longer than twice its lease: a lease begins anew when etcd's leader changes.
const GRACE: Duration = Duration::from_secs(2);
/// Own leases that are remembered.
const FORMER: usize = 16;

/// What this node wants to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// A member in this state.
    Be(MemberState),
    /// None.
    Leave,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Ask for a lease: [`Claim::granted`].
    Grant,
    /// Make the key if there is none: [`Claim::created`], [`Claim::found`].
    Create { lease: i64, value: Vec<u8> },
    /// Read the key: [`Claim::found`].
    Read,
    /// Change the key's value if nothing changed it since this revision: [`Claim::written`], or [`Claim::unsure`].
    Write { lease: i64, revision: u64, state: MemberState, value: Vec<u8> },
    /// Say that this node lives: [`Claim::kept`].
    KeepAlive { lease: i64 },
    /// End the lease of the process that had this name before: [`Claim::replaced`].
    Replace { lease: i64 },
    /// End the own lease, and with it the key: [`Claim::left`].
    Leave { lease: i64 },
    /// Nothing before then.
    Wait(Instant),
    /// Nothing any more: see [`Standing`].
    End,
}

/// The key as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) incarnation: u64,
    /// Of its last change.
    pub(super) revision: u64,
    /// 0: none.
    pub(super) lease: i64,
    /// `None`: it cannot be read.
    pub(super) value: Option<Value>,
}

#[derive(Debug)]
struct Lease {
    id: i64,
    ttl: Duration,
    /// When the last answered keep-alive (or the grant) was sent.
    sent: Instant,
}

#[derive(Debug)]
struct Held {
    incarnation: u64,
    /// Of its last change.
    revision: u64,
    /// Nothing that was sent before can change it any more.
    settled: bool,
    /// What the key says; `None`: something that is not ours.
    state: Option<MemberState>,
}

/// Somebody else's key, in the way.
#[derive(Debug)]
enum Other {
    /// It may go by itself.
    Waiting { since: Instant, again: Instant },
    /// Its process is gone; its lease is not.
    Gone { lease: i64 },
}

#[derive(Debug)]
pub(super) struct Claim {
    me: Me,
    key: String,
    shard: String,
    weight: u32,
    shard_weight: u32,
    lease_seconds: u32,
    wanted: Wanted,
    lease: Option<Lease>,
    held: Option<Held>,
    other: Option<Other>,
    /// What the last Txn did is not known.
    doubt: bool,
    was_member: bool,
    /// This process's own leases, oldest first.
    leases: Vec<i64>,
    refused: Option<Refused>,
    left: bool,
}

impl Claim {
    pub(super) fn new(me: Me, cluster: &ClusterSettings, key: String) -> Self {
        Self {
            me,
            key,
            shard: cluster.shard.clone(),
            weight: cluster.weight,
            shard_weight: cluster.shard_weight,
            lease_seconds: cluster.lease_seconds,
            wanted: Wanted::Be(MemberState::Joining),
            lease: None,
            held: None,
            other: None,
            doubt: false,
            was_member: false,
            leases: Vec::new(),
            refused: None,
            left: false,
        }
    }

    /// This node's key.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    pub(super) fn want(&mut self, wanted: Wanted) {
        self.wanted = wanted;
    }

    pub(super) fn next(&self, now: Instant) -> Step {
        if self.left || self.refused.is_some() {
            return Step::End;
        }
        let state = match (self.wanted, &self.lease) {
            // `left` follows at once.
            (Wanted::Leave, None) => return Step::End,
            (Wanted::Leave, Some(lease)) => return Step::Leave { lease: lease.id },
            (Wanted::Be(state), _) => state,
        };
        let Some(Lease { id: lease, ttl, sent }) = self.lease else { return Step::Grant };
        let due = sent + ttl / 4;
        if now >= due {
            return Step::KeepAlive { lease };
        }
        if self.doubt {
            return Step::Read;
        }
        match (&self.held, &self.other) {
            (Some(held), _) if held.settled && held.state == Some(state) => Step::Wait(due),
            (Some(held), _) => {
                Step::Write { lease, revision: held.revision, state, value: self.value(state) }
            }
            (None, None) => Step::Create { lease, value: self.value(state) },
            (None, Some(Other::Gone { lease })) => Step::Replace { lease: *lease },
            (None, Some(Other::Waiting { again, .. })) if now >= *again => Step::Read,
            (None, Some(Other::Waiting { again, .. })) => Step::Wait(due.min(*again)),
        }
    }

    fn value(&self, state: MemberState) -> Vec<u8> {
        let (address, shard) = (self.me.address.clone(), self.shard.clone());
        let (weight, shard_weight, lease_seconds) = (self.weight, self.shard_weight, self.lease_seconds);
        Value { address, shard, weight, state, lease_seconds, shard_weight, level: LEVEL }.encode()
    }

    /// A lease of `ttl` was granted, asked for at `sent`.
    pub(super) fn granted(&mut self, id: i64, ttl: Duration, sent: Instant) {
        self.lease = Some(Lease { id, ttl, sent });
        if self.leases.len() == FORMER {
            self.leases.remove(0);
        }
        self.leases.push(id);
    }

    /// A keep-alive sent at `sent` was answered: the lease lives for `ttl`, or is gone.
    pub(super) fn kept(&mut self, ttl: Option<Duration>, sent: Instant) {
        match (ttl, &mut self.lease) {
            (Some(ttl), Some(lease)) => (lease.ttl, lease.sent) = (ttl, sent),
            _ => self.lost(),
        }
    }

    /// The lease is gone, and the key with it.
    pub(super) fn lost(&mut self) {
        (self.lease, self.held, self.doubt) = (None, None, false);
    }

    /// It cannot be known what the last Txn did, or its condition did not hold.
    pub(super) fn unsure(&mut self) {
        self.doubt = true;
    }

    /// The key was made, by this revision.
    pub(super) fn created(&mut self, incarnation: u64, value: &[u8]) {
        let state = Value::decode(value).ok().map(|value| value.state);
        self.holds(Held { incarnation, revision: incarnation, settled: true, state });
    }

    /// The key says this now, by this revision.
    pub(super) fn written(&mut self, revision: u64, state: MemberState) {
        if let Some(held) = &mut self.held {
            (held.revision, held.settled, held.state) = (revision, true, Some(state));
        }
    }

    fn holds(&mut self, held: Held) {
        self.held = Some(held);
        (self.other, self.doubt, self.was_member) = (None, false, true);
    }

    /// The key was read.
    pub(super) fn found(&mut self, found: Option<Found>, now: Instant) {
        self.doubt = false;
        let Some(Found { incarnation, revision, lease, value }) = found else {
            (self.held, self.other) = (None, None);
            return;
        };
        if self.lease.as_ref().is_some_and(|mine| mine.id == lease) {
            let state = value.map(|value| value.state);
            return self.holds(Held { incarnation, revision, settled: false, state });
        }
        self.held = None;
        if lease == 0 {
            self.refused = Some(Refused::Foreign { key: self.key.clone() });
            return;
        }
        let address = value.as_ref().map_or("an unknown address", |value| &value.address).to_owned();
        // This process itself (etcd was restored from a backup), or one that cannot live any more.
        if self.leases.contains(&lease) || (address == self.me.address && !self.was_member) {
            self.other = Some(Other::Gone { lease });
            return;
        }
        let since = match self.other {
            Some(Other::Waiting { since, .. }) => since,
            _ => now,
        };
        let seconds = value.map_or(self.lease_seconds, |value| value.lease_seconds).min(60);
        let patience = Duration::from_secs(seconds.into()) * 2 + GRACE;
        if self.was_member || now.duration_since(since) >= patience {
            self.refused = Some(Refused::Taken { name: self.me.name.clone(), address, incarnation });
        } else {
            self.other = Some(Other::Waiting { since, again: now + LOOK_AGAIN });
        }
    }

    /// The former process's lease is gone.
    pub(super) fn replaced(&mut self) {
        self.other = None;
    }

    /// The own lease is gone, as wanted.
    pub(super) fn left(&mut self) {
        self.lost();
        self.left = true;
    }

    /// This node will never be a member.
    pub(super) fn refuse(&mut self, why: Refused) {
        self.refused = Some(why);
    }

    /// Whether another process's key is in the way.
    pub(super) fn is_waiting(&self) -> bool {
        self.other.is_some()
    }

    /// Whether this process has ever been a member.
    pub(super) fn was_member(&self) -> bool {
        self.was_member
    }

    pub(super) fn standing(&self) -> Standing {
        let held = self.held.as_ref();
        let until = self.lease.as_ref().map(|lease| lease.sent + lease.ttl);
        Standing {
            incarnation: held.map(|held| held.incarnation),
            state: held.and_then(|held| held.state),
            claims_until: held.and(until),
            refused: self.refused.clone(),
            left: self.left || (self.wanted == Wanted::Leave && self.lease.is_none()),
            failing: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(4);

    fn claim() -> Claim {
        let me = Me { name: "a".into(), address: "a:1".into() };
        let cluster = ClusterSettings { lease_seconds: 4, ..ClusterSettings::default() };
        Claim::new(me, &cluster, "/k".into())
    }

    fn value(address: &str) -> Option<Value> {
        let (address, shard) = (address.to_owned(), "main".to_owned());
        let state = MemberState::Active;
        Some(Value { address, shard, weight: 1, state, lease_seconds: 4, shard_weight: 1, level: LEVEL })
    }

    /// Has lease 7 and its key, as of `now`.
    fn member(now: Instant) -> Claim {
        let mut claim = claim();
        assert_eq!(claim.next(now), Step::Grant);
        claim.granted(7, TTL, now);
        let Step::Create { lease: 7, value } = claim.next(now) else { panic!("{:?}", claim.next(now)) };
        claim.created(100, &value);
        assert_eq!(claim.next(now), Step::Wait(now + TTL / 4));
        claim
    }

    #[test]
    fn becomes_a_member_changes_state_and_leaves() {
        let now = Instant::now();
        let mut claim = member(now);
        assert_eq!(claim.standing().state, Some(MemberState::Joining));
        claim.want(Wanted::Be(MemberState::Active));
        let Step::Write { lease: 7, revision: 100, state, value } = claim.next(now) else { panic!() };
        assert_eq!(Value::decode(&value).unwrap().state, MemberState::Active);
        claim.written(105, state);
        assert_eq!(claim.standing().state, Some(MemberState::Active));
        assert_eq!(claim.next(now), Step::Wait(now + TTL / 4));
        claim.want(Wanted::Leave);
        assert_eq!(claim.next(now), Step::Leave { lease: 7 });
        claim.left();
        assert_eq!((claim.next(now), claim.standing().left), (Step::End, true));
    }

    #[test]
    fn claims_last_from_when_the_last_answered_keep_alive_was_sent() {
        let start = Instant::now();
        let mut claim = member(start);
        assert_eq!(claim.standing().claims_until, Some(start + TTL));
        let sent = start + TTL / 4;
        assert_eq!(claim.next(sent), Step::KeepAlive { lease: 7 });
        // Unanswered ones change nothing: the next one is due at once.
        assert_eq!(claim.next(sent + TTL / 4), Step::KeepAlive { lease: 7 });
        assert_eq!(claim.standing().claims_until, Some(start + TTL));
        claim.kept(Some(TTL), sent);
        assert_eq!(claim.standing().claims_until, Some(sent + TTL));
    }

    #[test]
    fn a_lost_lease_means_a_new_incarnation_in_the_wanted_state() {
        let now = Instant::now();
        let mut claim = member(now);
        claim.want(Wanted::Be(MemberState::Active));
        claim.kept(None, now);
        assert_eq!(claim.standing(), Standing::default());
        assert_eq!(claim.next(now), Step::Grant);
        claim.granted(8, TTL, now);
        let Step::Create { lease: 8, value } = claim.next(now) else { panic!() };
        claim.created(200, &value);
        let standing = claim.standing();
        assert_eq!((standing.incarnation, standing.state), (Some(200), Some(MemberState::Active)));
    }

    #[test]
    fn reads_before_it_repeats_what_it_does_not_know() {
        let now = Instant::now();
        let mut claim = claim();
        claim.granted(7, TTL, now);
        claim.unsure();
        assert_eq!(claim.next(now), Step::Read);
        // It was stored.
        claim.found(Some(Found { incarnation: 100, revision: 100, lease: 7, value: value("a:1") }), now);
        assert_eq!(claim.standing().incarnation, Some(100));
        // A write, too: what is there shows whether it is to be repeated.
        claim.unsure();
        assert_eq!(claim.next(now), Step::Read);
        claim.found(Some(Found { incarnation: 100, revision: 100, lease: 7, value: value("a:1") }), now);
        assert!(matches!(claim.next(now), Step::Write { state: MemberState::Joining, .. }));
        // Somebody removed the key.
        claim.unsure();
        claim.found(None, now);
        assert!(matches!(claim.next(now), Step::Create { lease: 7, .. }));
    }

    #[test]
    fn a_write_that_arrives_late_changes_nothing() {
        let now = Instant::now();
        let mut claim = member(now);
        claim.want(Wanted::Be(MemberState::Draining));
        let Step::Write { revision: late, .. } = claim.next(now) else { panic!() };
        // Not answered, and not stored yet; by now the node wants what the key says already.
        claim.unsure();
        claim.want(Wanted::Be(MemberState::Active));
        claim.found(Some(Found { incarnation: 100, revision: 100, lease: 7, value: value("a:1") }), now);
        assert_eq!(claim.standing().state, Some(MemberState::Active));
        let Step::Write { revision: 100, state: MemberState::Active, .. } = claim.next(now) else {
            panic!("{:?}", claim.next(now))
        };
        claim.written(110, MemberState::Active);
        assert!(late < 110, "its condition does not hold any more");
        assert_eq!(claim.next(now), Step::Wait(now + TTL / 4));
    }

    #[test]
    fn a_former_process_at_the_same_address_is_replaced_at_once() {
        let now = Instant::now();
        let mut claim = claim();
        claim.granted(7, TTL, now);
        claim.found(Some(Found { incarnation: 50, revision: 50, lease: 3, value: value("a:1") }), now);
        assert_eq!(claim.next(now), Step::Replace { lease: 3 });
        claim.replaced();
        assert!(matches!(claim.next(now), Step::Create { lease: 7, .. }));
    }

    #[test]
    fn a_living_process_of_the_same_name_elsewhere_is_left_alone() {
        let start = Instant::now();
        let mut claim = claim();
        let mut now = start;
        let patience = TTL * 2 + GRACE;
        loop {
            match claim.next(now) {
                Step::Grant => claim.granted(7, TTL, now),
                Step::KeepAlive { .. } => claim.kept(Some(TTL), now),
                Step::Wait(until) => now = until,
                Step::Create { .. } | Step::Read => {
                    claim.found(
                        Some(Found { incarnation: 50, revision: 50, lease: 3, value: value("b:1") }),
                        now,
                    );
                }
                Step::End => break,
                other => panic!("{other:?}"),
            }
        }
        assert!(now >= start + patience && now < start + patience + TTL);
        let Some(Refused::Taken { address, incarnation: 50, .. }) = claim.standing().refused else {
            panic!()
        };
        assert_eq!(address, "b:1");
    }

    #[test]
    fn one_that_was_replaced_ends() {
        let now = Instant::now();
        let mut claim = member(now);
        claim.kept(None, now);
        claim.granted(8, TTL, now);
        claim.found(Some(Found { incarnation: 150, revision: 150, lease: 9, value: value("a:1") }), now);
        assert!(matches!(claim.standing().refused, Some(Refused::Taken { incarnation: 150, .. })));
        // But not by itself: etcd may bring back what this process wrote.
        let mut claim = member(now);
        claim.kept(None, now);
        claim.granted(8, TTL, now);
        claim.found(Some(Found { incarnation: 100, revision: 100, lease: 7, value: value("a:1") }), now);
        assert_eq!(claim.next(now), Step::Replace { lease: 7 });
    }

    #[test]
    fn a_key_without_a_lease_is_nobodys() {
        let now = Instant::now();
        let mut claim = claim();
        claim.granted(7, TTL, now);
        claim.found(Some(Found { incarnation: 1, revision: 1, lease: 0, value: None }), now);
        assert_eq!(claim.standing().refused, Some(Refused::Foreign { key: "/k".into() }));
    }
}
