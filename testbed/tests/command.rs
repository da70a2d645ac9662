//! `rookery-testbed cluster`, as `make cluster` starts it: a line per part, and Ctrl-C ends all of them.

mod support;

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use rookery_testbed::{Bed, Process, eventually, find_program};
use rustix::process::{Pid, Signal};

const PARTS: [&str; 10] =
    ["nats-0", "nats-1", "nats-2", "etcd-0", "etcd-1", "etcd-2", "redis-", "node-0", "node-1", "node-2"];
/// Where some engine is installed.
const TRANSLATORS: [&str; 2] = ["translator-0", "translator-1"];

/// All that are started here.
fn parts() -> Vec<&'static str> {
    let has_engines = rookery_testbed::find_modes().is_some() || rookery_testbed::find_models().is_some();
    PARTS.into_iter().chain(TRANSLATORS.into_iter().filter(|_| has_engines)).collect()
}

/// Starts it on free ports, and returns when it has said that all parts are ready.
#[allow(clippy::print_stderr)]
fn start(bed: &Bed) -> Option<Process> {
    if ["nats-server", "etcd", "redis-server"].iter().any(|name| find_program(name).is_none()) {
        eprintln!("SKIPPED: the servers of a cluster are not installed; run scripts/setup test");
        return None;
    }
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let mut args = ["cluster", "--ports", "any", "--data"].map(str::to_owned).to_vec();
    args.extend([
        text(&bed.dir().join("cluster")),
        "--node".to_owned(),
        text(&support::node_program(bed.dir())),
        "--translator".to_owned(),
        text(&support::node_program(bed.dir())),
    ]);
    let command = bed.process("command", Path::new(env!("CARGO_BIN_EXE_rookery-testbed")), args);
    command.start();
    eventually(
        "the cluster runs",
        || command.log_tail(40),
        || {
            command.assert_running();
            said(&command).contains("The cluster is running").then_some(())
        },
    );
    Some(command)
}

fn said(command: &Process) -> String {
    fs::read_to_string(command.log()).unwrap_or_default()
}

/// Processes whose command line names something of the cluster's directory: all but Redis, which shows its port only.
fn processes_of(bed: &Bed) -> Vec<String> {
    let dir = format!("{}/cluster/", bed.dir().display());
    let all = fs::read_dir("/proc").expect("Linux").flatten();
    let commands = all.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    let texts = commands.map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " "));
    texts.filter(|text| text.contains(&dir)).collect()
}

#[test]
fn every_part_has_a_line_and_ctrl_c_ends_all() {
    let bed = Bed::temporary();
    let Some(command) = start(&bed) else { return };
    let text = said(&command);
    for part in parts() {
        assert_eq!(text.lines().filter(|line| line.starts_with(part)).count(), 1, "{part} in {text}");
    }
    assert!(text.lines().any(|line| line.starts_with("node-2") && line.contains("green")), "{text}");
    assert_eq!(processes_of(&bed).len(), parts().len() - 1, "{:?}", processes_of(&bed));

    let pid = command.pid().and_then(|pid| Pid::from_raw(pid.try_into().ok()?)).expect("it runs");
    rustix::process::kill_process(pid, Signal::INT).expect("our child can be signalled");
    let status = command.wait(Duration::from_secs(60)).expect("it ends");
    assert!(
        status.success() && said(&command).contains("all parts have ended"),
        "{status} {}",
        said(&command)
    );
    assert_eq!(processes_of(&bed), Vec::<String>::new());
}

#[test]
fn nothing_outlives_it_when_it_is_killed() {
    let bed = Bed::temporary();
    let Some(command) = start(&bed) else { return };
    command.kill();
    let killed = Instant::now();
    eventually(
        "all processes are gone",
        || processes_of(&bed).join("\n"),
        || processes_of(&bed).is_empty().then_some(()),
    );
    assert!(killed.elapsed() < Duration::from_secs(20));
}
