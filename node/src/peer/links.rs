//! The ways to all other nodes of the ring.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;
use rookery_core::ring::View;

use super::{
    link::{Common, Link, State},
    metrics::PeerMetrics,
    settings::PeerSettings,
};

/// Links to the nodes of the ring, by name.
pub(crate) struct Links {
    common: Arc<Common>,
    /// Replaced as a whole: a lookup costs no lock.
    links: ArcSwap<HashMap<String, Arc<Link>>>,
}

impl Links {
    pub(super) fn new(common: Common) -> Self {
        Self { common: Arc::new(common), links: ArcSwap::default() }
    }

    pub(crate) fn settings(&self) -> &PeerSettings {
        &self.common.settings
    }

    pub(crate) fn metrics(&self) -> &PeerMetrics {
        &self.common.metrics
    }

    /// The way to a node; `None`: it is none of the ring's.
    pub(crate) fn get(&self, node: &str) -> Option<Arc<Link>> {
        self.links.load().get(node).cloned()
    }

    /// Connects to the nodes that came. Those that went are let go when nobody waits for them any more.
    pub(super) fn change(&self, view: &View) {
        let before = self.links.load_full();
        let mut links = HashMap::new();
        for member in view.members().iter().filter(|member| member.name != self.common.me) {
            let kept = before
                .get(&member.name)
                .filter(|link| link.address() == member.address && !link.is_retired());
            let link = kept.cloned().unwrap_or_else(|| {
                let (name, address) = (&member.name, &member.address);
                Arc::new(Link::start(self.common.clone(), name, address, member.incarnation))
            });
            link.seen(member.incarnation);
            links.insert(member.name.clone(), link);
        }
        for (name, link) in before.iter() {
            // It may still answer what it was asked, or hand rooms over: it ends the stream itself.
            if !links.contains_key(name) && matches!(link.state(), State::Up(_)) {
                link.retire();
                links.insert(name.clone(), link.clone());
            }
        }
        self.links.store(Arc::new(links));
    }
}
