//! The load generator of Rookery, and the limits it compares with.
//!
//! `load/` is when and how late, `socket/` the connections, `target/` the servers as processes, `raw/` the servers
//! that only write, `bed/` one server under load, `commands/` what can be measured, `report` how it is told.

pub mod bed;
pub mod clock;
pub mod commands;
pub mod limits;
pub mod load;
pub mod raw;
pub mod report;
pub mod socket;
pub mod target;
