//! What a process uses, as `/proc` tells.

use anyhow::Context;
use serde::{Deserialize, Serialize};

/// Clock ticks per second in `/proc/PID/stat`: `USER_HZ`, 100 on every architecture that Rust's Linux targets have.
const TICKS: f64 = 100.0;

/// Reads the use of one process, or of several together.
#[derive(Debug, Clone)]
pub struct Usage {
    pids: Vec<u32>,
}

/// Processes whose use is told together: the nodes of a cluster, its NATS servers.
#[derive(Debug, Clone)]
pub struct Part {
    /// What it is called in reports.
    pub name: &'static str,
    /// Its processes.
    pub usage: Usage,
}

/// Memory of a process, bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Resident: with pages shared with others, such as the program's file.
    pub rss: u64,
    /// Unique: what would be free if the process ended.
    pub uss: u64,
}

impl Memory {
    /// The resident part, MiB.
    #[allow(clippy::cast_precision_loss)]
    pub fn resident_mib(self) -> f64 {
        self.rss as f64 / f64::from(1 << 20)
    }
}

impl Usage {
    /// Of the process with this id.
    pub fn of(pid: u32) -> Self {
        Self { pids: vec![pid] }
    }

    /// Of all these processes together.
    pub fn of_all(pids: Vec<u32>) -> Self {
        Self { pids }
    }

    /// Of a process and all that it has started and that runs now.
    pub fn of_tree(pid: u32) -> Self {
        let parent = |pid: u32| -> Option<u32> {
            let stat = read(pid, "stat").ok()?;
            stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
        };
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let all: Vec<(u32, u32)> = entries
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter_map(|pid| Some((pid, parent(pid)?)))
            .collect();
        let mut pids = vec![pid];
        let mut at = 0;
        while let Some(&of) = pids.get(at) {
            pids.extend(all.iter().filter(|(_, parent)| *parent == of).map(|(pid, _)| *pid));
            at += 1;
        }
        Self { pids }
    }

    /// CPU seconds that all threads have used, ended ones too; to 10 ms for each process.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let of =
            |pid: &u32| cpu_seconds(&read(*pid, "stat")?).context("/proc/PID/stat is not as proc(5) says");
        self.pids.iter().map(of).sum()
    }

    /// Its memory now.
    ///
    /// # Errors
    /// When the process is gone, or another user's.
    pub fn memory(&self) -> anyhow::Result<Memory> {
        let mut all = Memory::default();
        for pid in &self.pids {
            let one = memory(&read(*pid, "smaps_rollup")?);
            all = Memory { rss: all.rss + one.rss, uss: all.uss + one.uss };
        }
        Ok(all)
    }
}

fn read(pid: u32, file: &str) -> anyhow::Result<String> {
    let path = format!("/proc/{pid}/{file}");
    std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}: has the server ended?"))
}

/// CPU seconds of this process.
///
/// # Errors
/// When `/proc` is not there.
pub fn own_cpu_seconds() -> anyhow::Result<f64> {
    Usage::of(std::process::id()).cpu_seconds()
}

fn cpu_seconds(stat: &str) -> Option<f64> {
    // The second field is the program's name in parentheses, and may hold anything.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
    let (user, system) = (fields.next()?.parse::<u32>().ok()?, fields.next()?.parse::<u32>().ok()?);
    Some((f64::from(user) + f64::from(system)) / TICKS)
}

fn memory(rollup: &str) -> Memory {
    let kib = |key: &str| -> u64 {
        rollup
            .lines()
            .find_map(|line| line.strip_prefix(key)?.trim().strip_suffix(" kB")?.parse().ok())
            .unwrap_or(0)
    };
    Memory { rss: kib("Rss:") * 1024, uss: (kib("Private_Clean:") + kib("Private_Dirty:")) * 1024 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_behind_a_strange_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 1 0 5 6 7";
        assert_eq!(cpu_seconds(stat), Some(2.0));
    }

    #[test]
    fn what_a_process_has_started_is_part_of_its_tree() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let tree = Usage::of_tree(std::process::id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(tree.pids.contains(&child.id()) && tree.pids.contains(&std::process::id()), "{tree:?}");
    }

    #[test]
    fn this_process_uses_something() {
        let memory = Usage::of(std::process::id()).memory().unwrap();
        assert!(memory.rss >= memory.uss && memory.uss > 100_000, "{memory:?}");
        assert!(own_cpu_seconds().unwrap() >= 0.0);
    }
}
