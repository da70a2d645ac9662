//! WebSocket: handshake, frames, one task per connection.
mod codec;
