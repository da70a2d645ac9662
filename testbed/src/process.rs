//! One server's process: started, paused, killed, started again on the same arguments.

use std::{
    fs::File,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal};

use crate::bed::Bed;

/// A process of a [`Bed`]. It ends with this value, or at the latest with our process.
pub struct Process {
    name: String,
    program: PathBuf,
    args: Vec<String>,
    environment: Vec<(String, String)>,
    log: PathBuf,
    child: Mutex<Option<Child>>,
    // After the child, so that the directory outlives it.
    bed: Bed,
}

impl Process {
    pub(crate) fn new(bed: Bed, name: &str, program: &Path, args: Vec<String>) -> Self {
        Self {
            name: name.to_owned(),
            program: program.to_owned(),
            args,
            environment: Vec::new(),
            log: bed.dir().join(format!("{name}.log")),
            child: Mutex::new(None),
            bed,
        }
    }

    /// Adds a variable to its environment, which has none of those of Rookery that ours has.
    #[must_use]
    pub fn with_env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts it, without waiting until it serves. Does nothing if it runs.
    pub fn start(&self) {
        let mut child = self.child();
        if child.is_some() {
            return;
        }
        let open = || {
            let log = File::options().create(true).append(true).open(&self.log);
            log.unwrap_or_else(|error| panic!("cannot write {}: {error}", self.log.display()))
        };
        let mut command = Command::new(&self.program);
        for (name, _) in std::env::vars_os() {
            // What the developer has set for servers of his own must not reach ours.
            let name = name.to_string_lossy();
            if ["ROOKERY_", "ETCD", "NATS_", "REDIS"].iter().any(|prefix| name.starts_with(prefix)) {
                command.env_remove(&*name);
            }
        }
        command
            .args(&self.args)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(self.bed.dir())
            .stdin(Stdio::null())
            .stdout(open())
            .stderr(open())
            // Ctrl-C is for us; we end it in our order.
            .process_group(0);
        let started = command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", self.program.display()));
        self.bed.guard().watch(started.id());
        *child = Some(started);
    }

    /// What it is called: `nats-0`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id while it runs, also while it is paused.
    pub fn pid(&self) -> Option<u32> {
        self.child().as_ref().map(Child::id)
    }

    /// SIGKILL, and waits until it is gone. Does nothing if it is gone already.
    pub fn kill(&self) {
        if let Some(mut child) = self.child().take() {
            let _ = child.kill();
            let _ = child.wait();
            self.bed.guard().forget(child.id());
        }
    }

    /// SIGSTOP: it does nothing from now on, but its sockets stay open.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// SIGTERM: it may end in its own way.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Whether it runs, or is paused. What it ended with otherwise is told once.
    pub fn try_wait(&self) -> Option<ExitStatus> {
        let mut slot = self.child();
        let child = slot.as_mut()?;
        let status = child.try_wait().expect("our child can be waited for")?;
        self.bed.guard().forget(child.id());
        *slot = None;
        Some(status)
    }

    /// Waits until it has ended by itself; `None` if it still runs after `patience`.
    pub fn wait(&self, patience: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            let status = self.try_wait();
            if status.is_some() || Instant::now() >= deadline {
                return status;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Panics, with its last lines, if it has ended though nobody killed it.
    pub fn assert_running(&self) {
        if let Some(status) = self.try_wait() {
            panic!("{} ended: {status}\n{}", self.name, self.log_tail(40));
        }
    }

    /// The file with all that it wrote, over all its lives.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The last lines that it wrote.
    pub fn log_tail(&self, lines: usize) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let all: Vec<&str> = text.lines().collect();
        format!(
            "--- last lines of {}\n{}",
            self.log.display(),
            all[all.len().saturating_sub(lines)..].join("\n")
        )
    }

    fn signal(&self, signal: Signal) {
        let child = self.child();
        let Some(child) = child.as_ref() else { panic!("{} does not run", self.name) };
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a pid is positive");
        rustix::process::kill_process(pid, signal).expect("our child can be signalled");
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
