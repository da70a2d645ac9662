//! What a room accepts at most.

/// Limits of rooms. Lengths of texts are in characters (Unicode scalar values), not bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Length of a message; at most [`MAX_TEXT_CHARS`] counts.
    pub text_chars: usize,
    /// Members of a room.
    pub members: usize,
    /// Events are kept for so many days; `u32::MAX`: for ever. No room keeps them longer.
    pub retention_days: u32,
    /// First members named at creation, the maker included.
    pub founding_members: usize,
    /// Bans, and mutes, in force in a room.
    pub sanctions: usize,
    /// Mentions in a message; further ones stay plain text.
    pub mentions: usize,
    /// Different emojis on a message.
    pub emojis: usize,
    /// Reactions on a message in all: they are stored as one row.
    pub reactions: usize,
    /// How long a `client_msg_id` is remembered, milliseconds; 0: not at all (for tests of the tests alone).
    pub dedupe_window_ms: i64,
    /// How wrong clients' clocks may be, milliseconds: a dated `client_msg_id` is stale only if it is older
    /// than the window by this much, and ids are remembered for the window and twice this.
    pub clock_skew_ms: i64,
    /// `client_msg_id`s remembered in a room, at most (about 100 bytes each). At the bound posting is
    /// refused with `Limit` until the oldest has passed the window: nothing is forgotten early.
    pub dedupe_entries: usize,
    /// Message heads kept in memory.
    pub heads: usize,
    /// Bytes of message heads kept in memory, about.
    pub heads_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            text_chars: 4_000,
            members: 1_000_000,
            retention_days: u32::MAX,
            founding_members: 100,
            sanctions: 10_000,
            mentions: 50,
            emojis: 20,
            reactions: 5_000,
            dedupe_window_ms: 3_600_000,
            clock_skew_ms: 300_000,
            dedupe_entries: 1_000_000,
            heads: 1_024,
            heads_bytes: 4 << 20,
        }
    }
}

/// No setting makes messages longer than this: each must fit into a record.
pub const MAX_TEXT_CHARS: usize = 100_000;
/// Length of a room's name.
pub const NAME_CHARS: usize = 100;
/// Length of a topic.
pub const TOPIC_CHARS: usize = 500;
/// Longest slow mode, seconds.
pub const SLOW_MODE_SECONDS: u32 = 21_600;
/// Length of a `client_msg_id`.
pub const CLIENT_MSG_ID_CHARS: usize = 64;
/// Bytes of an emoji.
pub const EMOJI_BYTES: usize = 64;
/// Seqs of mentions remembered per user.
pub const MENTIONS_KEPT: usize = 100;
