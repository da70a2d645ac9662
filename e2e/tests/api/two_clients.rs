//! A chat between two clients that share no code with this suite: curl, and a WebSocket client in Python.

use rookery_e2e::service::{self, Service};
use tokio::process::Command;

/// The script ends so when the machine lacks a client.
const MISSING: i32 = 77;

/// Alice by curl and Bob by Python hear each other, in a room and directly.
#[tokio::test]
async fn curl_and_python_talk() {
    if service::is_external() {
        return rookery_e2e::skipped(
            "curl_and_python_talk",
            "it reads the codes from the node's own mailbox",
        );
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/two-clients/run.sh");
    let running = Command::new(script).arg(Service::shared().url()).kill_on_drop(true).output();
    let output = tokio::time::timeout(rookery_e2e::PATIENCE * 3, running).await;
    let output = output.expect("the script ends").expect("the script can be started");
    let shown =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).join("\n");
    if output.status.code() == Some(MISSING) {
        assert!(
            !rookery_testbed::all_required(),
            "{}, and ROOKERY_REQUIRE_SERVERS=1: run scripts/setup test to get it",
            shown.trim()
        );
        return rookery_e2e::skipped("curl_and_python_talk", shown.trim());
    }
    assert!(output.status.success(), "{}\n{shown}", output.status);
}
