//! Three etcd members form a cluster in seconds, and what they took survives the leader's `kill -9`.

use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn a_key_survives_the_death_of_the_leader() {
    let began = Instant::now();
    let Some(etcd) = rookery_testbed::etcd() else { return };
    assert!(began.elapsed() < Duration::from_secs(30), "formed after {:?}", began.elapsed());
    let mut client = etcd_client::Client::connect(etcd.endpoints(), None).await.unwrap();
    client.put("owner", "a", None).await.unwrap();

    let leader = etcd.leader().expect("a cluster that takes writes has a leader");
    etcd.kill(leader);
    while client.put("later", "b", None).await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(60), "no new leader");
    }
    assert_ne!(etcd.leader(), Some(leader));
    etcd.restart(leader);
    let mut restarted = etcd_client::Client::connect([&etcd.endpoints()[leader]], None).await.unwrap();
    for (key, value) in [("owner", "a"), ("later", "b")] {
        let found = restarted.get(key, None).await.unwrap();
        assert_eq!(found.kvs()[0].value_str().unwrap(), value);
    }
}
