//! What the nodes of a cluster tell each other beside the log, and what each does when it hears it.
//!
//! Here belongs only who is told what. How news travel is the business of `backend/bus/`; what they change, that of the services.

use std::sync::{Arc, Weak};

use rookery_protocol::id::RoomId;

use crate::{
    accounts::Accounts,
    backend::bus::{Bus, Listener, News, NodeRun, RoomNews},
    live::Hub,
    rooms::Rooms,
};

/// Weak: the services hold the bus, which holds its listener.
struct Neighbours {
    accounts: Weak<Accounts>,
    rooms: Weak<Rooms>,
    hub: Weak<Hub>,
}

/// Lets a node's services tell the other nodes, and hear them, from now on. Once, at the start, before clients come.
pub fn join(bus: &Arc<dyn Bus>, accounts: &Arc<Accounts>, rooms: &Arc<Rooms>, hub: &Arc<Hub>) {
    let neighbours = Neighbours {
        accounts: Arc::downgrade(accounts),
        rooms: Arc::downgrade(rooms),
        hub: Arc::downgrade(hub),
    };
    bus.listen(Arc::new(neighbours));
    hub.join(bus.clone());
    rooms.join_bus(bus.clone());
    accounts.join(bus.clone());
}

impl Listener for Neighbours {
    fn heard(&self, news: News) {
        match news {
            News::SessionEnded { .. }
            | News::UserLoggedOut { .. }
            | News::UserChanged { .. }
            | News::KeysChanged => {
                if let Some(accounts) = self.accounts.upgrade() {
                    accounts.heard(&news);
                }
            }
            News::Newcomer { .. } | News::Read { .. } => {
                if let Some(rooms) = self.rooms.upgrade() {
                    rooms.heard(&news);
                }
            }
            News::Unknown => {}
        }
    }

    fn heard_in(&self, room: RoomId, from: NodeRun, news: RoomNews) {
        if let Some(hub) = self.hub.upgrade() {
            hub.heard(room, from, news);
        }
    }

    fn silent(&self, node: NodeRun) {
        if let Some(hub) = self.hub.upgrade() {
            hub.silent(node);
        }
    }

    fn missed(&self) {
        if let Some(accounts) = self.accounts.upgrade() {
            accounts.missed();
        }
        if let Some(hub) = self.hub.upgrade() {
            hub.missed_news();
        }
    }
}
