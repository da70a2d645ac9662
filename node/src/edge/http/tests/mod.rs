//! HTTP over real sockets, on the store that standalone uses.

mod accounts;
mod client;
mod external;
mod limits;
mod manners;
mod notices;
mod rooms;
mod sessions;
mod users;
mod world;
