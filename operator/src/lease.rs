//! Which of several operators works: a Lease of Kubernetes, written by compare-and-swap alone.
//!
//! It keeps two operators from working against each other, and is no lock: what they do is safe to be done twice. Who cannot renew
//! it stops before others may take it over, counted from when its last good renewal was *sent*, by its own monotonic clock.

use std::time::{Duration, Instant};

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use kube::{Api, Client, api::PostParams};
use tokio::sync::watch;

use crate::settings::OperatorSettings;

/// A try to get or renew the lead takes no longer.
const TRY: Duration = Duration::from_secs(4);

/// The Lease, and who asks for it.
pub struct Elector {
    api: Api<Lease>,
    name: String,
    identity: String,
    length: Duration,
    /// The Lease as it was seen last, and since when it has been so by our own clock: clocks of others are not believed.
    seen: Option<(String, Instant)>,
}

impl Elector {
    /// An elector for the Lease that the settings name.
    pub fn new(client: Client, settings: &OperatorSettings) -> Self {
        Self {
            api: Api::namespaced(client, &settings.lease_namespace),
            name: settings.lease_name.clone(),
            identity: settings.identity(),
            length: Duration::from_secs(settings.lease_seconds.into()),
            seen: None,
        }
    }

    /// Waits for the lead. Errors of the API server are told and waited out.
    pub async fn lead(&mut self) -> Instant {
        loop {
            let sent = Instant::now();
            match tokio::time::timeout(TRY, self.attempt()).await {
                Ok(Ok(true)) => return sent,
                Ok(Ok(false)) => {}
                Ok(Err(error)) => tracing::warn!(%error, "cannot ask for the lead"),
                Err(_) => tracing::warn!("the API server does not answer about the lead"),
            }
            tokio::time::sleep(self.length / 5).await;
        }
    }

    /// Keeps the lead, which was got by a request sent at `since`; returns when it is lost. `stop`: gives it up at once.
    pub async fn keep(&mut self, mut since: Instant, mut stop: watch::Receiver<bool>) {
        // Stops well before others may take it, whatever a try takes.
        let until = self.length * 2 / 3;
        let left = |since: Instant| until.saturating_sub(since.elapsed());
        loop {
            tokio::select! {
                () = tokio::time::sleep((self.length / 5).min(left(since))) => {}
                () = told(&mut stop) => {
                    let _ = tokio::time::timeout(TRY, self.release()).await;
                    return;
                }
            }
            let sent = Instant::now();
            match tokio::time::timeout(TRY.min(self.length / 5).min(left(since)), self.attempt()).await {
                Ok(Ok(true)) => since = sent,
                Ok(Ok(false)) => return,
                Ok(Err(error)) => tracing::warn!(%error, "cannot renew the lead"),
                Err(_) => tracing::warn!("the API server does not answer about the lead"),
            }
            if left(since).is_zero() {
                return;
            }
        }
    }

    /// Asks for the lead, or renews it. `false`: another one has it.
    async fn attempt(&mut self) -> Result<bool, kube::Error> {
        let Some(mut lease) = self.api.get_opt(&self.name).await? else {
            let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
            let lease = Lease { metadata, spec: Some(self.spec(None)) };
            return won(self.api.create(&PostParams::default(), &lease).await);
        };
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        if self.seen.as_ref().is_none_or(|(seen, _)| *seen != version) {
            self.seen = Some((version, Instant::now()));
        }
        let spec = lease.spec.take();
        let holder = spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
        let theirs = spec.as_ref().and_then(|spec| spec.lease_duration_seconds).unwrap_or_default();
        let theirs = Duration::from_secs(u64::try_from(theirs).unwrap_or_default());
        let silent = self.seen.as_ref().is_some_and(|(_, since)| since.elapsed() > theirs);
        if holder != self.identity && !holder.is_empty() && !silent {
            return Ok(false);
        }
        lease.spec = Some(self.spec(spec));
        // By its resource version: of two who try, one gets a conflict.
        won(self.api.replace(&self.name, &PostParams::default(), &lease).await)
    }

    fn spec(&self, before: Option<LeaseSpec>) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        let before = before.unwrap_or_default();
        let mine = before.holder_identity.as_deref() == Some(&*self.identity);
        let changes = before.lease_transitions.unwrap_or_default();
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(self.length.as_secs()).ok(),
            acquire_time: before.acquire_time.filter(|_| mine).or(Some(now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(if mine { changes } else { changes.saturating_add(1) }),
            ..LeaseSpec::default()
        }
    }

    /// Lets another one take over at once.
    async fn release(&mut self) -> Result<(), kube::Error> {
        let mut lease = self.api.get(&self.name).await?;
        if let Some(spec) =
            lease.spec.as_mut().filter(|spec| spec.holder_identity.as_deref() == Some(&*self.identity))
        {
            spec.holder_identity = Some(String::new());
            self.api.replace(&self.name, &PostParams::default(), &lease).await?;
        }
        Ok(())
    }
}

/// Waits until it is told to stop.
async fn told(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

fn won(outcome: Result<Lease, kube::Error>) -> Result<bool, kube::Error> {
    match outcome {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}
