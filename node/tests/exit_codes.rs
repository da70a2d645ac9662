//! How the program ends when it cannot start: the exit codes and sentences that `--help` and docs/operations.md promise.

use std::{
    net::TcpListener,
    process::{Command, Output},
};

fn standalone(flags: &[&str], variable: Option<(&str, &str)>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rookery-node"));
    command.arg("standalone").args(flags).envs(variable);
    command.output().expect("the program starts")
}

/// The exit code, and what was said last on standard error.
fn end(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_wrong_setting_is_named() {
    let output = standalone(&[], Some(("ROOKERY_SERVER__LISTN", "127.0.0.1:0")));
    let (code, said) = end(&output);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("server.listn (environment): unknown field"), "{said}");
}

#[test]
fn a_wrong_certificate_is_a_wrong_setting() {
    let (data, key) = (tempfile::tempdir().unwrap(), tempfile::NamedTempFile::new().unwrap());
    let mut command = Command::new(env!("CARGO_BIN_EXE_rookery-node"));
    command
        .args(["standalone", "--listen", "127.0.0.1:0", "--management", "127.0.0.1:0", "--data"])
        .arg(data.path());
    command.env("ROOKERY_EDGE__TLS_CERTIFICATE", "/nowhere/tls.crt").env("ROOKERY_EDGE__TLS_KEY", key.path());
    let (code, said) = end(&command.output().expect("the program starts"));
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("edge.tls_certificate") && said.contains("/nowhere/tls.crt"), "{said}");
}

#[test]
fn a_wrong_command_line_is_explained() {
    let (code, said) = end(&standalone(&["--listne", "127.0.0.1:0"], None));
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("--listen"), "{said}");
}

#[test]
fn an_address_in_use_is_named_with_its_flag() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let data = tempfile::tempdir().unwrap();
    let flags =
        ["--listen", &address, "--management", "127.0.0.1:0", "--data", data.path().to_str().unwrap()];
    let (code, said) = end(&standalone(&flags, None));
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains(&address) && said.contains("--listen"), "{said}");
}

#[test]
fn an_unusable_data_directory_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    let flags = ["--listen", "127.0.0.1:0", "--management", "127.0.0.1:0", "--data", path];
    let (code, said) = end(&standalone(&flags, None));
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains(path), "{said}");
}
