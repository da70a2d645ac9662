//! The checks notice when a safety of the core or of what lies below it is switched off.

use rookery_sim::{
    check::{DURABLE, EPOCHS, EXACT, FOLLOWS, ONCE, ORDER, STORED},
    plan::Mutation,
};

/// Seeds within which a mutation must be noticed.
const WITHIN: u64 = 50;

/// Runs seeds until one breaks `promise`. Only the mutation is to blame: the same seed without it is a good run.
fn is_noticed(mutation: Mutation, promise: &str) {
    let breaks = |seed: &u64| {
        let broken = rookery_sim::run(*seed, Some(mutation), false).broken;
        broken.iter().any(|broken| broken.promise == promise)
    };
    let Some(seed) = (1..=WITHIN).find(breaks) else {
        panic!("{mutation:?} went unnoticed in {WITHIN} seeds");
    };
    assert_eq!(rookery_sim::run(seed, None, false).broken, [], "seed {seed}");
}

#[test]
fn condition_off() {
    is_noticed(Mutation::ConditionOff, ORDER);
}

#[test]
fn epoch_off() {
    is_noticed(Mutation::EpochOff, EPOCHS);
}

#[test]
fn fence_off() {
    is_noticed(Mutation::FenceOff, EPOCHS);
}

#[test]
fn dedupe_off() {
    is_noticed(Mutation::DedupeOff, ONCE);
}

#[test]
fn ack_before_commit() {
    is_noticed(Mutation::AckBeforeCommit, DURABLE);
}

#[test]
fn deliver_before_commit() {
    is_noticed(Mutation::DeliverBeforeCommit, STORED);
}

#[test]
fn gap_repair_off() {
    is_noticed(Mutation::GapRepairOff, EXACT);
}

#[test]
fn old_heads() {
    is_noticed(Mutation::OldHeads, FOLLOWS);
}
