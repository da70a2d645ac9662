//! What `kill -9` cannot show, because the kernel keeps what a killed program has written: that nothing is acknowledged or delivered
//! before the disk has it. The system calls of the real program are looked at.

use std::{
    fs,
    process::{Command, Stdio},
};

use rookery_e2e::{
    server::{Options, Server},
    service::{self, Service},
    unique,
    user::{User, seq_of},
    ws::Subprotocol,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

/// How often a text is posted and followed through the calls.
const POSTS: usize = 10;

/// Where a text is in the calls of a program: line numbers.
#[derive(Debug)]
struct Seen {
    /// It is handed to the kernel for a file.
    written: usize,
    /// That file is on stable storage.
    synced: usize,
    /// Somebody is told of it.
    told: usize,
}

/// Follows a text through what `strace -f` has written: `PID call(fd, …) = result`, or, when others come in between,
/// `PID call(fd, … <unfinished ...>` and `PID <... call resumed>…) = result`.
fn follow(lines: &[&str], text: &str) -> Option<Seen> {
    let is_call = |line: &str, names: &[&str]| {
        let call = line.split_once(' ').map_or("", |(_, call)| call.trim_start());
        names.iter().any(|name| call.starts_with(&format!("{name}(")))
    };
    let has = |line: &str| line.contains(text);
    let written = lines.iter().position(|line| has(line) && is_call(line, &["write", "pwrite64"]))?;
    let file = lines[written].split_once('(')?.1.split_once(',')?.0;
    let begun = written
        + lines[written..]
            .iter()
            .position(|line| is_call(line, &["fdatasync", "fsync"]) && line.contains(&format!("({file}")))?;
    let thread = lines[begun].split_once(' ')?.0;
    let is_done = |line: &&str| line.starts_with(&format!("{thread} ")) && line.ends_with(" = 0");
    let synced = begun + lines[begun..].iter().position(is_done)?;
    let told = lines.iter().position(|line| has(line) && is_call(line, &["sendto", "writev", "sendmsg"]))?;
    Some(Seen { written, synced, told })
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_told_before_the_disk_has_it() {
    const NAME: &str = "nothing_is_told_before_the_disk_has_it";
    if service::is_external() {
        return rookery_e2e::skipped(NAME, "the service's log is not a file of its own");
    }
    let server = tokio::task::block_in_place(|| Server::start(Options::generous()));
    let ada = User::register(&Service::of(&server), "ada").await;
    let room = ada.room_with(&[]).await;
    let mut reader = ada.online(Subprotocol::Json).await;
    let dir = tempfile::tempdir().expect("a directory");
    let calls = dir.path().join("calls");
    let traced = Command::new("strace")
        .args(["-f", "-s", "65536", "-e", "trace=write,pwrite64,writev,sendto,sendmsg,fsync,fdatasync", "-o"])
        .arg(&calls)
        .args(["-p", &server.process().pid().expect("it runs").to_string()])
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut strace) = traced else {
        return rookery_e2e::skipped(NAME, "strace is missing");
    };
    // It begins to write once it is attached; a system may not allow that.
    let attached = rookery_e2e::eventually("strace is attached, or gives up", async || {
        reader.ask(json!({"t": "ping"})).await.is("pong");
        if fs::metadata(&calls).is_ok_and(|calls| calls.len() > 0) {
            return Some(true);
        }
        strace.try_wait().expect("its status").is_some().then_some(false)
    })
    .await;
    if !attached {
        return rookery_e2e::skipped(NAME, "strace may not look at a process here");
    }
    let mut texts = Vec::new();
    for _ in 0..POSTS {
        let text = unique("text");
        let send = json!({"t": "send", "room": room, "text": text, "client_msg_id": unique("m")});
        let seq = seq_of(&reader.ask(send).await.ok());
        assert_eq!(seq_of(&reader.event_in("message", &room).await), seq);
        texts.push(text);
    }
    // It lets the program go, and ends.
    kill_process(Pid::from_child(&strace), Signal::TERM).expect("it is ours");
    strace.wait().expect("its status");
    let calls = fs::read_to_string(&calls).expect("what strace has written is text");
    let lines: Vec<&str> = calls.lines().collect();
    for text in &texts {
        let seen =
            follow(&lines, text).unwrap_or_else(|| panic!("{text} is not written, synced and told: {calls}"));
        assert!(seen.written < seen.synced && seen.synced < seen.told, "{seen:?} of {text}: {calls}");
    }
    reader.ask(json!({"t": "ping"})).await.is("pong");
}
