//! What every request handler and connection can reach.

use std::sync::Arc;

use super::http::HttpSettings;
use crate::{accounts::Accounts, backend::Mails, live::Hub, rooms::Rooms, translation::Translation};

/// Shared by all handlers and connections of a node.
pub struct App {
    /// This node's name, told to clients in `welcome`.
    pub node: String,
    /// Accounts.
    pub accounts: Arc<Accounts>,
    /// Rooms.
    pub rooms: Arc<Rooms>,
    /// Live delivery.
    pub hub: Arc<Hub>,
    /// Settings of HTTP.
    pub http: HttpSettings,
    /// Mails that can be read at `/dev/mailbox`: in `standalone`, and in clusters that are tested.
    pub mailbox: Option<Arc<dyn Mails>>,
    /// Translations, if somebody translates.
    pub translation: Option<Arc<Translation>>,
}
