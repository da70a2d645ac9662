//! The promises, against a real etcd of three members.

mod secured;

use std::time::{Duration, Instant};

use rookery_core::ring::{Member, MemberState, SLOTS, Slot};
use rookery_protocol::id::RoomId;
use rookery_testbed::{EtcdCluster, EtcdOptions, Proxy};
use tokio::task::block_in_place;

use super::{ClusterSettings, EtcdSettings, Me, Membership, MembershipMetrics, Refused};

/// Everything here takes seconds; machines that run tests are busy.
const PATIENCE: Duration = Duration::from_secs(40);
const LEASE_SECONDS: u32 = 3;

fn etcd() -> Option<EtcdCluster> {
    block_in_place(rookery_testbed::etcd)
}

fn start_at(name: &str, address: &str, endpoints: Vec<String>, lease_seconds: u32) -> Membership {
    let cluster = ClusterSettings { lease_seconds, ..ClusterSettings::default() };
    let etcd = EtcdSettings { endpoints, relist_seconds: 1, ..EtcdSettings::default() };
    let me = Me { name: name.into(), address: address.into() };
    Membership::start(me, &cluster, &etcd, MembershipMetrics::default()).unwrap()
}

/// A member that lists so often, and what it counts.
async fn watching(endpoints: Vec<String>, relist_seconds: u32) -> (Membership, MembershipMetrics) {
    let cluster = ClusterSettings { lease_seconds: LEASE_SECONDS, ..ClusterSettings::default() };
    let etcd = EtcdSettings { endpoints, relist_seconds, ..EtcdSettings::default() };
    let me = Me { name: "watching".into(), address: "watching:7070".into() };
    let metrics = MembershipMetrics::default();
    let node = Membership::start(me, &cluster, &etcd, metrics.clone()).unwrap();
    (active_member(node).await, metrics)
}

async fn active_member(node: Membership) -> Membership {
    tokio::time::timeout(PATIENCE, node.joined()).await.expect("it joins in time").unwrap();
    node.set_state(MemberState::Active);
    assert!(node.is(MemberState::Active, PATIENCE).await);
    node
}

/// Waits until something holds that nobody is told of.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let waited = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waited).await.is_ok(), "never: {what}");
}

async fn join(name: &str, endpoints: Vec<String>) -> Membership {
    join_for(name, endpoints, LEASE_SECONDS).await
}

async fn join_for(name: &str, endpoints: Vec<String>, lease_seconds: u32) -> Membership {
    active_member(start_at(name, &format!("{name}:7070"), endpoints, lease_seconds)).await
}

/// Waits until `by` sees what `wanted` says of the node `name`.
async fn sees(by: &Membership, name: &str, wanted: impl Fn(Option<&Member>) -> bool) -> Option<Member> {
    let of = |view: &rookery_core::ring::View| view.members().iter().find(|m| m.name == name).cloned();
    let mut view = by.view();
    let seen = tokio::time::timeout(PATIENCE, view.wait_for(|view| wanted(of(view).as_ref()))).await;
    let seen = seen.unwrap_or_else(|_| panic!("{} does not see {name} so: {:?}", by.me().name, by.view()));
    of(&seen.unwrap())
}

fn active(member: Option<&Member>) -> bool {
    member.is_some_and(|member| member.state == MemberState::Active)
}

fn incarnation(node: &Membership) -> Option<u64> {
    node.standing().borrow().incarnation
}

/// Waits until a node may claim: on a busy machine an answer to its lease can be late.
async fn claims(node: &Membership) {
    until("it may claim", || node.may_claim()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_see_each_other_come_change_and_go() {
    let Some(etcd) = etcd() else { return };
    let one = join("one", etcd.endpoints()).await;
    let two = join_for("two", etcd.endpoints(), 60).await;
    for node in [&one, &two] {
        sees(node, "one", active).await;
        sees(node, "two", active).await;
    }
    claims(&one).await;
    claims(&two).await;
    // They agree about the revision, however each of them heard of it.
    let revision = two.view().borrow().revision();
    assert!(one.catch_up(revision, PATIENCE).await);
    assert_eq!(one.view().borrow().members(), two.view().borrow().members());

    two.set_state(MemberState::Draining);
    let draining = sees(&one, "two", |m| m.is_some_and(|m| m.state == MemberState::Draining)).await;
    let life = draining.map(|member| member.incarnation);
    assert_eq!(life, incarnation(&two), "a change of state is no new start");

    // Leaving does not wait for the lease, which is longer than all patience here; the change has a greater revision
    // than all before it.
    let before = one.view().borrow().revision();
    assert!(two.leave(PATIENCE).await);
    sees(&one, "two", |member| member.is_none()).await;
    assert!(one.view().borrow().revision() > before);
    assert!(!two.may_claim());

    // Its next life has a greater incarnation.
    let again = join("two", etcd.endpoints()).await;
    assert!(incarnation(&again) > life);
}

/// What another node has seen is looked for at once: the next list by itself is further away than all patience here.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_hears_of_a_revision_looks_at_once() {
    let Some(etcd) = etcd() else { return };
    let proxies: Vec<Proxy> = (0..etcd.len()).map(|member| Proxy::to(etcd.address(member))).collect();
    let endpoints = proxies.iter().map(|proxy| format!("http://{}", proxy.address())).collect();
    let cluster = ClusterSettings { lease_seconds: 60, ..ClusterSettings::default() };
    let rarely = EtcdSettings { endpoints, relist_seconds: 600, ..EtcdSettings::default() };
    let me = Me { name: "one".into(), address: "one:7070".into() };
    let metrics = MembershipMetrics::default();
    let one = Membership::start(me, &cluster, &rarely, metrics.clone()).unwrap();
    tokio::time::timeout(PATIENCE, one.joined()).await.expect("it joins in time").unwrap();
    // Nothing but writes that no node's key shows: its view stays as it is until it is told of a revision.
    let two = join("two", etcd.endpoints()).await;
    sees(&one, "two", active).await;
    let room = RoomId(7);
    two.pin(room, Some("blue"), PATIENCE).await.unwrap();
    two.pin(room, None, PATIENCE).await.unwrap();
    let (seen, lists) = (two.view().borrow().revision(), metrics.lists.get());
    // Three more than anybody has seen: etcd itself has to be asked about those, once and not for each message that tells of them.
    let begun = Instant::now();
    for _ in 0..200 {
        one.hear_of(seen + 3);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut view = one.view();
    let caught_up = view.wait_for(|view| view.revision() >= seen);
    tokio::time::timeout(PATIENCE, caught_up).await.expect("it looks").unwrap();
    let asked = async {
        while metrics.lists.get() == lists {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.expect("etcd is asked");
    let (asked, most) = (metrics.lists.get() - lists, 2 + begun.elapsed().as_secs());
    assert!(asked <= most, "{asked} times, not {most} at most");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_etcd_that_was_made_anew_is_joined_and_believed() {
    let bed = rookery_testbed::Bed::temporary();
    let options = EtcdOptions { bed: Some(bed.clone()), ..EtcdOptions::default() };
    let Some(etcd) = block_in_place(|| EtcdCluster::start(&options)) else { return };
    let one = join("one", etcd.endpoints()).await;
    let two = join("two", etcd.endpoints()).await;
    let gone = join("gone", etcd.endpoints()).await;
    for _ in 0..10 {
        one.pin(RoomId(7), Some("blue"), PATIENCE).await.unwrap();
        one.pin(RoomId(7), None, PATIENCE).await.unwrap();
    }
    sees(&one, "gone", active).await;
    let before = one.view().borrow().revision();
    block_in_place(|| {
        (0..etcd.len()).for_each(|member| etcd.kill(member));
        drop(gone);
        for member in 0..etcd.len() {
            std::fs::remove_dir_all(bed.dir().join(etcd.process(member).name())).unwrap();
        }
        (0..etcd.len()).for_each(|member| etcd.process(member).start());
        etcd.await_ready();
    });
    for node in [&one, &two] {
        for (name, there) in [("one", true), ("two", true), ("gone", false)] {
            sees(node, name, |member| active(member) == there).await;
        }
        let revision = node.view().borrow().revision();
        assert!(revision < before, "{revision} is not a new beginning after {before}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pin_is_seen_by_all_and_comes_back_if_it_is_lost() {
    let Some(etcd) = etcd() else { return };
    let one = join("one", etcd.endpoints()).await;
    let two = join("two", etcd.endpoints()).await;
    let room = RoomId(7);
    // By both: who still believes that a room is pinned so writes nothing.
    let sees_pin = async |shard: Option<&str>| {
        for node in [&one, &two] {
            let mut view = node.view();
            let seen = tokio::time::timeout(PATIENCE, view.wait_for(|view| view.pin(room) == shard)).await;
            assert!(seen.is_ok(), "{shard:?}: {:?}", node.view());
        }
    };
    one.pin(room, Some("blue"), PATIENCE).await.unwrap();
    assert_eq!(one.view().borrow().pin(room), Some("blue"), "who pinned it knows at once");
    sees_pin(Some("blue")).await;
    assert_eq!(two.view().borrow().members().len(), 2);
    // Nothing is written where it is so.
    let revision = one.view().borrow().revision();
    two.pin(room, Some("blue"), PATIENCE).await.unwrap();
    // One that starts sees it from the beginning, and that a member of etcd is gone changes nothing.
    block_in_place(|| etcd.kill(0));
    let three = join("three", etcd.endpoints()).await;
    assert_eq!(three.view().borrow().pin(room), Some("blue"));
    three.pin(room, Some("green"), PATIENCE).await.unwrap();
    sees_pin(Some("green")).await;
    assert!(two.view().borrow().revision() > revision);
    three.pin(room, None, PATIENCE).await.unwrap();
    sees_pin(None).await;
    one.pin(room, Some("blue"), PATIENCE).await.unwrap();
    sees_pin(Some("blue")).await;
    block_in_place(|| etcd.restart(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn members_of_etcd_may_die_or_hang_one_at_a_time() {
    let Some(etcd) = etcd() else { return };
    let one = join("one", etcd.endpoints()).await;
    let two = join("two", etcd.endpoints()).await;
    let lives = (incarnation(&one), incarnation(&two));
    for member in 0..3 {
        if member == 1 {
            block_in_place(|| etcd.pause(member));
        } else {
            block_in_place(|| etcd.kill(member));
        }
        // Whatever line they had: a change still goes from one to the other.
        for state in [MemberState::Draining, MemberState::Active] {
            two.set_state(state);
            sees(&one, "two", |m| m.is_some_and(|m| m.state == state)).await;
        }
        if member == 1 {
            block_in_place(|| etcd.resume(member));
        } else {
            block_in_place(|| etcd.restart(member));
        }
    }
    assert_eq!((incarnation(&one), incarnation(&two)), lives, "nobody was taken for gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_silent_longer_than_the_lease_comes_back_as_another() {
    let Some(etcd) = etcd() else { return };
    let (proxies, endpoints) = through(&etcd);
    let other = join("other", etcd.endpoints()).await;
    let silent = join("silent", endpoints).await;
    let first = sees(&other, "silent", active).await.unwrap().incarnation;

    proxies.iter().for_each(Proxy::cut);
    // It stops claiming before the others can take it for gone.
    let mut view = other.view();
    let gone = view.wait_for(|view| view.members().iter().all(|member| member.name != "silent"));
    let gone = tokio::time::timeout(PATIENCE, gone).await;
    assert!(!silent.may_claim(), "it claims what the others have taken from it");
    assert!(gone.is_ok());
    drop(gone);
    // The last view stays in force.
    assert_eq!(silent.view().borrow().members().len(), 2);

    proxies.iter().for_each(Proxy::heal);
    let back = sees(&other, "silent", active).await.unwrap();
    assert!(back.incarnation > first, "{} after {first}", back.incarnation);
    sees(&silent, "silent", |m| m.is_some_and(|m| m.incarnation == back.incarnation)).await;
    claims(&silent).await;
}

/// Proxies in front of all members, and where to connect instead.
fn through(etcd: &EtcdCluster) -> (Vec<Proxy>, Vec<String>) {
    let proxies: Vec<Proxy> =
        block_in_place(|| (0..etcd.len()).map(|member| Proxy::to(etcd.address(member))).collect());
    let endpoints = proxies.iter().map(|proxy| format!("http://{}", proxy.address())).collect();
    (proxies, endpoints)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_watch_loses_no_change() {
    let Some(etcd) = etcd() else { return };
    let (proxies, endpoints) = through(&etcd);
    // The next regular list comes after all patience: what the watch missed is found by the one that a new watch begins with.
    let (watching, _) = watching(endpoints, 60).await;
    let other = join("other", etcd.endpoints()).await;
    for round in 0..10 {
        proxies.iter().for_each(|proxy| if round % 2 == 0 { proxy.reset() } else { proxy.refuse() });
        let state = if round % 2 == 0 { MemberState::Draining } else { MemberState::Active };
        other.set_state(state);
        assert!(other.is(state, PATIENCE).await);
        proxies.iter().for_each(Proxy::heal);
        sees(&watching, "other", |m| m.is_some_and(|m| m.state == state)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_members_are_listed_again_whatever_the_watch_says() {
    let Some(etcd) = etcd() else { return };
    let (proxies, endpoints) = through(&etcd);
    let (watching, metrics) = watching(endpoints, 1).await;
    let other = join("other", etcd.endpoints()).await;
    sees(&watching, "other", active).await;
    // Nothing changes any more.
    let (lists, revision) = (metrics.lists.get(), watching.view().borrow().revision());
    until("it lists again", || metrics.lists.get() >= lists + 3).await;
    assert_eq!(watching.view().borrow().revision(), revision);
    // A watch that is open but silent would say so for ever: a list that is not answered ends it.
    proxies.iter().for_each(Proxy::cut);
    until("it knows that nobody tells it anything", || metrics.observer_connected.get() == 0).await;
    other.set_state(MemberState::Draining);
    assert!(other.is(MemberState::Draining, PATIENCE).await);
    proxies.iter().for_each(Proxy::heal);
    sees(&watching, "other", |m| m.is_some_and(|m| m.state == MemberState::Draining)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_say_how_many_slots_a_node_gets() {
    let Some(etcd) = block_in_place(rookery_testbed::etcd_single) else { return };
    let weighted = async |name: &str, shard: &str, weight, shard_weight| {
        let shard = shard.to_owned();
        let cluster = ClusterSettings { shard, weight, shard_weight, ..ClusterSettings::default() };
        let etcd = EtcdSettings { endpoints: etcd.endpoints(), ..EtcdSettings::default() };
        let me = Me { name: name.into(), address: format!("{name}:7070") };
        let node = Membership::start(me, &cluster, &etcd, MembershipMetrics::default()).unwrap();
        active_member(node).await
    };
    let light = weighted("light", "blue", 1, 1).await;
    let heavy = weighted("heavy", "blue", 3, 1).await;
    let aside = weighted("aside", "green", 1, 0).await;
    for node in [&light, &heavy, &aside] {
        for name in ["light", "heavy", "aside"] {
            sees(node, name, active).await;
        }
        let view = node.view().borrow().clone();
        let of = |name: &str| {
            let all = Slot::all();
            all.filter(|slot| view.owner(*slot, None).is_some_and(|owner| owner.name == name)).count()
        };
        let shares = (of("light"), of("heavy"), of("aside"));
        // A quarter of 4,096 and three, as far as hashing is even.
        assert!((850..=1_200).contains(&shares.0), "{shares:?}");
        assert_eq!((shares.0 + shares.1, shares.2), (usize::from(SLOTS), 0), "{shares:?}");
        // Only what is pinned there.
        let pinned = view.owner(Slot::all().next().unwrap(), Some("green"));
        assert_eq!(pinned.map(|owner| owner.name.as_str()), Some("aside"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_processes_with_one_name_one_is_refused() {
    let Some(etcd) = block_in_place(rookery_testbed::etcd_single) else { return };
    let first = join("node", etcd.endpoints()).await;
    let life = incarnation(&first);
    let second = start_at("node", "elsewhere:7070", etcd.endpoints(), LEASE_SECONDS);
    let refused = tokio::time::timeout(PATIENCE, second.joined()).await.expect("it gives up in time");
    let why = refused.unwrap_err();
    assert!(why.to_string().contains("node:7070"), "{why}");
    assert!(matches!(why, Refused::Taken { .. }));
    assert_eq!(incarnation(&first), life, "the first one was left alone");
    drop(second);

    // One that comes back at the same address replaces its predecessor at once, which ends.
    let after = join("node", etcd.endpoints()).await;
    assert!(incarnation(&after) > life);
    let mut standing = first.standing();
    let ended = tokio::time::timeout(PATIENCE, standing.wait_for(|now| now.refused.is_some())).await;
    assert!(matches!(ended.unwrap().unwrap().refused, Some(Refused::Taken { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_may_start_before_etcd_does() {
    let Some(etcd) = block_in_place(rookery_testbed::etcd_single) else { return };
    block_in_place(|| etcd.kill(0));
    let node = start_at("early", "early:7070", etcd.endpoints(), LEASE_SECONDS);
    let early = tokio::time::timeout(Duration::from_millis(500), node.joined()).await;
    assert!(early.is_err(), "there is no etcd to join");
    block_in_place(|| etcd.restart(0));
    tokio::time::timeout(PATIENCE, node.joined()).await.expect("it joins in time").unwrap();
}

/// Says as a member of etcd of which version it is, and knows nothing else.
async fn member_of(version: &'static str) -> String {
    let status = async move || {
        // A `StatusResponse` with its field 2, as one message of gRPC.
        let length = u8::try_from(version.len()).unwrap();
        let message = [&[0, 0, 0, 0, length + 2, 2 << 3 | 2, length], version.as_bytes()].concat();
        ([("content-type", "application/grpc"), ("grpc-status", "0")], message)
    };
    let routes = axum::Router::new().route("/etcdserverpb.Maintenance/Status", axum::routing::post(status));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let server = tonic::transport::Server::builder().add_routes(tonic::service::Routes::from(routes));
    tokio::spawn(server.serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(listener)));
    endpoint
}

#[tokio::test]
async fn an_etcd_that_is_too_old_is_refused_by_name() {
    let endpoint = member_of("3.5.21").await;
    let node = start_at("node", "node:7070", vec![endpoint.clone()], LEASE_SECONDS);
    let refused = tokio::time::timeout(PATIENCE, node.joined()).await.expect("it gives up in time");
    let why = refused.unwrap_err();
    assert_eq!(why, Refused::Version { endpoint: endpoint.clone(), found: "3.5.21".into() });
    let said = why.to_string();
    assert!(said.contains(&endpoint) && said.contains("3.5.30"), "{said}");
}
