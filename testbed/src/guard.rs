//! Ends servers when the test's process ends in whatever way: statics are never dropped, and a test that is itself
//! killed drops nothing. The kernel's own way, `PR_SET_PDEATHSIG`, looks at the thread that started the child, and
//! threads of tests end early.

use std::{
    io::Write as _,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
};

/// Reads the ids of what to end. When its input ends without `fine` our process is gone.
const WATCH: &str = r#"
pids=" "
while read -r verb pid; do
  case $verb in
    watch) pids="$pids$pid " ;;
    forget) pids="${pids%% $pid *} ${pids#* $pid }" ;;
    fine) exit 0 ;;
  esac
done
for pid in $pids; do kill -9 "$pid" 2>/dev/null; done
[ -z "$1" ] || { sleep 0.3; rm -rf -- "$1"; }
"#;

/// A tiny shell that outlives our process for a moment if it must.
pub(crate) struct Guard {
    shell: Mutex<Child>,
}

impl Guard {
    /// Watches over nothing yet. Removes `dir` after the servers, if our process does not end as it should.
    pub(crate) fn new(dir: Option<&Path>) -> Self {
        let shell = Command::new("sh")
            .args(["-c", WATCH, "sh"])
            .arg(dir.unwrap_or_else(|| Path::new("")))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C is for us, not for it.
            .process_group(0)
            .spawn()
            .expect("a shell can be started");
        Self { shell: Mutex::new(shell) }
    }

    pub(crate) fn watch(&self, pid: u32) {
        self.tell(&format!("watch {pid}\n"));
    }

    /// To be called once the process has been waited for: its id may then be another's.
    pub(crate) fn forget(&self, pid: u32) {
        self.tell(&format!("forget {pid}\n"));
    }

    fn tell(&self, line: &str) {
        let mut shell = self.shell.lock().unwrap_or_else(PoisonError::into_inner);
        let input = shell.stdin.as_mut().expect("the guard's input is open");
        input.write_all(line.as_bytes()).expect("the guard reads");
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let shell = self.shell.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(mut input) = shell.stdin.take() {
            let _ = input.write_all(b"fine\n");
        }
        let _ = shell.wait();
    }
}
