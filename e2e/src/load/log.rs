//! The log of a room, as JetStream holds it: the only place where epochs can be seen.

use async_nats::{Client, Error, jetstream};
use rookery_core::{
    record::{Opened, Record},
    ring::slot_of,
};
use rookery_protocol::id::RoomId;

/// Streams of room logs, as nodes make them by default.
pub const LOG_STREAMS: u16 = 8;

/// The stream of a room's log.
///
/// # Panics
/// If that is no room's id.
pub fn stream_of(cluster: &str, room: &str) -> String {
    format!("{cluster}-log-{}", part_of(room.parse().expect("a room's id")))
}

fn part_of(room: RoomId) -> u16 {
    slot_of(room).number() % LOG_STREAMS
}

/// The nodes that wrote the rooms' last records: their owners, where all are written all the time.
///
/// # Errors
/// NATS does not answer, or holds something that is no record.
pub async fn owners(client: Client, cluster: &str, rooms: &[String]) -> Result<Vec<String>, Error> {
    let context = jetstream::new(client);
    let reading = rooms.iter().map(async |room| {
        let id: RoomId = room.parse()?;
        let stream = context.get_stream_no_info(stream_of(cluster, room)).await?;
        let subject = format!("{cluster}.log.{}.{room}.*", part_of(id));
        let last = stream.get_last_raw_message_by_subject(&subject).await?;
        Ok(Record::open(&last.payload, id)?.record.owner)
    });
    futures_util::future::try_join_all(reading).await
}

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
        let stream = context.get_stream_no_info(stream_of(cluster, room)).await?;
        let subject = format!("{cluster}.log.{}.{room}.*", part_of(id));
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
