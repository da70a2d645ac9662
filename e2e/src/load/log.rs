//! The log of a room, as JetStream holds it: the only place where epochs can be seen.

use async_nats::{Client, Error, jetstream};
use rookery_core::{
    record::{Opened, Record},
    ring::slot_of,
};
use rookery_protocol::id::RoomId;

/// Streams of room logs, as nodes make them by default.
pub const LOG_STREAMS: u16 = 8;

/// All records of rooms, each room's oldest first, read from the leaders of their streams. `cluster` is the cluster's name.
///
/// # Errors
/// NATS does not answer, or holds something that is no record.
pub async fn read(
    client: Client,
    cluster: &str,
    rooms: &[String],
) -> Result<Vec<(String, Vec<Opened>)>, Error> {
    let context = jetstream::new(client);
    let reading = rooms.iter().map(async |room| {
        let id: RoomId = room.parse()?;
        let part = slot_of(id).number() % LOG_STREAMS;
        let stream = context.get_stream_no_info(format!("{cluster}-log-{part}")).await?;
        let subject = format!("{cluster}.log.{part}.{room}.*");
        let last = stream.get_last_raw_message_by_subject(&subject).await?.sequence;
        let (mut records, mut next) = (Vec::new(), 0);
        while next <= last {
            let message = stream.get_first_raw_message_by_subject(&subject, next).await?;
            records.push(Record::open(&message.payload, id)?);
            next = message.sequence + 1;
        }
        Ok((room.clone(), records))
    });
    futures_util::future::try_join_all(reading).await
}
