//! Something that is done to a chat while clients come in through its Ingress, and the check of all that happened meanwhile. Each
//! round has rooms and users of its own, so that a broken promise is found near its cause.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use rookery_e2e::{
    history::{What, check, check_log, evidence, excused},
    load::{self, Load, Manners, Meter},
    service::Service,
    ws::Subprotocol,
};
use tokio::{runtime::Runtime, task::JoinHandle};

use crate::{
    chat::Chat,
    report::{Row, Traffic},
};

const ROOMS: usize = 6;
/// How long a room may stand still after everything was put right, and a client may take to its end.
const BOUND: Duration = Duration::from_secs(90);
/// Clients go on for so long before and after what is done.
const CALM: Duration = Duration::from_secs(3);

/// Clients that come in through an Ingress.
pub(crate) struct Clients {
    load: Arc<Load>,
    meter: Arc<Meter>,
    tasks: Vec<JoinHandle<()>>,
}

impl Clients {
    /// Makes rooms and clients, and lets them go: four over WebSocket, two over HTTP, and one that writes to all rooms without a pause.
    pub(crate) fn start(runtime: &Runtime, service: &Service, seed: u64) -> Self {
        let url = service.url().to_owned();
        let manners = Manners {
            urls: vec![url.clone()],
            give_up: Duration::from_secs(6),
            pause: Duration::from_millis(250),
        };
        runtime.block_on(async {
            let load = Arc::new(Load::new(service, ROOMS).await);
            let mut tasks = Vec::new();
            for (number, subprotocol) in (0..4).zip(Subprotocol::BOTH.into_iter().cycle()) {
                let user = load.member(service, "socket").await;
                let seed = seed ^ (number << 32);
                let run = load::run_socket(load.clone(), user, subprotocol, manners.clone(), seed);
                tasks.push(tokio::spawn(run));
            }
            for number in 0..2 {
                let user = load.member(service, "caller").await;
                let seed = seed ^ ((100 + number) << 32);
                tasks.push(tokio::spawn(load::run_http(load.clone(), user, manners.clone(), seed)));
            }
            let user = load.member(service, "meter").await;
            let meter = Meter::new(&load, user, vec![url]);
            tasks.extend((0..ROOMS).map(|room| tokio::spawn(meter.clone().run(room))));
            Self { load, meter, tasks }
        })
    }

    /// Waits until every room is written again.
    pub(crate) fn await_progress(&self) {
        assert!(!self.tasks.iter().any(JoinHandle::is_finished), "a client gave up");
        if let Err(rooms) = self.meter.progress(0, BOUND) {
            panic!("{rooms:#?} stood still for {BOUND:?}");
        }
    }

    /// Ends them, whatever they are at.
    pub(crate) fn abort(self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Does something under load, and checks that every promise was kept. Panics if not, or if what is done panics.
pub(crate) fn round(
    runtime: &Runtime,
    service: &Service,
    chat: &Chat,
    what: &'static str,
    act: impl FnOnce(&Clients) -> String,
) -> Row {
    let clients = Clients::start(runtime, service, 1);
    clients.await_progress();
    std::thread::sleep(CALM);
    let (began, clock) = (clients.load.now(), Instant::now());
    let done = catch_unwind(AssertUnwindSafe(|| {
        let said = act(&clients);
        let took = clock.elapsed();
        clients.await_progress();
        (said, took)
    }));
    let (said, took) = match done {
        Ok(done) => done,
        Err(panic) => {
            clients.abort();
            resume_unwind(panic);
        }
    };
    let healed = clients.load.now();
    std::thread::sleep(CALM);
    let (waits, failed) = clients.meter.between(began, healed);
    let traffic = finish(runtime, service, chat, clients);
    Row {
        what,
        said,
        took,
        wait: waits.into_iter().map(|(wait, _)| wait).max(),
        failed,
        traffic: Some(traffic),
    }
}

/// Lets clients finish, and compares what they saw with what every node and the log itself say.
fn finish(runtime: &Runtime, service: &Service, chat: &Chat, clients: Clients) -> Traffic {
    let Clients { load, tasks, .. } = clients;
    let reader = async |url: &str| {
        let login = async || load.founder.try_login(url).await;
        rookery_e2e::eventually("a reader is let in", login).await
    };
    runtime.block_on(async {
        let reader = reader(service.url()).await;
        load.finish(&reader, BOUND).await.unwrap_or_else(|why| panic!("{why}"));
        for task in tasks {
            let ended = tokio::time::timeout(BOUND, task).await;
            ended
                .expect("every client is answered in the end")
                .expect("and ends without a complaint of its own");
        }
    });
    let nodes = chat.forward_nodes();
    let truths = nodes.iter().map(|node| {
        runtime.block_on(async {
            let reader = reader(&node.url()).await;
            let truth = load::read_truth(&reader, &load.rooms).await;
            load::compare_with_pages(&reader, &truth).await;
            truth
        })
    });
    let truths: Vec<_> = truths.collect();
    for (node, truth) in truths.iter().enumerate().skip(1) {
        assert!(*truth == truths[0], "node {node} tells another history than node 0");
    }
    let truth = &truths[0];
    let history = load.history();
    let mut broken = check(&history, truth);
    let (nats, password) = chat.forward_nats();
    let logs = runtime.block_on(async {
        let options = async_nats::ConnectOptions::with_user_and_password("rookery".to_owned(), password);
        load::read_log(options.connect(nats.address()).await?, &chat.name, &load.rooms).await
    });
    let logs = logs.unwrap_or_else(|error| panic!("the log cannot be read: {error}"));
    drop(nats);
    for (room, records) in &logs {
        broken.extend(check_log(room, records, &truth[room]));
    }
    for fault in broken.iter().take(10) {
        println!("BROKEN {fault:?}");
        evidence(&history, fault).iter().for_each(|line| println!("    {line}"));
    }
    assert!(broken.is_empty(), "{} promises broken; the first: {:?}", broken.len(), broken[0]);
    println!("    {}", load::summary(&history));
    let count = |is: fn(&What) -> bool| history.entries.iter().filter(|entry| is(&entry.what)).count();
    let traffic = Traffic {
        acked: count(|what| matches!(what, What::Acked { .. })),
        delivered: count(|what| matches!(what, What::Delivered { .. })),
        excused: excused(&history, truth).len(),
    };
    assert!(
        traffic.acked > 100 && traffic.delivered > 400,
        "too little happened to prove anything: {traffic:?}"
    );
    traffic
}
