//! Faults of every part of a cluster, one after the other, while clients on all nodes write and follow: every promise of the
//! client API holds, and rooms are written again soon after.
//!
//! By default a few fixed faults; `ROOKERY_E2E_FAULTS=1000` does so many that `ROOKERY_E2E_SEED` chooses. What is checked is in
//! `rookery_e2e::history`, which faults there are in `rookery_testbed::Fault`.
//!
//! The fixed faults catch a node that takes an append of unknown outcome for committed (178 broken promises, the first a lost
//! acknowledgement), and one that remembers no `client_msg_id` (5, each a message that is stored twice).

#![allow(clippy::print_stdout, reason = "what a long run does is shown while it runs")]

mod meter;
mod plan;
mod report;
mod round;

use std::time::{Duration, Instant};

use rand::{SeedableRng as _, rngs::StdRng};
use rookery_e2e::{
    server::{self, Options},
    service,
};
use rookery_testbed::{Cluster, ClusterOptions};

use plan::Step;
use report::Report;
use round::Round;

/// Faults of one round.
const ROUND: usize = 20;
/// A short run begins no further fault after this, on machines so busy that it would take too long.
const SMOKE: Duration = Duration::from_secs(55);

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text}: must be a number")))
}

/// Promises 1-6 of the client API, and progress, under faults of every part.
#[test]
fn promises_hold_under_faults_of_every_part() {
    if service::is_external() {
        return rookery_e2e::skipped("faults", "the service is not ours to break");
    }
    let faults = number("ROOKERY_E2E_FAULTS").map(|count| usize::try_from(count).expect("a count"));
    let seed = number("ROOKERY_E2E_SEED").unwrap_or(if faults.is_some() {
        u64::from(std::process::id())
    } else {
        1
    });
    println!("ROOKERY_E2E_SEED={seed}");
    let options = ClusterOptions {
        // One shard, so that every room has somewhere to go when its owner is gone.
        shards: ["main"; 3].map(str::to_owned).to_vec(),
        proxied: true,
        settings: Options::under_load().environment().to_vec(),
        ..ClusterOptions::of(server::program())
    };
    let began = Instant::now();
    let Some(cluster) = Cluster::start(&options) else {
        return rookery_e2e::skipped("faults", "the servers of a cluster are not installed: scripts/servers");
    };
    println!("the cluster serves after {:?}", began.elapsed());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let mut random = StdRng::seed_from_u64(seed);
    let mut report = Report { seed, ..Report::default() };
    while report.outcomes.len() < faults.unwrap_or(1) {
        let steps: Vec<Step> = match faults {
            Some(count) => {
                let left = count - report.outcomes.len();
                (0..left.min(ROUND)).map(|_| plan::any(&mut random)).collect()
            }
            None => plan::smoke(),
        };
        let round = Round::begin(&cluster, &runtime, &mut random);
        let stopped = steps
            .into_iter()
            .take_while(|_| faults.is_some() || began.elapsed() < SMOKE)
            .try_for_each(|step| round.step(step, &mut report))
            .and_then(|()| round.end(&mut report));
        report.took = began.elapsed();
        if let Err(stopped) = stopped {
            report.broken.push(stopped);
            break;
        }
    }
    report.publish();
    assert!(
        report.broken.is_empty(),
        "{} promises broken with ROOKERY_E2E_SEED={seed}; the first:\n{}",
        report.broken.len(),
        report.broken.iter().take(20).cloned().collect::<Vec<_>>().join("\n")
    );
    assert!(report.acked > report.outcomes.len() * 10, "too little happened to prove anything");
    drop(cluster);
}
