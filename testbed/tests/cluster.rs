//! Faults of a cluster hit what they name, nothing else, and end.
//!
//! Its nodes are a script that asks what the test tells it to ask: whose connections are cut is looked at, not what
//! Rookery makes of it.

mod support;

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use rookery_testbed::{Bed, Cluster, ClusterOptions, Fault};

/// Whether a node gets an answer from an address.
fn reaches(bed: &Bed, node: usize, address: SocketAddr) -> bool {
    let dir = bed.dir().join(format!("node-{node}"));
    fs::write(dir.join("ask"), address.to_string()).expect("a file can be written");
    let told = rookery_testbed::eventually(
        "the node says what it was told",
        || fs::read_to_string(bed.dir().join(format!("node-{node}.log"))).unwrap_or_default(),
        || fs::read_to_string(dir.join("told")).ok(),
    );
    fs::remove_file(dir.join("told")).expect("it is there");
    !told.starts_with("cut") && !told.is_empty()
}

/// Whether Redis answers at an address.
fn redis_answers(address: SocketAddr) -> bool {
    let mut socket = TcpStream::connect(address).expect("proxies accept always");
    socket.set_read_timeout(Some(Duration::from_secs(1))).expect("a socket works");
    socket.write_all(b"PING\r\n").expect("a socket works");
    socket.read_exact(&mut [0; 5]).is_ok()
}

#[test]
fn faults_hit_what_they_name_and_end() {
    let bed = Bed::temporary();
    let options = ClusterOptions {
        nats_servers: 1,
        etcd_members: 1,
        proxied: true,
        bed: Some(bed.clone()),
        ..ClusterOptions::of(support::node_program(bed.dir()))
    };
    let Some(cluster) = Cluster::start(&options) else { return };
    let peer = |node: usize| cluster.links(node).to_peer().address();
    let all = |from: usize| (0..3).map(|to| reaches(&bed, from, peer(to))).collect::<Vec<_>>();
    assert_eq!([all(0), all(1), all(2)], [[true; 3]; 3]);

    Fault::Part(0, 1).begin(&cluster);
    assert_eq!([all(0), all(1), all(2)], [[true, false, true], [false, true, true], [true; 3]]);
    Fault::Part(0, 1).end(&cluster);
    Fault::CutPeers(2).begin(&cluster);
    assert_eq!(
        [all(0), all(1), all(2)],
        [[true, true, false], [true, true, false], [false, false, true]],
        "it still reaches itself"
    );
    Fault::CutPeers(2).end(&cluster);
    assert_eq!([all(0), all(1), all(2)], [[true; 3]; 3]);

    let redis = |node: usize| cluster.links(node).redis().address();
    Fault::CutRedis(1).begin(&cluster);
    assert_eq!([0, 1, 2].map(|node| redis_answers(redis(node))), [true, false, true]);
    Fault::CutRedis(1).end(&cluster);
    Fault::PauseRedis.begin(&cluster);
    assert!(!redis_answers(redis(0)));
    Fault::PauseRedis.end(&cluster);
    assert!(redis_answers(redis(0)));

    Fault::KillNode(0).begin(&cluster);
    assert!(!cluster.nodes()[0].is_ready());
    assert!(!reaches(&bed, 1, peer(0)));
    Fault::KillNode(0).end(&cluster);
    assert!(reaches(&bed, 1, peer(0)));

    assert_eq!(cluster.stop(Duration::from_secs(20)), Vec::<String>::new(), "all end when they are asked to");
}
