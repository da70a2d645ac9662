//! A cluster with users, in which rooms are made and connections opened.

use std::{cell::RefCell, sync::Arc};

use crate::{
    bed::{Bed, PATIENCE, Sending},
    load::stamp,
    socket::{Fleet, FleetSettings, SendTemplate, Wire},
    target::{Cluster, api},
};

/// Connections that send, spread over the nodes: a multiple of 1, 2, 3 and 4, so that each node has as many.
pub(in crate::commands) const SENDERS: usize = 24;
/// A password costs the server tens of milliseconds on purpose, so a few users have all the connections.
const USERS: usize = 3;

pub(in crate::commands) struct Town<'a> {
    pub(in crate::commands) cluster: &'a Cluster,
    wire: Wire,
    /// What stands in a message after its stamp.
    words: String,
    users: Vec<api::User>,
    run: String,
    /// Rooms that several measurements share.
    rooms: RefCell<Vec<String>>,
}

impl<'a> Town<'a> {
    /// With users of its own: what a `hello` costs depends on how many rooms its user is in.
    pub(in crate::commands) fn new(
        cluster: &'a Cluster,
        (wire, text_bytes): (Wire, usize),
    ) -> anyhow::Result<Self> {
        Self::saying(cluster, wire, &".".repeat(text_bytes.saturating_sub(stamp::LEN)))
    }

    /// The same, but for what is said.
    pub(in crate::commands) fn saying(cluster: &'a Cluster, wire: Wire, words: &str) -> anyhow::Result<Self> {
        let run = super::super::run_name();
        let users = api::users(cluster.http()?, USERS, &run)?;
        Ok(Self { cluster, wire, words: words.to_owned(), users, run, rooms: RefCell::default() })
    }

    /// So many rooms, the same at each call.
    pub(in crate::commands) fn rooms(&self, count: usize) -> anyhow::Result<Vec<String>> {
        let mut rooms = self.rooms.borrow_mut();
        if rooms.len() < count {
            let more = self.new_rooms(count - rooms.len())?;
            rooms.extend(more);
        }
        Ok(rooms[..count].to_vec())
    }

    /// Rooms that nobody else uses.
    pub(in crate::commands) fn new_rooms(&self, count: usize) -> anyhow::Result<Vec<String>> {
        api::rooms(self.cluster.http()?, &vec![self.users.iter().collect(); count])
    }

    /// Connections that send to these rooms, and `readers` that read all of them; both spread over the nodes.
    pub(in crate::commands) fn bed(&self, rooms: &[String], readers: usize) -> anyhow::Result<Bed> {
        self.bed_with_readers_at(rooms, readers, 1)
    }

    /// The same with all who read on one node.
    pub(in crate::commands) fn bed_read_on_one(
        &self,
        rooms: &[String],
        readers: usize,
    ) -> anyhow::Result<Bed> {
        self.bed_with_readers_at(rooms, readers, self.cluster.addresses().len())
    }

    /// Connections go to the nodes in turn: of the first ones each `every`th reads, and the others in between do nothing.
    fn bed_with_readers_at(&self, rooms: &[String], readers: usize, every: usize) -> anyhow::Result<Bed> {
        let first = readers * every;
        let hellos = (0..first + SENDERS).map(|conn| {
            let reads = conn < first && conn.is_multiple_of(every);
            self.hello(conn, if reads { rooms } else { &[] })
        });
        let sending = |(at, template): (usize, SendTemplate)| {
            let mut senders: Vec<usize> = (first..first + SENDERS).collect();
            // Else all rooms would be written to by the same connection at a time.
            senders.rotate_left(at % SENDERS);
            Sending { template, senders }
        };
        let sendings = self.templates(rooms)?.into_iter().enumerate().map(sending).collect();
        let servers = (self.cluster.addresses(), self.cluster.parts());
        Bed::on_cluster(servers, self.wire, hellos.collect(), sendings, readers as u64)
    }

    /// Connections that only send.
    pub(in crate::commands) fn fleet(&self) -> anyhow::Result<Fleet> {
        let servers = self.cluster.addresses();
        let mut fleet = Fleet::new(FleetSettings { servers, wire: self.wire, patience: PATIENCE })?;
        fleet.open_all((0..SENDERS).map(|conn| self.hello(conn, &[])))?;
        Ok(fleet)
    }

    /// How to send to each of these rooms.
    pub(in crate::commands) fn templates(&self, rooms: &[String]) -> anyhow::Result<Vec<SendTemplate>> {
        rooms.iter().map(|room| self.wire.send_words(room, &self.words, &self.run)).collect()
    }

    fn hello(&self, conn: usize, rooms: &[String]) -> Arc<[u8]> {
        self.wire.hello(&self.users[conn % self.users.len()].token, Some(rooms)).into()
    }
}
