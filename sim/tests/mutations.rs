//! The checks notice when a safety of the core or of what lies below it is switched off.

use std::time::Duration;

use rookery_sim::{
    check::{DURABLE, EPOCHS, EXACT, ONCE, ORDER, STORED},
    plan::Mutation,
    sweep::Sweep,
};

/// Runs seeds until one breaks a promise: that must come within `seeds`, and one of `promises` must be among them.
/// Only the mutation is to blame: the same seed without it is a good run.
fn is_noticed(mutation: Mutation, seeds: u64, promises: &[&str]) {
    let sweep = Sweep {
        from: 1,
        at_least: seeds,
        at_most: seeds,
        budget: Duration::ZERO,
        mutation: Some(mutation),
        stop_at_first: true,
    };
    let summary = sweep.run();
    let Some(failure) = summary.failures.first() else {
        panic!("{mutation:?} went unnoticed in {} seeds", summary.seeds);
    };
    assert!(
        failure.broken.iter().any(|broken| promises.contains(&broken.promise)),
        "{mutation:?} was noticed, but not as one of {promises:?}: {failure:#?}"
    );
    assert_eq!(rookery_sim::run(failure.seed, None, false).broken, [], "seed {}", failure.seed);
}

#[test]
fn condition_off() {
    is_noticed(Mutation::ConditionOff, 200, &[ORDER, EPOCHS]);
}

#[test]
fn epoch_off() {
    is_noticed(Mutation::EpochOff, 200, &[EPOCHS]);
}

#[test]
fn dedupe_off() {
    is_noticed(Mutation::DedupeOff, 200, &[ONCE]);
}

#[test]
fn ack_before_commit() {
    is_noticed(Mutation::AckBeforeCommit, 200, &[DURABLE]);
}

#[test]
fn deliver_before_commit() {
    is_noticed(Mutation::DeliverBeforeCommit, 200, &[STORED]);
}

#[test]
fn gap_repair_off() {
    is_noticed(Mutation::GapRepairOff, 200, &[EXACT]);
}
