//! Keeps one connection: makes it, tries it, makes a new one when it fails.
//!
//! Who calls meanwhile is refused at once; nothing waits here for Redis to come back.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use redis::{ErrorKind, RedisError, ServerErrorKind, cmd};
use tokio::{sync::Notify, time::Instant};

use super::{
    RedisMetrics, RedisSettings,
    wire::{Plan, Wire},
};

/// Least and most time between two tries to connect.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// The sentinels are asked so often whether the master is still the one that is used.
const ASK_SENTINELS: Duration = Duration::from_secs(5);
/// Pings of a cluster that fail in a row before everything is connected anew.
const CLUSTER_PATIENCE: u32 = 3;

/// What calls and keeper share.
pub(super) struct Kept {
    wire: ArcSwapOption<Wire>,
    suspect: Notify,
    pub(super) metrics: RedisMetrics,
    pub(super) settings: RedisSettings,
    plan: Plan,
    ping_key: String,
    /// What was logged last, so that a long absence is one line.
    away_logged: AtomicBool,
}

/// Why something failed, as one word for metrics and logs. The library's own texts may quote what was sent.
pub(super) fn reason(error: &RedisError) -> &'static str {
    match error.kind() {
        _ if error.is_timeout() => "timeout",
        _ if error.is_connection_refusal() => "refused",
        ErrorKind::Io => "disconnected",
        ErrorKind::AuthenticationFailed => "authentication",
        ErrorKind::Server(ServerErrorKind::ReadOnly) => "read_only",
        ErrorKind::Server(ServerErrorKind::BusyLoading) => "loading",
        ErrorKind::Server(ServerErrorKind::ClusterDown) => "cluster_down",
        ErrorKind::Server(ServerErrorKind::MasterDown) => "master_down",
        ErrorKind::Server(ServerErrorKind::NoPerm) => "no_permission",
        ErrorKind::MasterNameNotFoundBySentinel => "unknown_master",
        ErrorKind::ClusterConnectionNotFound => "no_cluster_node",
        ErrorKind::InvalidClientConfig => "configuration",
        _ => match error.code() {
            Some("OOM") => "out_of_memory",
            Some("NOAUTH" | "WRONGPASS") => "authentication",
            Some("MISCONF") => "cannot_persist",
            Some("NOREPLICAS") => "no_replicas",
            _ => "error",
        },
    }
}

impl Kept {
    /// Begins to connect.
    pub(super) fn start(
        plan: Plan,
        settings: RedisSettings,
        metrics: RedisMetrics,
        ping_key: String,
    ) -> Arc<Self> {
        let kept = Arc::new(Self {
            wire: ArcSwapOption::empty(),
            suspect: Notify::new(),
            metrics,
            settings,
            plan,
            ping_key,
            away_logged: AtomicBool::new(false),
        });
        tokio::spawn(keep(Arc::downgrade(&kept)));
        kept
    }

    /// The connection, if there is one now.
    pub(super) fn wire(&self) -> Option<Arc<Wire>> {
        self.wire.load_full()
    }

    /// A call over `wire` failed in a way that may concern all: it is looked at, and not used if it is surely gone.
    pub(super) fn suspect(&self, wire: &Arc<Wire>, error: Option<&RedisError>) {
        let concerns_all = error.is_none_or(|error| {
            error.is_unrecoverable_error()
                || error.is_timeout()
                || matches!(reason(error), "disconnected" | "read_only" | "loading" | "master_down")
        });
        if !concerns_all {
            return;
        }
        let gone = error.is_some_and(|error| !error.is_timeout() && error.is_unrecoverable_error());
        if gone && matches!(**wire, Wire::Single(_)) {
            self.wire.compare_and_swap(wire, None);
        }
        self.suspect.notify_one();
    }

    async fn connect(&self, first: usize) -> Result<(Wire, Option<String>), &'static str> {
        let limit = self.settings.connect_timeout();
        let made = async {
            let (wire, server) = self.plan.connect(first).await.map_err(|error| reason(&error))?;
            self.ping(&wire).await?;
            Ok((wire, server))
        };
        tokio::time::timeout(limit, made).await.unwrap_or(Err("timeout"))
    }

    fn is_here(&self, wire: Wire) -> Arc<Wire> {
        let wire = Arc::new(wire);
        self.wire.store(Some(wire.clone()));
        self.metrics.connects.inc();
        self.metrics.connected.set(1);
        self.away_logged.store(false, Ordering::Relaxed);
        tracing::info!("connected to Redis");
        wire
    }

    fn is_away(&self, why: &'static str) {
        self.wire.store(None);
        self.metrics.connected.set(0);
        if !self.away_logged.swap(true, Ordering::Relaxed) {
            tracing::error!(why, "Redis is away: nobody can log in until it is back; who is here goes on");
        }
    }

    async fn ping(&self, wire: &Wire) -> Result<(), &'static str> {
        let ping = wire.ping(&self.ping_key);
        match tokio::time::timeout(self.settings.timeout(), ping).await {
            Ok(Ok(())) => Ok(()),
            // It answers, and what it can do still, it should do.
            Ok(Err(error)) => match reason(&error) {
                "out_of_memory" | "cannot_persist" | "no_replicas" | "no_permission" => Ok(()),
                why => Err(why),
            },
            Err(_) => Err("timeout"),
        }
    }

    /// Whether the sentinels name another server than the one in use.
    async fn was_replaced(&self, first: usize, server: &str) -> bool {
        let asked = self.plan.server(first);
        match tokio::time::timeout(self.settings.connect_timeout(), asked).await {
            Ok(Ok(now)) => now.get_connection_info().addr().to_string() != server,
            // Sentinels that cannot be asked change nothing.
            _ => false,
        }
    }

    /// Whoever runs Redis should hear what makes it unfit. It is not refused: it may be a service whose settings are hidden.
    async fn look_at_server(&self, wire: &Wire) {
        let Wire::Single(_) = wire else { return };
        let mut info = cmd("INFO");
        info.arg("memory");
        let asked = wire.query::<String>(&info);
        let Ok(Ok(info)) = tokio::time::timeout(self.settings.timeout(), asked).await else { return };
        let policy = info.lines().find_map(|line| line.strip_prefix("maxmemory_policy:")).map(str::trim);
        if let Some(policy) = policy.filter(|policy| *policy != "noeviction") {
            tracing::warn!(
                policy,
                "Redis may drop logins and the counters of wrong codes when its memory is full: set maxmemory-policy to noeviction"
            );
        }
    }
}

async fn keep(kept: Weak<Kept>) {
    let mut pause = PAUSE.0;
    let mut first = 0;
    loop {
        let Some(this) = kept.upgrade() else { return };
        match this.connect(first).await {
            Ok((wire, server)) => {
                pause = PAUSE.0;
                this.look_at_server(&wire).await;
                let wire = this.is_here(wire);
                drop(this);
                let Some(why) = watch(&kept, &wire, server.as_deref(), first).await else { return };
                let Some(this) = kept.upgrade() else { return };
                this.is_away(why);
            }
            Err(why) => {
                // The next of the hosts may know more.
                first = (first + 1) % this.plan.hosts();
                this.metrics.failed_connects.inc();
                this.is_away(why);
                drop(this);
                tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
                pause = (pause * 2).min(PAUSE.1);
            }
        }
    }
}

/// Tries a connection until it fails, and says why. `None`: nobody needs it any more.
async fn watch(
    kept: &Weak<Kept>,
    wire: &Arc<Wire>,
    server: Option<&str>,
    first: usize,
) -> Option<&'static str> {
    let mut failed = 0;
    let mut asked = Instant::now();
    loop {
        {
            let this = kept.upgrade()?;
            let every = this.settings.ping().mul_f64(rand::random_range(0.75..1.0));
            let suspected = async {
                this.suspect.notified().await;
                // Many calls fail at once; one look is enough for all of them.
                tokio::time::sleep(Duration::from_millis(10)).await;
            };
            let _ = tokio::time::timeout(every, suspected).await;
        }
        let this = kept.upgrade()?;
        match this.ping(wire).await {
            Ok(()) => {
                failed = 0;
                // Calls may have given it up although it answers again.
                if this.wire.load().is_none() {
                    return Some("disconnected");
                }
            }
            Err(why) => {
                failed += 1;
                if matches!(**wire, Wire::Single(_)) || failed >= CLUSTER_PATIENCE {
                    return Some(why);
                }
            }
        }
        if let Some(server) = server.filter(|_| this.plan.has_sentinels() && asked.elapsed() >= ASK_SENTINELS)
        {
            asked = Instant::now();
            if this.was_replaced(first, server).await {
                return Some("replaced");
            }
        }
    }
}
