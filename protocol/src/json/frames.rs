//! Which `t` stands for which body.

macro_rules! frames {
    ($($variant:ident $name:literal)*) => {
        /// The types of frames.
        #[derive(Clone, Copy)]
        pub(in crate::json) enum Kind { $($variant),* }

        impl crate::json::Type for Kind {
            fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }
        }

        impl Kind {
            /// Reads the whole frame as one of this type.
            pub(in crate::json) fn decode(self, text: &str) -> Result<Frame, crate::error::Reason> {
                Ok(match self { $(Self::$variant => Frame::$variant(crate::json::body(text)?)),* })
            }
        }

        /// Appends the frame.
        pub(in crate::json) fn encode(key: &str, number: Option<u64>, frame: Option<&Frame>, out: &mut Vec<u8>) {
            let number = (key, number);
            match frame {
                $(Some(Frame::$variant(body)) => crate::json::write($name, number, body, out),)*
                None => crate::json::write("", number, &crate::client::Ping {}, out),
            }
        }
    };
}

/// Client to node.
pub(super) mod client {
    use crate::client::client_frame::Frame;

    frames! {
        Hello "hello"
        Subscribe "subscribe"
        Unsubscribe "unsubscribe"
        Send "send"
        Edit "edit"
        Delete "delete"
        React "react"
        Unreact "unreact"
        Read "read"
        Typing "typing"
        Presence "presence"
        Refresh "refresh"
        Ping "ping"
    }
}

/// Node to client.
pub(super) mod server {
    use crate::client::server_frame::Frame;

    frames! {
        Ok "ok"
        Error "error"
        Welcome "welcome"
        Pong "pong"
        Message "message"
        Edited "edited"
        Deleted "deleted"
        Reaction "reaction"
        Member "member"
        Room "room"
        Typing "typing"
        Presence "presence"
        Read "read"
        Translation "translation"
        CaughtUp "caught_up"
        Resync "resync"
        Drain "drain"
    }
}
