//! Rooms say whether their messages may be translated.

use async_trait::async_trait;
use rookery_protocol::id::RoomId;

use crate::rooms::Rooms;

/// Who knows which rooms allow it.
#[async_trait]
pub trait Allows: Send + Sync {
    /// Whether a room's messages may be translated. `None`: that cannot be found out now.
    async fn allows(&self, room: RoomId) -> Option<bool>;
}

#[async_trait]
impl Allows for Rooms {
    async fn allows(&self, room: RoomId) -> Option<bool> {
        self.may_translate(room).await.ok()
    }
}
