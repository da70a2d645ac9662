//! A node of a cluster: the services that `standalone` has, too, on JetStream, etcd and Redis, and the other nodes.
//!
//! The order of the start: ports, then etcd and NATS (either may come up later than this node: both are waited for),
//! accounts and rooms, clients last. The order of the end is the other way round, with the rooms handed over first.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use rookery_core::ring::MemberState;
use tokio::sync::watch;

use crate::{
    accounts::Accounts,
    admin::{Admin, Control, OperatorToken},
    backend::{
        Mails,
        bus::{Bus, NatsBus},
        jetstream::{JetStream, NatsReminders},
        redis::Redis,
    },
    config::Settings,
    departures,
    edge::{App, ws::Edge},
    live::Hub,
    membership::{Me, Membership, Refused},
    neighbours,
    notices::{self, Running, Sources},
    peer::{Bound, Names, PeerError, Peers},
    rooms::Rooms,
    serve::{Drain, Ending, Process, greet},
    server::{Failure, Health, Readiness},
    telemetry::Metrics,
    translation::{Mode, OverNats, Translation},
};

/// Between two tries of something that was not there.
const PAUSE: Duration = Duration::from_millis(500);
/// etcd hears within this time that this node drains, or that it left; else the lease says so later.
const TELL: Duration = Duration::from_secs(2);
/// Seconds in which those who send clients here notice that the node is not ready any more.
const DRAIN_DELAY: u32 = 3;
/// How long a view of this node may lag behind its own key.
const SEE: Duration = Duration::from_secs(2);

/// Runs until a signal asks it to stop, and drains.
///
/// # Errors
/// [`Failure`]: what cannot be used, in words for whoever started it.
pub async fn run(mut settings: Settings) -> Result<(), Failure> {
    let node = settings.server.node_in_cluster().map_err(|wrong| Failure::Config(wrong.into()))?;
    settings.server.node = node;
    settings.edge.url_token.get_or_insert(false);
    settings.server.drain_delay_seconds.get_or_insert(DRAIN_DELAY);
    let mut process = Process::begin(&settings)?;
    let bound = Bound::new(settings.peer.clone()).await.map_err(peers_failed)?;
    let (metrics, readiness) = (process.metrics.clone(), process.readiness.clone());
    let begun = tokio::select! {
        begun = Node::begin(&settings, bound, &metrics, &readiness) => begun?,
        () = process.stopped() => return Ok(()),
    };
    let served = process.serve(begun.app.clone(), &settings)?;
    begun.steering.edge.set(served.edge().clone()).ok();
    begun.membership.set_state(MemberState::Active);
    process.readiness.serve();
    let (listen, management) = (served.address(), process.management);
    let took = process.started.elapsed();
    tracing::info!(%listen, %management, node = settings.server.node, ready_ms = took.as_millis(), "ready");
    greet(&format!(
        "Rookery node {} serves {}://{listen}/ in cluster {}.\n",
        settings.server.node,
        process.scheme(),
        settings.cluster.name
    ));

    let mut drain = Drain::of(&settings);
    let mut hold = Duration::ZERO;
    let refused = tokio::select! {
        () = process.stopped() => None,
        asked = begun.steering.asked() => {
            tracing::info!("draining: the operator asked for it");
            process.readiness.drain();
            drain.deadline = asked.deadline.unwrap_or(drain.deadline);
            hold = asked.hold;
            None
        }
        why = begun.refused() => {
            tracing::error!(%why, "draining: this node is no member of the cluster any more");
            process.readiness.drain();
            Some(why)
        }
    };
    let ending = drain.begin(Instant::now(), served.edge().registry.count());
    let drained = async {
        // Whoever comes meanwhile is served as before.
        let noticed = tokio::time::sleep(drain.delay);
        tokio::join!(begun.hand_over(ending.for_rooms(Instant::now())), noticed);
        let (window, more) = ending.for_clients(Instant::now());
        served.drain(window, more).await;
    };
    if process.unless_hurried(drained).await {
        let mut rest = ending.for_rest(Instant::now());
        if !hold.is_zero() {
            // Its key in etcd goes on saying that it drains.
            tracing::info!(seconds = hold.as_secs(), "drained; waiting to be stopped");
            let _ = tokio::time::timeout(hold, process.stopped()).await;
            rest = drain.deadline;
        }
        process.unless_hurried(begun.end(rest)).await;
    }
    refused.map_or(Ok(()), |why| Err(Failure::Dependency(why.to_string())))
}

/// What a node consists of.
struct Node {
    app: Arc<App>,
    membership: Arc<Membership>,
    peers: Peers,
    steering: Arc<Steering>,
    _notices: Running,
    _departures: departures::Running,
}

/// What the operator asks of this node.
struct Steering {
    membership: Arc<Membership>,
    readiness: Arc<Readiness>,
    edge: OnceLock<Arc<Edge>>,
    drain: watch::Sender<Option<Asked>>,
}

/// To drain.
#[derive(Debug, Clone, Copy)]
struct Asked {
    /// Within which time.
    deadline: Option<Duration>,
    /// And then to stay for so long, unless it is told to stop.
    hold: Duration,
}

impl Steering {
    /// Waits until it is asked to drain.
    async fn asked(&self) -> Asked {
        let mut asked = self.drain.subscribe();
        if let Ok(asked) = asked.wait_for(Option::is_some).await
            && let Some(asked) = *asked
        {
            return asked;
        }
        std::future::pending().await
    }
}

impl Control for Steering {
    fn drain(&self, deadline: Option<Duration>, hold: Duration) -> bool {
        let begins = !self.readiness.is_draining();
        let ask = Asked { deadline, hold };
        let begins = begins && self.drain.send_if_modified(|asked| asked.replace(ask).is_none());
        if begins {
            // Before who asked is told so: he takes the node out of the service next.
            self.readiness.drain();
        }
        begins
    }

    fn state(&self) -> &'static str {
        // As its key says; a node without one is about to join (again).
        self.membership.standing().borrow().state.unwrap_or(MemberState::Joining).name()
    }

    fn is_ready(&self) -> bool {
        self.readiness.report().0
    }

    fn connections(&self) -> u64 {
        self.edge.get().map_or(0, |edge| edge.registry.count() as u64)
    }
}

/// The port for other nodes is one like those for clients.
fn peers_failed(error: PeerError) -> Failure {
    match error {
        PeerError::Listen { address, why } => Failure::Listen { address, why, flag: "peer" },
        other => Failure::Other(other.to_string()),
    }
}

impl Node {
    async fn begin(
        settings: &Settings,
        bound: Bound,
        metrics: &Metrics,
        readiness: &Arc<Readiness>,
    ) -> Result<Self, Failure> {
        let cluster = &settings.cluster;
        let until = Instant::now() + Duration::from_secs(cluster.start_seconds.into());
        let node = settings.server.node.clone();
        let token = match &settings.peer.operator_token_file {
            Some(path) => {
                let token = OperatorToken::new(path).await;
                Some(Arc::new(token.map_err(|why| Failure::Other(why.to_string()))?))
            }
            None => None,
        };
        let address = cluster.advertised(bound.address());
        let refused = |why: Refused| Failure::Dependency(why.to_string());
        let me = Me { name: node.clone(), address };
        let membership = Membership::start(me, cluster, &settings.etcd, metrics.membership.clone());
        let membership = Arc::new(membership.map_err(refused)?);
        show_etcd(readiness, &membership);

        readiness.starting("waiting for NATS");
        let nats = connect_nats(settings, metrics, readiness, until).await?;
        let connected = Arc::downgrade(&nats);
        readiness.show("nats", true, move || {
            let good = connected.upgrade().is_some_and(|nats| nats.connected());
            let says = if good { "connected" } else { "away: sends are answered unavailable" };
            Health { good, says: says.to_owned() }
        });
        let redis = Redis::start(settings.redis.clone(), &cluster.name, metrics.redis.clone());
        let redis = redis.map_err(|error| Failure::Dependency(error.to_string()))?;
        let connected = Arc::downgrade(&redis);
        readiness.show("redis", false, move || {
            let good = connected.upgrade().is_some_and(|redis| redis.is_connected());
            let says = if good { "connected" } else { "away: nobody can log in; who is here keeps chatting" };
            Health { good, says: says.to_owned() }
        });

        readiness.starting("reading the keys of the accounts");
        let accounts = loop {
            let started = Accounts::start(
                settings.accounts.clone(),
                nats.clone(),
                redis.clone(),
                nats.clone(),
                metrics.accounts.clone(),
            );
            match started.await {
                Ok(accounts) => break accounts,
                Err(why) if Instant::now() >= until => {
                    return Err(Failure::Dependency(format!("cannot read the keys of the accounts: {why}")));
                }
                Err(why) => tracing::warn!(%why, "cannot read the keys of the accounts yet; trying on"),
            }
            tokio::time::sleep(PAUSE).await;
        };
        let hub = Arc::new(Hub::new(settings.live.clone(), metrics.live.clone()));
        nats.set_sink(hub.clone());
        hub.start(nats.clone());

        readiness.starting("waiting for etcd");
        joined(settings, &membership, until).await?;
        let view = membership.view();
        let first = view.borrow().clone();
        let rooms = Rooms::start(
            settings.rooms.clone(),
            &node,
            &first,
            nats.clone(),
            nats.clone(),
            metrics.rooms.clone(),
        );
        let sources = Sources {
            accounts: accounts.clone(),
            rooms: rooms.clone(),
            reminders: NatsReminders::new(nats.clone()),
            ephemeral: redis.clone(),
            outbox: nats.clone(),
            public_url: settings.http.public_url.clone(),
        };
        if settings.notices.enabled && settings.http.public_url.is_none() {
            tracing::warn!(
                "http.public_url is not set: mails about what is unread have no links, not even one to end them"
            );
        }
        let notices = notices::start(settings.notices.clone(), sources, metrics.notices.clone());
        let departures = departures::start(accounts.clone(), rooms.clone());
        let bus: Arc<dyn Bus> = NatsBus::new(nats.client(), &cluster.name, metrics.bus.clone());
        neighbours::join(&bus, &accounts, &rooms, &hub);
        let steering = Arc::new(Steering {
            membership: membership.clone(),
            readiness: readiness.clone(),
            edge: OnceLock::new(),
            drain: watch::Sender::new(None),
        });
        let names = Names { cluster: cluster.name.clone(), node: node.clone() };
        let admin = Admin {
            node: node.clone(),
            cluster: cluster.name.clone(),
            rooms: rooms.clone(),
            control: steering.clone(),
            users: accounts.clone(),
            pins: membership.clone(),
            token,
        };
        let hearing = Arc::downgrade(&membership);
        let on_behind = Box::new(move |revision| {
            if let Some(membership) = hearing.upgrade() {
                membership.hear_of(revision);
            }
        });
        let peers = bound.start(names, view, on_behind, rooms.clone(), admin.routes(), metrics.peer.clone());
        let peers = peers.map_err(peers_failed)?;
        let mailbox = settings.http.dev_mailbox.then(|| nats.clone() as Arc<dyn Mails>);
        if mailbox.is_some() {
            tracing::warn!("http.dev_mailbox is on: everybody can read all mails, with their codes");
        }
        let translation = (settings.translation.mode == Mode::Nats).then(|| {
            let asked = OverNats::new(nats.client(), &cluster.name);
            Translation::new(accounts.clone(), rooms.clone(), Arc::new(asked), metrics.translation.clone())
        });
        if let Some(translation) = &translation {
            translation.start(&hub);
        }
        let app = App { node, accounts, rooms, hub, http: settings.http.clone(), mailbox, translation };
        Ok(Self {
            app: Arc::new(app),
            membership,
            peers,
            steering,
            _notices: notices,
            _departures: departures,
        })
    }

    /// Waits until this node is refused; for ever if it is not.
    async fn refused(&self) -> Refused {
        let mut standing = self.membership.standing();
        if let Ok(standing) = standing.wait_for(|now| now.refused.is_some()).await
            && let Some(why) = standing.refused.clone()
        {
            return why;
        }
        std::future::pending().await
    }

    /// Says that this node drains: its rooms go to other nodes, which are asked from then on.
    async fn hand_over(&self, within: Duration) {
        let name = &self.membership.me().name;
        self.membership.set_state(MemberState::Draining);
        if !self.membership.is(MemberState::Draining, TELL.min(within)).await {
            tracing::warn!("etcd does not hear that this node drains; its rooms move when it is gone");
            return;
        }
        let mut view = self.membership.view();
        let seen = view.wait_for(|view| {
            view.members().iter().all(|member| member.name != *name || member.state == MemberState::Draining)
        });
        let _ = tokio::time::timeout(SEE.min(within), seen).await;
        if tokio::time::timeout(within, self.app.rooms.moved_away()).await.is_err() {
            tracing::warn!("not all rooms could be handed over in time; they are taken over instead");
        }
    }

    /// Ends what is under way, and the membership.
    async fn end(&self, within: Duration) {
        let until = Instant::now() + within;
        self.app.rooms.stop(within).await;
        self.peers.stop(TELL.min(until.saturating_duration_since(Instant::now()).max(Ending::LEAST))).await;
        if !self.membership.leave(TELL).await {
            tracing::warn!("etcd does not hear that this node leaves; its lease runs out by itself");
        }
    }
}

/// NATS may come up later than this node.
async fn connect_nats(
    settings: &Settings,
    metrics: &Metrics,
    readiness: &Readiness,
    until: Instant,
) -> Result<Arc<JetStream>, Failure> {
    loop {
        let metrics = metrics.nats.clone();
        let why = match JetStream::connect(&settings.nats, &settings.cluster.name, metrics).await {
            Ok(nats) => return Ok(nats),
            Err(why) => why,
        };
        if !why.passes() || Instant::now() >= until {
            return Err(Failure::Dependency(why.to_string()));
        }
        tracing::warn!(%why, "waiting for NATS");
        readiness.starting(&format!("waiting for NATS: {why}"));
        tokio::time::sleep(PAUSE).await;
    }
}

/// etcd, too.
async fn joined(settings: &Settings, membership: &Membership, until: Instant) -> Result<(), Failure> {
    let first = Duration::from_secs(3);
    let joined = async {
        if let Ok(joined) = tokio::time::timeout(first, membership.joined()).await {
            return joined;
        }
        tracing::warn!(endpoints = settings.etcd.endpoints.join(","), "waiting for etcd");
        membership.joined().await
    };
    match tokio::time::timeout_at(until.into(), joined).await {
        Ok(joined) => joined.map_err(|why| Failure::Dependency(why.to_string())),
        Err(_) => Err(Failure::Dependency(format!(
            "cannot become a member of the cluster in etcd at {} within {} s{}. Check etcd.endpoints and that its members run",
            settings.etcd.endpoints.join(", "),
            settings.cluster.start_seconds,
            membership
                .standing()
                .borrow()
                .failing
                .as_ref()
                .map_or_else(String::new, |why| format!(" ({why})"))
        ))),
    }
}

fn show_etcd(readiness: &Readiness, membership: &Arc<Membership>) {
    let membership = Arc::downgrade(membership);
    readiness.show("etcd", true, move || {
        let Some(membership) = membership.upgrade() else {
            return Health { good: false, says: "ended".to_owned() };
        };
        let standing = membership.standing().borrow().clone();
        let view = membership.view().borrow().clone();
        let (revision, members) = (view.revision(), view.members().len());
        let state = standing.state.map_or("no member", MemberState::name);
        let mut says = format!("{state}; {members} members as of revision {revision}");
        if let Some(why) = &standing.refused {
            says = why.to_string();
        } else if let (None, Some(why)) = (standing.state, &standing.failing) {
            says = format!("not reached: {why}");
        } else if standing.state.is_some() && !membership.may_claim() {
            // Not a reason to send clients away: all nodes would be in the same place.
            says.push_str("; etcd is away, the last view stays in force");
        }
        Health { good: standing.state == Some(MemberState::Active), says }
    });
}
