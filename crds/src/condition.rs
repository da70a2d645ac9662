//! Conditions: one thing that is so, is not so, or is not known, and why.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A condition, as Kubernetes' own resources have them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What it is about: Ready, Available, Progressing or Degraded.
    #[serde(rename = "type")]
    #[schemars(length(max = 64))]
    pub kind: String,
    /// True, False or Unknown.
    #[schemars(extend("enum" = ["True", "False", "Unknown"]))]
    pub status: String,
    /// Why, as one word for machines.
    #[schemars(length(max = 128))]
    pub reason: String,
    /// Why, as a sentence for people.
    #[schemars(length(max = 1024))]
    pub message: String,
    /// When its status changed last (RFC 3339).
    #[schemars(extend("format" = "date-time"))]
    pub last_transition_time: String,
    /// The generation of the resource that this was said of.
    pub observed_generation: i64,
}
