//! An owner that dies is followed at once: nobody waits until its lease has run out.

use rookery_e2e::load;
use rookery_testbed::ClusterOptions;
use tokio::task::block_in_place;

use crate::support::{RECOVERY, options, post, start, user_at};

/// So many that the node that dies owns some.
const ROOMS: usize = 12;
/// Longer than any send may take: what is sent within [`RECOVERY`] has not waited for it.
const LEASE: u64 = 60;

#[tokio::test(flavor = "multi_thread")]
async fn rooms_of_a_dead_owner_are_written_long_before_its_lease_ends() {
    assert!(RECOVERY.as_secs() * 2 <= LEASE);
    let mut options = options();
    options.settings.push(("ROOKERY_CLUSTER__LEASE_SECONDS".to_owned(), LEASE.to_string()));
    options.shards = ["main"; 2].map(str::to_owned).to_vec();
    let options = ClusterOptions { nats_servers: 1, etcd_members: 1, ..options };
    let Some(cluster) = start(&options) else { return };
    let ada = user_at(&cluster, 0, "ada").await;
    let mut rooms = Vec::new();
    for _ in 0..ROOMS {
        let room = ada.room_with(&[]).await;
        post(&ada, &room, "before").await;
        rooms.push(room);
    }
    let nats = async_nats::connect(cluster.nats().urls()).await.expect("NATS serves");
    let owners = load::owners(nats.clone(), &options.name, &rooms).await.expect("rooms have logs");
    let lost: Vec<_> =
        rooms.iter().zip(&owners).filter(|(_, owner)| *owner == "node-1").map(|(room, _)| room).collect();
    assert!(!lost.is_empty(), "{owners:?}");

    block_in_place(|| cluster.nodes()[1].process().kill());
    for room in lost {
        post(&ada, room, "after").await;
    }
    let owners = load::owners(nats, &options.name, &rooms).await.expect("rooms have logs");
    assert!(owners.iter().all(|owner| owner == "node-0"), "{owners:?}");
}
