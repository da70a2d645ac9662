//! Why a frame is refused.

use std::borrow::Cow;

use crate::client::{Error, ServerFrame, server_frame::Frame};

/// A frame that cannot be taken. Holds nothing of what the frame said but its `id` and the name of its type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct FrameError {
    /// The frame's `id` (from a node: its `re`), where it could be read: what the answer repeats as `re`.
    pub id: Option<u64>,
    /// What is wrong.
    pub reason: Reason,
}

/// What is wrong with a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Longer than allowed. It was not looked into.
    #[error("A frame has at most {limit} bytes here.")]
    TooLarge {
        /// Bytes allowed.
        limit: usize,
    },
    /// No JSON object, or no Protobuf message.
    #[error("{0}")]
    Malformed(&'static str),
    /// A type that this version does not know: its first 32 characters, or in Protobuf its field's number.
    #[error("There is no frame of type \"{0}\".")]
    UnknownType(String),
    /// A field is missing or wrong.
    #[error("The field {field} {why}.")]
    Invalid {
        /// Which field of the frame.
        field: Cow<'static, str>,
        /// What is wrong with it, to follow the field's name in a sentence.
        why: Cow<'static, str>,
    },
}

impl Reason {
    /// The stable word for the answer's `code`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "frame_too_large",
            Self::Malformed(_) => "malformed",
            Self::UnknownType(_) => "unknown_type",
            Self::Invalid { .. } => "invalid",
        }
    }
}

impl FrameError {
    /// The `error` frame that answers it.
    pub fn answer(&self) -> ServerFrame {
        ServerFrame {
            re: self.id,
            frame: Some(Frame::Error(Error {
                code: self.reason.code().to_owned(),
                message: self.reason.to_string(),
                retry_after_ms: None,
                room: None,
            })),
        }
    }
}
