//! Metrics of the membership.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use rookery_core::ring::{MemberState, View};

/// Metrics of the membership. Clones share them.
#[derive(Debug, Default, Clone)]
pub struct MembershipMetrics {
    members: Family<State, Gauge>,
    revision: Gauge,
    pins: Gauge,
    pub(super) incarnation: Gauge,
    pub(super) lease_remaining: Gauge<f64, AtomicU64>,
    pub(super) keep_alive_failures: Counter,
    pub(super) leases_lost: Counter,
    pub(super) keeper_connected: Gauge,
    pub(super) observer_connected: Gauge,
    pub(super) lists: Counter,
    pub(super) missed: Counter,
    pub(super) unreadable: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: &'static str,
}

impl MembershipMetrics {
    /// Adds them to `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let all = Self::default();
        let part = registry.sub_registry_with_prefix("rookery_membership");
        part.register("members", "Nodes in the cluster as this one sees it, by state", all.members.clone());
        part.register("view_revision", "Revision of the view of the members", all.revision.clone());
        part.register("pins", "Rooms that are pinned to a shard", all.pins.clone());
        part.register(
            "incarnation",
            "This node's incarnation; 0: it was never a member",
            all.incarnation.clone(),
        );
        part.register(
            "lease_remaining_seconds",
            "So long this node may claim what is its own, as of its last word to etcd",
            all.lease_remaining.clone(),
        );
        part.register(
            "keep_alive_failures",
            "Keep-alives that were not answered",
            all.keep_alive_failures.clone(),
        );
        part.register("leases_lost", "Times that the lease ran out", all.leases_lost.clone());
        part.register("lease_connected", "1: etcd answers about the lease", all.keeper_connected.clone());
        part.register(
            "watch_connected",
            "1: the watch of the members stands",
            all.observer_connected.clone(),
        );
        part.register("lists", "Lists of the members that were read", all.lists.clone());
        part.register(
            "changes_missed",
            "Changes that a list showed before the watch did",
            all.missed.clone(),
        );
        part.register("unreadable", "Members that could not be read", all.unreadable.clone());
        all
    }

    pub(super) fn view(&self, view: &View) {
        self.revision.set(i64::try_from(view.revision()).unwrap_or(i64::MAX));
        self.pins.set(i64::try_from(view.pins().len()).unwrap_or(i64::MAX));
        for state in MemberState::ALL {
            let count = view.members().iter().filter(|member| member.state == state).count();
            let label = State { state: state.name() };
            self.members.get_or_create(&label).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}
