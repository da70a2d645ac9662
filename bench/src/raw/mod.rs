//! The limits to compare with: servers that only write.
//!
//! They run as a process of their own (`rookery-bench raw-server`), so that their cost is measured as Rookery's is.
//! No message is read, stored, checked or encoded for its readers: the schedule is known to the writer, and each
//! message is one frame made beforehand in which only the stamp changes. What is left is what the kernel asks
//! for a write, and that no server can do without.

mod ring;
mod server;
mod writer;

pub use server::serve;

/// How a raw server writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// One frame per `write`.
    Raw,
    /// All that is due since the connection's last write, in one.
    Coalescing,
}

/// What a raw server does.
#[derive(Debug, Clone, clap::Args)]
pub struct RawSettings {
    /// How to write
    #[arg(long, value_enum, default_value = "raw")]
    pub mode: Mode,
    /// Bytes of a message's frame, with its header
    #[arg(long, default_value_t = 480)]
    pub frame_bytes: usize,
    /// Connections are dealt out to so many rooms in turn
    #[arg(long, default_value_t = 1)]
    pub rooms: usize,
}

/// What the generator writes to a raw server's standard input: one run of a schedule.
pub fn order(schedule: &crate::load::Schedule) -> String {
    format!("run {} {} {}\n", schedule.start, schedule.rate, schedule.count)
}

fn parse_order(line: &str) -> Option<crate::load::Schedule> {
    let mut words = line.split_ascii_whitespace();
    if words.next() != Some("run") {
        return None;
    }
    let start = words.next()?.parse().ok()?;
    let rate = words.next()?.parse().ok().filter(|rate: &f64| *rate > 0.0)?;
    Some(crate::load::Schedule { start, rate, count: words.next()?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    #[test]
    fn orders_are_understood() {
        let schedule = crate::load::Schedule::new(123_456_789, 20_000.5, 3.0);
        assert_eq!(super::parse_order(&super::order(&schedule)), Some(schedule));
        assert_eq!(super::parse_order("run 1 0 2"), None);
        assert_eq!(super::parse_order("walk"), None);
    }
}
