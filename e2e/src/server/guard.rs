//! Ends a server when the test's process ends in whatever way: statics are never dropped, and a test that is
//! itself killed drops nothing.

use std::{
    io::Write as _,
    path::Path,
    process::{Child, Command, Stdio},
};

/// A tiny shell that waits for the end of its input. Its input ends when this value is dropped, which says
/// that all is well, or when the test's process is gone.
pub(super) struct Guard {
    shell: Child,
}

impl Guard {
    pub(super) fn over(pid: u32, dir: &Path) -> Self {
        let clean = if keep() { "" } else { "sleep 0.2; rm -rf -- \"$2\"" };
        let shell = Command::new("sh")
            .arg("-c")
            .arg(format!("read -r fine || {{ kill -9 \"$1\" 2>/dev/null; {clean}; }}"))
            .args(["sh", &pid.to_string()])
            .arg(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell can be started");
        Self { shell }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(mut input) = self.shell.stdin.take() {
            let _ = input.write_all(b"fine\n");
        }
        let _ = self.shell.wait();
    }
}

/// Whether data directories and logs stay after the tests.
pub(super) fn keep() -> bool {
    std::env::var_os("ROOKERY_E2E_KEEP").is_some_and(|value| value == "1")
}
