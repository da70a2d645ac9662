//! The core keeps every promise in thousands of bad days, and a bad day can be had again.

use std::time::Duration;

use rookery_sim::{plan::Mutation, sweep::Sweep};

/// Seeds that broke a promise once. What a seed does changes with the simulator: each fault has a test of its own too.
const REGRESSIONS: &[u64] = &[
    // A successor read the tail just before its predecessor handed over, and the snapshot just after.
    244, 263,
];

#[test]
fn every_promise_holds() {
    // Nightly runs begin elsewhere.
    let from = std::env::var("ROOKERY_SIM_FROM").ok().and_then(|from| from.parse().ok()).unwrap_or(1);
    let summary = Sweep {
        from,
        at_least: 2_000,
        at_most: 100_000,
        budget: Duration::from_secs(20),
        mutation: None,
        stop_at_first: true,
    }
    .run();
    if let Some(failure) = summary.failures.first() {
        panic!("{failure:#?}\nagain: {}", failure.replay(None));
    }
    // A simulator in which nothing happens keeps every promise too.
    assert!(
        summary.stored > summary.seeds
            && summary.delivered > summary.stored
            && summary.faults > summary.seeds
    );
}

#[test]
fn what_broke_once_holds() {
    for &seed in REGRESSIONS {
        assert_eq!(rookery_sim::run(seed, None, false).broken, [], "seed {seed}");
    }
}

#[test]
fn a_seed_is_one_run() {
    for (seed, mutation) in (1..=20).map(|seed| (seed, None)).chain([(1, Some(Mutation::ConditionOff))]) {
        let (first, second) =
            (rookery_sim::run(seed, mutation, true), rookery_sim::run(seed, mutation, true));
        assert!(!first.trace.is_empty());
        assert_eq!(first.trace, second.trace, "seed {seed}");
        assert_eq!(first.broken, second.broken, "seed {seed}");
        // Watching changes nothing.
        let unwatched = rookery_sim::run(seed, mutation, false);
        assert_eq!((unwatched.stored, unwatched.delivered), (first.stored, first.delivered), "seed {seed}");
    }
}
