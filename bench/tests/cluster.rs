//! The generator against a cluster of two nodes over one server of each kind's usual number, for a few seconds.

#![allow(clippy::unwrap_used)] // A test helper may panic as its tests may.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// `$ROOKERY_NODE`, or the program that was built next to the generator.
fn node() -> Option<PathBuf> {
    let own = Path::new(env!("CARGO_BIN_EXE_rookery-bench")).with_file_name("rookery-node");
    built(std::env::var_os("ROOKERY_NODE").map_or(own, PathBuf::from))
}

fn built(program: PathBuf) -> Option<PathBuf> {
    let found = program.exists();
    if !found {
        // Not by `eprintln!`, which the test harness would swallow.
        let _ = writeln!(std::io::stderr(), "SKIPPED: there is no {}: build it", program.display());
    }
    found.then_some(program)
}

/// The report of a run with these flags, and what was said meanwhile; `None`, said loudly: something is not installed.
fn measured(flags: &str, programs: &[(&str, PathBuf)]) -> Option<(Value, String)> {
    let servers = ["nats-server", "etcd", "redis-server"].map(rookery_testbed::find_program);
    if servers.iter().any(Option::is_none) {
        let _ = writeln!(std::io::stderr(), "SKIPPED: servers are not installed; run scripts/setup test");
        return None;
    }
    let directory = tempfile::tempdir().unwrap();
    let json = directory.path().join("report.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_rookery-bench"));
    command.args(flags.split_whitespace()).arg("--data-under").arg(directory.path()).arg("--json").arg(&json);
    for (flag, program) in programs {
        command.arg(flag).arg(program);
    }
    let output = command.output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{words}");
    Some((serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap(), words))
}

/// The first value of a figure.
fn value(report: &Value, name: &str) -> f64 {
    let figures = report["figures"].as_array().unwrap();
    let figure = figures.iter().find(|figure| figure["name"] == name);
    figure.unwrap_or_else(|| panic!("no {name}: {report}"))["values"]["cluster"][0].as_f64().unwrap()
}

#[test]
fn a_mailer_is_measured_beside_chat() {
    let Some(node) = node() else { return };
    let Some(mailer) = built(node.with_file_name("rookery-mailer")) else { return };
    let flags = "mailer --nodes 1 --mails 40 --steady 20 --answer-ms 10 --rate 20 --rooms 3 --readers 1 --repetitions 1 --warm-up 0.1 --window 0.4";
    let Some((report, words)) = measured(flags, &[("--server", node), ("--mailer", mailer)]) else { return };
    assert!(value(&report, "one mailer") > 1.0, "{words}");
    for what in [
        "a mailer at rest",
        "no mailer, mails waiting",
        "a mailer at 20 mails/s",
        "a mailer at full load, its server answers in 10 ms",
        "a mailer at full load, its server answers at once",
    ] {
        assert!(value(&report, &format!("chat with {what}: p99")) > 0.0, "{words}");
    }
    assert!(
        value(&report, "chat with a mailer at full load, its server answers at once: mails meanwhile") > 1.0,
        "{words}"
    );
}

#[test]
fn a_translator_is_measured_beside_chat() {
    let Some(node) = node() else { return };
    let Some(translator) = built(node.with_file_name("rookery-translator")) else { return };
    if !rookery_testbed::find_modes().is_some_and(|modes| modes.join("eng-spa.mode").exists()) {
        let _ =
            writeln!(std::io::stderr(), "SKIPPED: apertium-eng-spa is not installed; run scripts/setup test");
        return;
    }
    let flags = "translator --nodes 2 --engines apertium --idle-class false --at-once 4 --spoken 20 --rate 20 --rooms 3 --readers 1 --repetitions 1 --warm-up 0.1 --window 0.4";
    let programs = [("--server", node), ("--translator", translator)];
    let Some((report, words)) = measured(flags, &programs) else { return };
    for what in [
        "new lines, 1 at once",
        "new lines, 4 at once",
        "lines known to the translator",
        "lines known to Redis",
    ] {
        assert!(value(&report, &format!("apertium, {what}")) > 1.0, "{words}");
    }
    assert!(value(&report, "apertium, a translation after its message: p99") > 0.0, "{words}");
    for what in [
        "a translator that chat alone asks",
        "no translator",
        "a translator at full load",
        "a translator at full load, idle_class = false",
    ] {
        assert!(value(&report, &format!("chat with {what}: p99")) > 0.0, "{words}");
    }
    assert!(value(&report, "chat with a translator at full load: translations meanwhile") > 1.0, "{words}");
}

#[test]
fn a_cluster_is_measured_through_all_its_nodes() {
    let Some(node) = node() else { return };
    let flags = "cluster --nodes 2 --measure sends,rooms,nodes,history --levels 32:4 --rooms 2,4 --rooms-of-nodes 2 \
                 --history 20,300 --rate 200 --readers 2 --rest 0 --repetitions 1 --warm-up 0.2 --window 0.6";
    let Some((report, words)) = measured(flags, &[("--server", node)]) else { return };
    let value = |name: &str| value(&report, name);
    assert!(value("32 sends at once to 4 rooms") > 1.0);
    let all = [
        "2 rooms",
        "4 rooms",
        "1 nodes",
        "2 nodes",
        "2 nodes, read on one",
        "history of 20",
        "history of 300",
    ];
    for what in all {
        // The kernel counts in steps of 10 ms: a window has several times as much.
        for part in ["nodes", "nats"] {
            assert!(value(&format!("{what}: CPU of {part}")) > 0.0, "{words}");
        }
        // Nodes that came or went take rooms over, by a record without messages.
        let least = if what.contains("nodes") { 0.9 } else { 1.0 };
        assert!(value(&format!("{what}: messages in a record")) >= least, "{words}");
    }
    let of_rooms: Vec<&Value> = report["details"].as_array().unwrap().iter().collect();
    let of = |what: &str| &of_rooms.iter().find(|detail| detail["what"] == what).unwrap()["value"];
    let step = &of("4 rooms")["step"];
    assert_eq!((step["lost"].as_u64(), step["due"].as_u64()), (Some(0), Some(240)), "{step}");
    // Half of the connections are at a room's other node.
    let forwarded = of("4 rooms")["metrics"]["rookery_peer_forwarded_total"].as_f64().unwrap_or(0.0);
    assert!((32.0..128.0).contains(&forwarded), "{forwarded} of 160 sends were forwarded");
}
