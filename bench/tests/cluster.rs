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
    let node = std::env::var_os("ROOKERY_NODE").map_or(own, PathBuf::from);
    let found = node.exists().then(|| node.clone());
    if found.is_none() {
        // Not by `eprintln!`, which the test harness would swallow.
        let _ = writeln!(std::io::stderr(), "SKIPPED: there is no {}: build rookery-node", node.display());
    }
    found
}

#[test]
fn a_cluster_is_measured_through_all_its_nodes() {
    let Some(node) = node() else { return };
    let servers = ["nats-server", "etcd", "redis-server"].map(rookery_testbed::find_program);
    if servers.iter().any(Option::is_none) {
        let _ = writeln!(std::io::stderr(), "SKIPPED: servers are not installed; run scripts/setup test");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let json = directory.path().join("report.json");
    let flags = "cluster --nodes 2 --measure sends,rooms,history --levels 32:4 --rooms 2,4 --history 20,300 --rate 60 \
                 --readers 2 --rest 0 --repetitions 1 --warm-up 0.2 --window 0.6";
    let output = Command::new(env!("CARGO_BIN_EXE_rookery-bench"))
        .args(flags.split_whitespace())
        .arg("--server")
        .arg(node)
        .arg("--data-under")
        .arg(directory.path())
        .arg("--json")
        .arg(&json)
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{words}");
    let report: Value = serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();

    let figures = report["figures"].as_array().unwrap();
    let value = |name: &str| {
        let figure = figures.iter().find(|figure| figure["name"] == name);
        figure.unwrap_or_else(|| panic!("no {name}: {words}"))["values"]["cluster"][0].as_f64().unwrap()
    };
    assert!(value("32 sends at once to 4 rooms") > 1.0);
    for what in ["2 rooms", "4 rooms", "history of 20", "history of 300"] {
        for part in ["nodes", "nats"] {
            assert!(value(&format!("{what}: CPU of {part}")) > 0.0, "{words}");
        }
        assert!(value(&format!("{what}: messages in a record")) >= 1.0);
    }
    let of_rooms: Vec<&Value> = report["details"].as_array().unwrap().iter().collect();
    let of = |what: &str| &of_rooms.iter().find(|detail| detail["what"] == what).unwrap()["value"];
    let step = &of("4 rooms")["step"];
    assert_eq!((step["lost"].as_u64(), step["due"].as_u64()), (Some(0), Some(72)), "{step}");
    // Half of the connections are at a room's other node.
    let forwarded = of("4 rooms")["metrics"]["rookery_peer_forwarded_total"].as_f64().unwrap_or(0.0);
    assert!((10.0..40.0).contains(&forwarded), "{forwarded} of 48 sends were forwarded");
}
