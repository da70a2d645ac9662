//! Does what `claim.rs` decides: lease, key, keep-alives. One call at a time, each with a deadline.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use etcd_client::{
    Compare, CompareOp, Error, LeaseKeepAliveStream, LeaseKeeper, PutOptions, Txn, TxnOp, TxnOpResponse,
};
use tokio::sync::watch;

use super::{
    Refused, Standing,
    claim::{Claim, Found, Step, Wanted},
    etcd::{Etcd, Line, is_no_lease, is_recent, is_refusal, why},
    metrics::MembershipMetrics,
    value::Value,
};

/// What a call told.
enum Told {
    Granted(i64, Duration),
    Created(u64),
    Found(Option<Found>),
    /// By this revision; `None`: something changed the key before.
    Written(Option<u64>),
    Kept(Option<Duration>),
    Revoked,
    /// etcd is of this version.
    TooOld(String),
}

pub(super) struct Keeper {
    etcd: Arc<Etcd>,
    line: Line,
    claim: Claim,
    wants: watch::Receiver<Wanted>,
    standing: watch::Sender<Standing>,
    metrics: MembershipMetrics,
    key: String,
    /// The stream of keep-alives on this line.
    stream: Option<(LeaseKeeper, LeaseKeepAliveStream)>,
    since: Option<u64>,
    complained: bool,
    /// Why etcd does not answer, while it does not.
    failing: Option<String>,
}

fn revision(of: i64) -> u64 {
    u64::try_from(of).unwrap_or(0)
}

impl Keeper {
    pub(super) fn new(
        etcd: Arc<Etcd>,
        claim: Claim,
        wants: watch::Receiver<Wanted>,
        standing: watch::Sender<Standing>,
        metrics: MembershipMetrics,
    ) -> Self {
        let key = claim.key().to_owned();
        let line = Line::new(etcd.clone(), false);
        Self {
            etcd,
            line,
            claim,
            wants,
            standing,
            metrics,
            key,
            stream: None,
            since: None,
            complained: false,
            failing: None,
        }
    }

    /// Until the node left or is refused.
    pub(super) async fn run(mut self) {
        loop {
            self.claim.want(*self.wants.borrow_and_update());
            self.publish();
            match self.claim.next(Instant::now()) {
                Step::End => return,
                Step::Wait(until) => {
                    tokio::select! {
                        () = tokio::time::sleep_until(until.into()) => {}
                        changed = self.wants.changed() => if changed.is_err() { return },
                    }
                }
                step => self.act(step).await,
            }
        }
    }

    fn publish(&mut self) {
        let standing = Standing { failing: self.failing.clone(), ..self.claim.standing() };
        let remaining = standing.claims_until.map(|until| until.saturating_duration_since(Instant::now()));
        self.metrics.lease_remaining.set(remaining.unwrap_or_default().as_secs_f64());
        if standing.incarnation != self.since {
            match standing.incarnation {
                Some(incarnation) => {
                    tracing::info!(key = %self.key, incarnation, "this node is a member of the cluster");
                    self.metrics.incarnation.set(i64::try_from(incarnation).unwrap_or(i64::MAX));
                }
                None if standing.left => tracing::info!("left the cluster"),
                None => tracing::warn!("lost the lease in etcd: the other nodes took this one for gone"),
            }
            self.since = standing.incarnation;
        }
        self.standing.send_if_modified(|now| {
            let changed = *now != standing;
            *now = standing;
            changed
        });
    }

    async fn act(&mut self, step: Step) {
        let sent = Instant::now();
        let keeping = matches!(step, Step::KeepAlive { .. });
        // Three members can be asked within a lease.
        let patience = self.etcd.lease / if keeping { 4 } else { 3 };
        let outcome = match tokio::time::timeout(patience, self.call(&step)).await {
            Ok(outcome) => outcome.map_err(Some),
            Err(_) => Err(None),
        };
        match outcome {
            Ok(told) => {
                self.line.answered();
                self.metrics.keeper_connected.set(1);
                self.complained = false;
                self.failing = None;
                self.tell(step, told, sent);
            }
            Err(error) => self.failed(&step, error).await,
        }
    }

    fn tell(&mut self, step: Step, told: Told, sent: Instant) {
        match (step, told) {
            (_, Told::TooOld(found)) => {
                let endpoint = self.line.endpoint().to_owned();
                self.claim.refuse(Refused::Version { endpoint, found });
            }
            (_, Told::Granted(id, ttl)) => {
                self.stream = None;
                self.claim.granted(id, ttl, sent);
            }
            (Step::Create { value, .. }, Told::Created(incarnation)) => {
                self.claim.created(incarnation, &value);
            }
            (_, Told::Found(found)) => {
                let waited = self.claim.is_waiting();
                self.claim.found(found, Instant::now());
                if !waited && self.claim.is_waiting() {
                    tracing::warn!(key = %self.key, "a former process of this name is still in etcd; waiting for it to go");
                }
            }
            (Step::Write { state, .. }, Told::Written(Some(revision))) => self.claim.written(revision, state),
            (_, Told::Kept(ttl)) => {
                if ttl.is_none() {
                    self.stream = None;
                    self.metrics.leases_lost.inc();
                }
                self.claim.kept(ttl, sent);
            }
            (Step::Leave { .. }, Told::Revoked) => self.claim.left(),
            (Step::Replace { .. }, Told::Revoked) => self.claim.replaced(),
            // A condition that did not hold: somebody touched the key.
            _ => self.claim.unsure(),
        }
    }

    /// `None`: no answer in time.
    async fn failed(&mut self, step: &Step, error: Option<Error>) {
        self.stream = None;
        let why = error.as_ref().map_or_else(|| "no answer".to_owned(), why);
        match (step, &error) {
            (Step::Leave { .. }, Some(error)) if is_no_lease(error) => return self.claim.left(),
            (Step::Replace { .. }, Some(error)) if is_no_lease(error) => return self.claim.replaced(),
            (_, Some(error)) if is_no_lease(error) => {
                self.metrics.leases_lost.inc();
                return self.claim.lost();
            }
            // Later it may be a password that was just changed: this node goes on with the view it has.
            (_, Some(error)) if is_refusal(error) && !self.claim.was_member() => {
                let user = self.etcd.user().to_owned();
                return self.claim.refuse(Refused::Credentials { user, why });
            }
            (Step::KeepAlive { .. }, _) => {
                self.metrics.keep_alive_failures.inc();
            }
            (Step::Create { .. } | Step::Write { .. } | Step::Replace { .. }, _) => self.claim.unsure(),
            _ => {}
        }
        self.metrics.keeper_connected.set(0);
        let endpoint = self.line.endpoint().to_owned();
        self.failing = Some(format!("{endpoint}: {why}"));
        self.publish();
        let pause = self.line.failed();
        // Once, and not at every try.
        if self.complained || pause < Duration::from_millis(40) {
            tracing::debug!(endpoint, why, "etcd does not answer; trying the next member");
        } else {
            self.complained = true;
            tracing::warn!(endpoint, why, "etcd does not answer; trying on. The last view stays in force");
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            changed = self.wants.changed() => if changed.is_ok() { self.wants.mark_changed() },
        }
    }

    async fn call(&mut self, step: &Step) -> Result<Told, Error> {
        match step {
            Step::Grant => {
                // A node that is a member stays one.
                if !self.claim.was_member()
                    && let Some(found) = self.too_old().await?
                {
                    return Ok(Told::TooOld(found));
                }
                let seconds = i64::try_from(self.etcd.lease.as_secs()).unwrap_or(i64::MAX);
                let granted = self.line.client().await?.lease_grant(seconds, None).await?;
                Ok(Told::Granted(granted.id(), Duration::from_secs(revision(granted.ttl()))))
            }
            Step::Create { lease, value } => {
                let put =
                    TxnOp::put(self.key.as_str(), value.clone(), Some(PutOptions::new().with_lease(*lease)));
                let absent = Compare::create_revision(self.key.as_str(), CompareOp::Equal, 0);
                let txn =
                    Txn::new().when([absent]).and_then([put]).or_else([TxnOp::get(self.key.as_str(), None)]);
                let answer = self.line.client().await?.txn(txn).await?;
                if answer.succeeded() {
                    return Ok(Told::Created(revision(
                        answer.header().map_or(0, etcd_client::ResponseHeader::revision),
                    )));
                }
                let found = answer.op_responses().into_iter().find_map(|op| match op {
                    TxnOpResponse::Get(got) => got.kvs().first().map(found),
                    _ => None,
                });
                Ok(Told::Found(found))
            }
            Step::Read => {
                // Linearizable, as reads are unless they ask not to be.
                let got = self.line.client().await?.get(self.key.as_str(), None).await?;
                Ok(Told::Found(got.kvs().first().map(found)))
            }
            Step::Write { lease, revision: last, value, .. } => {
                let put =
                    TxnOp::put(self.key.as_str(), value.clone(), Some(PutOptions::new().with_lease(*lease)));
                let last = i64::try_from(*last).unwrap_or(i64::MAX);
                let unchanged = Compare::mod_revision(self.key.as_str(), CompareOp::Equal, last);
                let txn = Txn::new().when([unchanged]).and_then([put]);
                let answer = self.line.client().await?.txn(txn).await?;
                let header = answer.header().map_or(0, etcd_client::ResponseHeader::revision);
                Ok(Told::Written(answer.succeeded().then(|| revision(header))))
            }
            Step::KeepAlive { lease } => self.keep_alive(*lease).await,
            Step::Replace { lease } | Step::Leave { lease } => {
                self.line.client().await?.lease_revoke(*lease).await?;
                Ok(Told::Revoked)
            }
            Step::Wait(_) | Step::End => Ok(Told::Revoked),
        }
    }

    /// The version of the member that is spoken to, if it is too old. One that it does not tell (to this user) may do: what
    /// is asked of it next shows whether it can be used at all.
    async fn too_old(&mut self) -> Result<Option<String>, Error> {
        match self.line.client().await?.status().await {
            Ok(status) => Ok(Some(status.version().to_owned()).filter(|found| !is_recent(found))),
            Err(error) => {
                tracing::debug!(why = why(&error), "etcd does not tell its version");
                Ok(None)
            }
        }
    }

    async fn keep_alive(&mut self, lease: i64) -> Result<Told, Error> {
        let (keeper, answers) = match &mut self.stream {
            Some(stream) => stream,
            None => {
                let opened = self.line.client().await?.lease_keep_alive(lease).await?;
                // That was a keep-alive already, and answered. The TTL in its answer is not shown; the lease asked for is
                // what etcd granted at least.
                self.stream = Some(opened);
                return Ok(Told::Kept(Some(self.etcd.lease)));
            }
        };
        keeper.keep_alive().await?;
        match answers.message().await? {
            Some(answer) if answer.ttl() > 0 => {
                Ok(Told::Kept(Some(Duration::from_secs(revision(answer.ttl())))))
            }
            Some(_) => Ok(Told::Kept(None)),
            None => Err(Error::LeaseKeepAliveError("the stream ended".to_owned())),
        }
    }
}

fn found(pair: &etcd_client::KeyValue) -> Found {
    Found {
        incarnation: revision(pair.create_revision()),
        revision: revision(pair.mod_revision()),
        lease: pair.lease(),
        value: Value::decode(pair.value()).ok(),
    }
}
