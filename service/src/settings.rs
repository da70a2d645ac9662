//! What all `Settings` structs share.
//!
//! Each part of a program has a `settings.rs` of its own with defaults that work; `config.rs` reads them all.

/// A setting that cannot be accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {why}")]
pub struct Wrong {
    /// Path of the key, for instance `edge.max_connections`.
    pub key: String,
    /// What it must be instead.
    pub why: String,
}
