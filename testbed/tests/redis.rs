//! Redis: serves at once, is paused and goes on, forgets or keeps by choice.

use redis::Commands as _;
use rookery_testbed::{Redis, RedisOptions};

fn connect(server: &Redis) -> redis::Connection {
    let client = redis::Client::open(server.url()).expect("an address");
    client.get_connection().expect("a server that serves")
}

#[test]
fn a_restart_loses_all_data_unless_it_is_durable() {
    for durable in [false, true] {
        let Some(server) = Redis::start(&RedisOptions { durable, ..RedisOptions::default() }) else { return };
        let () = connect(&server).set("code", 7).unwrap();
        // What `everysec` has not synced yet survives the process, though not the machine.
        server.restart();
        let found: Option<i32> = connect(&server).get("code").unwrap();
        assert_eq!(found, durable.then_some(7), "durable: {durable}");
    }
}

#[test]
fn a_paused_server_answers_nothing_and_goes_on_afterwards() {
    let Some(server) = rookery_testbed::redis() else { return };
    let mut connection = connect(&server);
    connection.set_read_timeout(Some(std::time::Duration::from_millis(300))).unwrap();
    server.pause();
    assert!(connection.set::<_, _, ()>("a", 1).is_err());
    server.resume();
    assert_eq!(connect(&server).incr::<_, _, i32>("b", 1).unwrap(), 1);
}
