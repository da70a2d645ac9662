//! The whole generator against the raw servers, for a second.

#![allow(clippy::unwrap_used)] // A test helper may panic as its tests may.

use std::process::Command;

use serde_json::Value;

fn bench(arguments: &[&str]) -> Value {
    let directory = tempfile::tempdir().unwrap();
    let json = directory.path().join("report.json");
    let output = Command::new(env!("CARGO_BIN_EXE_rookery-bench"))
        .args(arguments)
        .arg("--json")
        .arg(&json)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap()
}

#[test]
fn every_message_of_a_light_load_is_delivered() {
    for (shape, fan) in [
        (&["fanout", "--subscribers", "20"][..], 20.0),
        (&["rooms", "--rooms", "5", "--members", "4"][..], 4.0),
    ] {
        let flags = ["--targets", "raw,coalescing", "--rate", "2000", "--repetitions", "1"];
        let times = ["--warm-up", "0.1", "--window", "0.2"];
        let report = bench(&[shape, &flags[..], &times[..]].concat());
        let steps = report["details"].as_array().unwrap();
        assert_eq!(steps.len(), 2, "{report}");
        for step in steps {
            let step = &step["value"];
            assert_eq!(step["lost"], 0, "{step}");
            let due = step["due"].as_f64().unwrap();
            assert!((due / fan - 0.4 * 2000.0 / fan).abs() <= 1.0, "{step}");
            assert_eq!(step["problems"], serde_json::json!({}));
            assert!(step["latency_ms"]["p50"].as_f64().unwrap() < 60_000.0);
        }
    }
}

#[test]
fn connects_and_idle_connections_are_counted() {
    let report = bench(&[
        "connect",
        "--targets",
        "raw",
        "--concurrency",
        "4",
        "--window",
        "0.2",
        "--repetitions",
        "1",
    ]);
    assert!(report["figures"][0]["values"]["raw"][0].as_f64().unwrap() > 1.0, "{report}");
    let report = bench(&["idle", "--targets", "raw", "--connections", "50", "--settle", "0.1"]);
    assert!(report["figures"][0]["values"]["raw"][0].as_f64().unwrap() >= 0.0, "{report}");
}
