//! `rookery-node`: the chat node.
fn main() {}
