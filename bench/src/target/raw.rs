//! A raw server as a child process.

use std::{
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::Context;

use super::Usage;
use crate::{
    load::Schedule,
    raw::{Mode, RawSettings, order},
};

/// A running raw server.
#[derive(Debug)]
pub struct Raw {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    /// Where it listens.
    pub address: SocketAddr,
    running: bool,
}

impl Raw {
    /// Starts one, on core `cpu` if given.
    ///
    /// # Errors
    /// When this program, or `taskset`, cannot be started.
    pub fn start(settings: &RawSettings, cpu: Option<usize>) -> anyhow::Result<Self> {
        let program = std::env::current_exe()?;
        let mode = match settings.mode {
            Mode::Raw => "raw",
            Mode::Coalescing => "coalescing",
        };
        let mut command = on_core(&program, cpu);
        command.args(["raw-server", "--mode", mode]);
        command.args(["--frame-bytes", &settings.frame_bytes.to_string()]);
        command.args(["--rooms", &settings.rooms.to_string()]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the raw server")?;
        let orders = child.stdin.take();
        let mut answers = BufReader::new(child.stdout.take().context("no output")?);
        let mut line = String::new();
        answers.read_line(&mut line)?;
        let address =
            line.trim().parse().with_context(|| format!("the raw server says {line:?}, no address"))?;
        Ok(Self { child, orders, answers, address, running: false })
    }

    /// Its use of the machine.
    pub fn usage(&self) -> Usage {
        Usage::of(self.child.id())
    }

    /// Lets it write a schedule's messages.
    ///
    /// # Errors
    /// When it is gone.
    pub fn begin(&mut self, schedule: &Schedule) -> anyhow::Result<()> {
        let orders = self.orders.as_mut().context("the raw server takes no more orders")?;
        orders.write_all(order(schedule).as_bytes()).context("the raw server is gone")?;
        self.running = true;
        Ok(())
    }

    /// Waits until it is done with the schedule.
    ///
    /// # Errors
    /// When it is gone.
    pub fn finish(&mut self) -> anyhow::Result<()> {
        if std::mem::take(&mut self.running) {
            let mut line = String::new();
            self.answers.read_line(&mut line)?;
            anyhow::ensure!(line.starts_with("done "), "the raw server ended early: {line:?}");
        }
        Ok(())
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // The end of its input ends it; one that is in a run is not waited for.
        self.orders = None;
        if self.running {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// `program`, pinned to a core if one is given.
pub(super) fn on_core(program: &std::path::Path, cpu: Option<usize>) -> Command {
    match cpu {
        Some(cpu) => {
            let mut command = Command::new("taskset");
            command.args(["-c", &cpu.to_string()]).arg(program);
            command
        }
        None => Command::new(program),
    }
}
