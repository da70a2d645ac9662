//! Nodes that ask each other, over real streams, with one log below them.

mod crowd;
mod declared;
mod faults;
mod forward;
mod links;
mod moves;
mod skew;
mod tls;
mod town;
mod wire;
