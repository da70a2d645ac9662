//! What a newcomer sees: the help, and what the program says when it starts for the first time.

use std::{fs, path::Path, process::Command};

use rookery_testbed::{Bed, PATIENCE, eventually};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_rookery-node");

/// Standard output is for people: what to open, what to try. Standard error is for machines where it is no terminal.
#[test]
fn a_first_start_says_what_to_open_and_logs_json() {
    let bed = Bed::temporary();
    let (data, errors) = (bed.dir().join("data"), bed.dir().join("node.err"));
    let data_there = format!("--data={}", data.display());
    // The log of the process is what it says on standard output then.
    let args = [
        "-c",
        r#"exec "$0" "$@" 2>node.err"#,
        PROGRAM,
        "standalone",
        "--listen=127.0.0.1:0",
        "--management=127.0.0.1:0",
        &data_there,
    ];
    let process = bed.process("node", Path::new("/bin/sh"), args.map(str::to_owned).to_vec());
    let process = process.with_env("ROOKERY_TRANSLATOR__APERTIUM__MODES", "");
    process.start();
    let logged = || fs::read_to_string(&errors).unwrap_or_default();
    let greeting = eventually("it says that it runs", logged, || {
        process.assert_running();
        fs::read_to_string(process.log()).ok().filter(|said| said.ends_with("Ctrl-C stops it.\n"))
    });
    let told: Value = serde_json::from_slice(&fs::read(data.join("listen.json")).unwrap()).unwrap();
    let (listen, management) = (told["listen"].as_str().unwrap(), told["management"].as_str().unwrap());
    assert!(greeting.starts_with("Rookery is running"), "{greeting}");
    for wanted in [
        format!("data in {}", data.display()),
        format!(" http://{listen}/\n"),
        format!(" http://{listen}/docs\n"),
        format!(" http://{listen}/dev/mailbox "),
        format!(" ws://{listen}/v1/ws\n"),
        format!(" http://{management}/metrics\n"),
        format!("curl http://{listen}/v1/auth/register "),
        "README.md".to_owned(),
    ] {
        assert!(greeting.contains(&wanted), "no {wanted:?} in {greeting}");
    }
    assert!(!greeting.contains("WARNING"), "nobody else reaches it: {greeting}");

    process.terminate();
    let status = process.wait(PATIENCE).expect("it ends");
    assert_eq!(status.code(), Some(0), "{status}: {}", logged());
    let of_line =
        |line: &str| -> Value { serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {line}")) };
    let lines: Vec<Value> = logged().lines().map(of_line).collect();
    for line in &lines {
        assert!(line["timestamp"].is_string() && line["level"].is_string(), "{line}");
    }
    let ready = lines.iter().find(|line| line["message"] == "ready").expect("it says that it is ready");
    assert_eq!((&ready["listen"], &ready["management"]), (&told["listen"], &told["management"]));
    let said = "no translation engine is set up or installed: nothing is translated";
    assert!(lines.iter().any(|line| line["message"] == said), "{lines:?}");
    assert!(lines.iter().any(|line| line["message"] == "drained"), "{lines:?}");
    assert_eq!(fs::read_to_string(process.log()).unwrap(), greeting, "only logs come after it");
}

/// The reason is in `rookery_node::server::small_pages`.
#[test]
fn a_node_takes_no_huge_pages() {
    let bed = Bed::temporary();
    let data = format!("--data={}", bed.dir().join("data").display());
    let args = ["standalone", "--listen=127.0.0.1:0", "--management=127.0.0.1:0", &data];
    let process = bed.process("node", Path::new(PROGRAM), args.map(str::to_owned).to_vec());
    process.start();
    let serves = bed.dir().join("data/listen.json");
    let is_there = || {
        process.assert_running();
        serves.exists().then_some(())
    };
    eventually("it serves", || process.log_tail(10), is_there);
    let said = fs::read_to_string(format!("/proc/{}/status", process.pid().unwrap())).unwrap();
    assert!(said.contains("\nTHP_enabled:\t0\n"), "{said}");
}

fn help(args: &[&str]) -> String {
    let output = Command::new(PROGRAM).args(args).output().expect("the program starts");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8(output.stdout).expect("help is text")
}

#[test]
fn help_names_commands_flags_and_exit_codes() {
    let said = help(&["--help"]);
    for wanted in ["standalone", "cluster", "config", "ROOKERY_LOG__LEVEL", "Exit codes: 0", "SIGTERM"] {
        assert!(said.contains(wanted), "no {wanted:?} in {said}");
    }
    for command in ["standalone", "cluster", "config"] {
        let said = help(&[command, "--help"]);
        for wanted in ["--listen", "--management", "--data", "--config", "--log-format", "--log-level"] {
            assert!(said.contains(wanted), "no {wanted:?} in {said}");
        }
    }
}
