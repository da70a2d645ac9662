//! The proxies cut, hold, delay and reset as they say.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::Command,
    time::{Duration, Instant},
};

use rookery_testbed::{Flow, Proxy, free_port};

/// Long enough that what is not cut off arrives, also on a busy machine.
const SOON: Duration = Duration::from_secs(10);
/// How long to wait for what must not come.
const QUIET: Duration = Duration::from_millis(200);

/// Both ends of a connection through a new proxy.
struct Pair {
    proxy: Proxy,
    client: TcpStream,
    server: TcpStream,
    listener: TcpListener,
}

fn pair() -> Pair {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket works");
    let proxy = Proxy::to(listener.local_addr().expect("a socket works"));
    let client = TcpStream::connect(proxy.address()).expect("a socket works");
    let (server, _) = listener.accept().expect("a socket works");
    Pair { proxy, client, server, listener }
}

#[track_caller]
fn arrives(text: &str, mut from: &TcpStream, at: &TcpStream) {
    from.write_all(text.as_bytes()).expect("a socket works");
    is_read(text, at);
}

#[track_caller]
fn is_read(text: &str, mut at: &TcpStream) {
    at.set_read_timeout(Some(SOON)).expect("a socket works");
    let mut got = vec![0; text.len()];
    at.read_exact(&mut got).expect("a socket works");
    assert_eq!(got, text.as_bytes());
}

#[track_caller]
fn is_quiet(mut at: &TcpStream) {
    at.set_read_timeout(Some(QUIET)).expect("a socket works");
    let error = at.read(&mut [0; 9]).expect_err("nothing comes");
    assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
}

#[track_caller]
fn is_reset(mut at: &TcpStream) {
    at.set_read_timeout(Some(SOON)).expect("a socket works");
    let error = at.read(&mut [0; 9]).expect_err("the connection is gone");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
}

/// Who connects before the proxy notices is reset.
#[track_caller]
fn eventually_refused(address: SocketAddr) {
    let deadline = Instant::now() + SOON;
    while !TcpStream::connect(address).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused) {
        assert!(Instant::now() < deadline, "it still listens");
    }
}

#[test]
fn packets_that_are_lost_come_late_and_in_order() {
    let Pair { proxy, client, server, .. } = pair();
    proxy.lose(1_000);
    let began = Instant::now();
    arrives("one", &client, &server);
    assert!(began.elapsed() >= Duration::from_millis(200), "{:?}", began.elapsed());
    arrives("two", &server, &client);
    assert!(began.elapsed() >= Duration::from_millis(400), "{:?}", began.elapsed());
}

#[test]
fn a_cut_holds_both_directions_and_new_connections_until_it_heals() {
    let Pair { proxy, mut client, mut server, listener } = pair();
    arrives("ping", &client, &server);
    arrives("pong", &server, &client);

    proxy.cut();
    client.write_all(b"held").unwrap();
    server.write_all(b"back").unwrap();
    is_quiet(&server);
    is_quiet(&client);
    let newcomer = TcpStream::connect(proxy.address()).unwrap();
    listener.set_nonblocking(true).unwrap();
    is_quiet(&newcomer);
    assert_eq!(listener.accept().expect_err("nobody gets through").kind(), ErrorKind::WouldBlock);

    proxy.heal();
    is_read("held", &server);
    is_read("back", &client);
    listener.set_nonblocking(false).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    arrives("hello", &newcomer, &accepted);
}

#[test]
fn one_way_means_one_way() {
    let Pair { proxy, client, mut server, .. } = pair();
    proxy.cut_one_way(Flow::ToClient);
    arrives("asked", &client, &server);
    server.write_all(b"told").unwrap();
    is_quiet(&client);
    proxy.heal();
    is_read("told", &client);
}

#[test]
fn a_delay_is_added_to_each_direction_and_keeps_the_order() {
    let Pair { proxy, client, server, .. } = pair();
    proxy.delay(Duration::from_millis(150));
    let began = Instant::now();
    arrives("one", &client, &server);
    arrives("two", &server, &client);
    assert!(began.elapsed() >= Duration::from_millis(300), "{:?}", began.elapsed());
}

#[test]
fn deaths_are_passed_on_and_not_before_the_partition_ends() {
    let Pair { proxy, client, server, .. } = pair();
    proxy.cut();
    drop(server);
    is_quiet(&client);
    proxy.heal();
    client.set_read_timeout(Some(SOON)).unwrap();
    assert_eq!((&client).read(&mut [0; 9]).unwrap(), 0, "a peaceful end is one behind the proxy too");
}

#[test]
fn resets_and_refusals_reach_both_ends() {
    let Pair { proxy, client, server, listener } = pair();
    // Once something went through, the proxy knows both ends.
    arrives("once", &client, &server);
    proxy.reset();
    is_reset(&client);
    is_reset(&server);
    let client = TcpStream::connect(proxy.address()).unwrap();
    let (server, _) = listener.accept().unwrap();
    arrives("again", &client, &server);
    proxy.refuse();
    is_reset(&client);
    eventually_refused(proxy.address());
    proxy.heal();
    let deadline = Instant::now() + SOON;
    while TcpStream::connect(proxy.address()).is_err() {
        assert!(Instant::now() < deadline, "it does not listen again");
    }
}

#[test]
fn nobody_behind_the_proxy_means_a_reset() {
    let nobody = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let proxy = Proxy::to(nobody);
    is_reset(&TcpStream::connect(proxy.address()).unwrap());
}

#[test]
fn one_process_is_cut_off_and_others_are_not() {
    let Pair { proxy, client, server, listener } = pair();
    // Another process: it sends what it reads back to us, through the same proxy.
    let script = "import socket,sys; s=socket.create_connection(('127.0.0.1',int(sys.argv[1])))\n\
                  while True: s.sendall(s.recv(9))";
    let mut other = Command::new("python3")
        .args(["-c", script, &proxy.address().port().to_string()])
        .spawn()
        .expect("Python is installed");
    let (echo, _) = listener.accept().unwrap();
    arrives("echo", &echo, &echo);

    proxy.cut_from(other.id());
    (&echo).write_all(b"held").unwrap();
    is_quiet(&echo);
    arrives("ours", &client, &server);
    proxy.heal();
    is_read("held", &echo);
    other.kill().unwrap();
    other.wait().unwrap();
}
