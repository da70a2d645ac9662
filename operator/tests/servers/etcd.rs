//! A member of etcd that has lost its volume comes back as docs/operator.md says.

use std::{collections::BTreeMap, fs};

use etcd_client::{Client, GetOptions};
use rookery_testbed::{Bed, find_program_or_say};

use crate::{Server, eventually, get};

const FIRST: u8 = 21;

#[test]
fn a_member_that_has_lost_its_volume_is_removed_and_added_again() {
    let Some(program) = find_program_or_say("etcd") else { return };
    let bed = Bed::temporary();
    let server = |number: u8, state: &str| {
        Server::new(&bed, "etcd", number, FIRST, &BTreeMap::from([("initial-cluster-state", state)]))
    };
    let members: Vec<_> = (0..3).map(|number| server(number, "new")).collect();
    let processes: Vec<_> = members
        .iter()
        .enumerate()
        .map(|(number, server)| server.start(&bed, &program, &format!("etcd-{number}")))
        .collect();
    let ready = |server: &Server, process| {
        eventually("it is ready, as the probe asks", process, || get(server.address, 2381, "/readyz"));
    };
    for (server, process) in members.iter().zip(&processes) {
        ready(server, process);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let connect = |number: usize| {
        let endpoint = format!("http://{}:2379", members[number].address);
        runtime.block_on(Client::connect([endpoint], None)).unwrap()
    };
    let mut client = connect(0);
    // The next leader knows nothing of what the one before it had stored, and would take it back empty: so another one leads.
    let all = runtime.block_on(client.member_list()).unwrap();
    let id = |name: &str| all.members().iter().find(|member| member.name() == name).unwrap().id();
    if runtime.block_on(client.status()).unwrap().leader() == id("tea-etcd-1") {
        runtime.block_on(connect(1).move_leader(id("tea-etcd-0"))).unwrap();
    }
    runtime.block_on(client.put("/rookery/tea/a", "1", None)).unwrap();
    // It has that, which the leader knows by now.
    let mut own = connect(1);
    eventually("it follows", &processes[1], || {
        let local = GetOptions::new().with_serializable();
        let found = runtime.block_on(own.get("/rookery/tea/a", Some(local))).ok()?;
        (found.count() > 0).then_some(())
    });

    // Its volume is lost. It does not come back by itself.
    processes[1].kill();
    fs::remove_dir_all(members[1].dir.join("data")).unwrap();
    fs::create_dir_all(members[1].dir.join("data")).unwrap();
    let alone = server(1, "existing").start(&bed, &program, "etcd-1-alone");
    // Whether it ends or tries on: it is not ready.
    let patience = std::time::Duration::from_secs(3);
    let _ = alone.wait(patience);
    assert_eq!(get(members[1].address, 2381, "/readyz"), None, "{}", alone.log_tail(5));
    alone.kill();
    fs::remove_dir_all(members[1].dir.join("data")).unwrap();
    fs::create_dir_all(members[1].dir.join("data")).unwrap();

    // etcdctl member list, member remove, member add.
    let all = runtime.block_on(client.member_list()).unwrap();
    let lost = all.members().iter().find(|member| member.name() == "tea-etcd-1").unwrap();
    // Refused as long as the two have not been together for some seconds.
    eventually("it is removed", &processes[0], || runtime.block_on(client.member_remove(lost.id())).ok());
    let peer = format!("http://{}:2380", members[1].address);
    eventually("it is added", &processes[0], || {
        runtime.block_on(client.member_add([peer.clone()], None)).ok()
    });
    // And its container is started again, with the state that the operator has noted since all were there.
    let again = server(1, "existing");
    let process = again.start(&bed, &program, "etcd-1-again");
    ready(&again, &process);
    let mut own = connect(1);
    let found = runtime.block_on(own.get("/rookery/tea/a", None)).unwrap();
    assert_eq!(found.kvs()[0].value(), b"1");
    let quota = again.command.iter().any(|word| word == "--quota-backend-bytes=715827882");
    assert!(quota, "{:?}", again.command);
}
