//! Processor time used up for nothing: what a translator at full load is compared with, since it shares the cores with chat.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context as _;

/// A core is busy and rests within this.
const PERIOD: Duration = Duration::from_millis(10);

/// Flags of `burn`.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct BurnArguments {
    /// Cores
    #[arg(long)]
    cores: f64,
}

/// Burns until it is killed.
///
/// # Errors
/// None.
pub fn burn(arguments: &BurnArguments) -> anyhow::Result<()> {
    let threads = arguments.cores.ceil().clamp(1.0, 64.0);
    let busy = PERIOD.mul_f64((arguments.cores / threads).clamp(0.0, 1.0));
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 1 to 64.
    let threads: Vec<_> = (0..threads as usize)
        .map(|_| {
            std::thread::spawn(move || {
                loop {
                    let begun = Instant::now();
                    while begun.elapsed() < busy {
                        std::hint::spin_loop();
                    }
                    std::thread::sleep(PERIOD - busy);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| drop(thread.join()));
    Ok(())
}

/// A process that burns. It ends with this value.
pub(super) struct Burner(Child);

impl Burner {
    pub(super) fn start(cores: f64) -> anyhow::Result<Self> {
        let own = std::env::current_exe()?;
        let mut command = Command::new(own.as_path() as &Path);
        command.args(["burn", "--cores", &format!("{cores:.3}")]).stdin(Stdio::null());
        command.spawn().map(Self).context("a process that burns cannot be started")
    }
}

impl Drop for Burner {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
