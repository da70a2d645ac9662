//! `kill -9` in a loop under load: what clients did and saw is compared with what is stored in the end.
//!
//! Several clients over HTTP and both subprotocols post, edit, delete and react with names of their own for every
//! message, reconnect where they were, and write down every request, answer and delivery. The server is killed at
//! random moments, also while it starts. Then the rules of `rookery_e2e::history` are applied.

mod synced;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use rookery_e2e::{
    PATIENCE,
    history::check,
    load::{self, Load, Manners},
    server::{Options, Server},
    service::{self, Service},
    user::User,
    ws::Subprotocol,
};

const ROOMS: usize = 4;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Promises 1-6 of the client API under `kill -9`.
#[test]
fn nothing_is_lost_doubled_or_reordered_by_kills() {
    if service::is_external() {
        return rookery_e2e::skipped("crash", "the service is not ours to kill");
    }
    let kills = number("ROOKERY_E2E_KILLS", 50);
    let seed = number("ROOKERY_E2E_SEED", u64::from(std::process::id()));
    println!("ROOKERY_E2E_SEED={seed} ROOKERY_E2E_KILLS={kills}");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let mut server = Server::start(Options::under_load().fixed_port());
    let (load, clients) = runtime.block_on(async {
        let service = Service::of(&server);
        let load = Arc::new(Load::new(&service, ROOMS).await);
        let manners =
            Manners { urls: vec![server.url()], give_up: PATIENCE, pause: Duration::from_millis(15) };
        let mut clients = Vec::new();
        for (number, subprotocol) in (0..).zip([Subprotocol::BOTH, Subprotocol::BOTH].concat()) {
            let user = load.member(&service, "socket").await;
            clients.push(tokio::spawn(load::run_socket(
                load.clone(),
                user,
                subprotocol,
                manners.clone(),
                seed ^ (number << 32),
            )));
        }
        for number in 0..2 {
            let user = load.member(&service, "caller").await;
            clients.push(tokio::spawn(load::run_http(
                load.clone(),
                user,
                manners.clone(),
                seed ^ ((100 + number) << 32),
            )));
        }
        (load, clients)
    });

    let mut random = StdRng::seed_from_u64(seed);
    let mut downtime = Vec::new();
    for _ in 0..kills {
        std::thread::sleep(Duration::from_millis(random.random_range(20..700)));
        server.kill();
        if random.random_bool(0.2) {
            // Again while it starts.
            server.spawn_again();
            std::thread::sleep(Duration::from_millis(random.random_range(0..60)));
            server.kill();
        }
        let began = Instant::now();
        server.spawn_again();
        server.await_ready();
        downtime.push(began.elapsed());
        assert!(!clients.iter().any(tokio::task::JoinHandle::is_finished), "a client gave up");
    }
    runtime.block_on(async {
        load.finish(&load.founder, PATIENCE * 3).await.expect("all is answered in the end");
        for client in clients {
            let ended = tokio::time::timeout(PATIENCE * 3, client).await;
            ended.expect("all is answered in the end").expect("a client ends without a complaint of its own");
        }
    });

    let reader: &User = &load.founder;
    let truth = runtime.block_on(load::read_truth(reader, &load.rooms));
    let history = load.history();
    downtime.sort();
    println!(
        "{kills} kills, ready again after {:?} (median) to {:?}; {} events; {}",
        downtime.get(downtime.len() / 2).copied().unwrap_or_default(),
        downtime.last().copied().unwrap_or_default(),
        truth.values().map(Vec::len).sum::<usize>(),
        load::summary(&history),
    );
    assert!(load::is_worth_something(&history, kills), "too little happened to prove anything");
    let faults = check(&history, &truth);
    let shown: Vec<_> = faults.iter().take(20).map(|fault| format!("{fault:?}")).collect();
    assert!(
        faults.is_empty(),
        "{} faults, with ROOKERY_E2E_SEED={seed}; the first:\n{}",
        faults.len(),
        shown.join("\n")
    );
    runtime.block_on(load::compare_with_pages(reader, &truth));
}
