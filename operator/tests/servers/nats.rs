//! NATS servers let each other in by a password, and nobody else.

use std::collections::BTreeMap;

use rookery_testbed::{Bed, find_program_or_say};
use serde_json::Value;

use crate::{Server, eventually, get};

const FIRST: u8 = 1;

#[test]
fn servers_make_a_cluster_and_let_nobody_else_in() {
    let Some(program) = find_program_or_say("nats-server") else { return };
    let bed = Bed::temporary();
    let secrets = BTreeMap::from([("nats-password", "p1234"), ("nats-route-password", "pcafe")]);
    let servers: Vec<_> = (0..3).map(|number| Server::new(&bed, "nats", number, FIRST, &secrets)).collect();
    let processes: Vec<_> = servers
        .iter()
        .enumerate()
        .map(|(number, server)| server.start(&bed, &program, &format!("nats-{number}")))
        .collect();
    let ask = |server: &Server, path: &str| -> Option<Value> {
        serde_json::from_str(&get(server.address, 8222, path)?).ok()
    };
    for (server, process) in servers.iter().zip(&processes) {
        eventually("it is ready, as the probe asks", process, || get(server.address, 8222, "/healthz"));
        // One that is not of this number of servers has no quorum to choose a leader.
        let leader = eventually("there is a leader of the cluster", process, || {
            let leader = ask(server, "/jsz")?["meta_cluster"]["leader"].as_str()?.to_owned();
            (!leader.is_empty()).then_some(leader)
        });
        assert!(leader.starts_with("tea-nats-"), "{leader}");
        let sync = ask(server, "/jsz").unwrap()["config"]["sync_always"].clone();
        assert_eq!(sync, true, "every write is synced");
    }
    // Somebody without the password.
    let conf = bed.dir().join("stranger.conf");
    let text = format!(
        "server_name: stranger\nlisten: \"{own}:4222\"\nhttp: \"{own}:8222\"\ncluster {{\n  name: tea\n  listen: \"{own}:6222\"\n  \
         routes: [\"nats-route://{}:6222\"]\n}}\n",
        servers[0].address,
        own = crate::address(FIRST + 10),
    );
    std::fs::write(&conf, text).unwrap();
    let stranger =
        bed.process("stranger", &program, vec!["--config".into(), conf.to_string_lossy().into_owned()]);
    stranger.start();
    eventually("he is refused", &processes[0], || {
        processes[0]
            .log_tail(200)
            .lines()
            .any(|line| line.to_lowercase().contains("authentication"))
            .then_some(())
    });
    let names = |server: &Server| -> Vec<String> {
        let routes = ask(server, "/routez").unwrap()["routes"].clone();
        let names = routes.as_array().into_iter().flatten().filter_map(|route| route["remote_name"].as_str());
        names.map(str::to_owned).collect()
    };
    for server in &servers {
        assert!(!names(server).iter().any(|name| name == "stranger"), "{:?}", names(server));
    }
    assert!(servers[0].dir.join("run/nats/nats.pid").exists(), "by which it is told to stop in peace");
}
