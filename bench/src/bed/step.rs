//! A step: one rate for some seconds, measured. And the search over steps.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Bed, positive, tally::Tally};
use crate::{
    clock,
    load::{Percentiles, Schedule, Search, Verdict},
    target::own_cpu_seconds,
};

/// A rate is kept when 99 of 100 deliveries come within this, milliseconds.
const P99_BOUND_MS: f64 = 100.0;
/// From the order to the first message.
const LEAD: u64 = 30_000_000;
/// What is later than this is lost, and a step in which this is seen is over.
const HOPELESS: u64 = 1_500_000_000;
/// Messages sent between two looks at the sockets.
const BURST: u64 = 64;

/// What to run.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Messages per second.
    pub rate: f64,
    /// Seconds before measuring.
    pub warm_up: f64,
    /// Seconds measured.
    pub window: f64,
}

/// What one part of the servers used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Use {
    /// Cores.
    pub cores: f64,
    /// CPU time per acknowledged message, microseconds; 0 where nothing is acknowledged.
    pub cpu_us_per_message: f64,
    /// CPU time per delivery, microseconds; 0 where nothing is delivered.
    pub cpu_us_per_delivery: f64,
}

/// What came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Step {
    /// Messages per second that were due.
    pub messages_per_second: f64,
    /// Deliveries per second that were due.
    pub deliveries_due_per_second: f64,
    /// Deliveries per second that came while measuring.
    pub deliveries_per_second: f64,
    /// Deliveries (where nobody reads, acknowledgements) that were due while measuring, and those of them that never came.
    pub due: u64,
    /// See `due`.
    pub lost: u64,
    /// From the time a message was due to its delivery, or where nobody reads to its acknowledgement; lost ones count
    /// as a minute.
    pub latency_ms: Percentiles,
    /// Acknowledgements per second, and from the time a message was due to its acknowledgement.
    pub acks_per_second: f64,
    /// See `acks_per_second`.
    pub ack_latency_ms: Percentiles,
    /// Cores that the servers used.
    pub server_cores: f64,
    /// Servers' CPU time per delivery, microseconds.
    pub cpu_us_per_delivery: f64,
    /// What each part of the servers used.
    pub parts: BTreeMap<String, Use>,
    /// Resident memory of the servers at the end, MiB.
    pub resident_mib: f64,
    /// Cores that the generator used: near 1, it measures itself.
    pub generator_cores: f64,
    /// Bytes of a delivery's frame.
    pub frame_bytes: usize,
    /// Refusals and closed connections, by what was said.
    pub problems: BTreeMap<String, u64>,
    /// Whether the rate was kept: see [`P99_BOUND_MS`]; no connection closed, nothing refused.
    pub kept: bool,
}

/// Runs one step.
///
/// # Errors
/// When the server is gone.
pub fn run(bed: &mut Bed, plan: Plan) -> anyhow::Result<Step> {
    bed.settle()?;
    let schedule = Schedule::new(clock::now() + LEAD, plan.rate, plan.warm_up + plan.window);
    let from = schedule.start + nanos(plan.warm_up);
    let to = schedule.end().max(from + 1);
    let mut tally = Tally::new(schedule.start, from..to, bed.fan == 0)?;
    let mut marks: Vec<Mark> = Vec::with_capacity(2);
    let each = bed.fan.max(1);
    let all = schedule.count * each;
    let mut sent = 0;
    let mut hopeless = false;
    bed.begin(&schedule)?;
    loop {
        let now = clock::now();
        let due = schedule.due_by(now);
        if sent < due {
            let until = due.min(sent + BURST);
            bed.send(&schedule, sent, until, &mut tally);
            sent = until;
        }
        let next_mark = [from, to].get(marks.len()).copied();
        if next_mark.is_some_and(|at| now >= at) {
            marks.push(Mark::of(bed, &tally)?);
        }
        let silent =
            now.saturating_sub(tally.last.max(schedule.start)) > HOPELESS && tally.came() < due * each;
        hopeless = hopeless || silent || tally.lag > HOPELESS || tally.closed > 0;
        if (marks.len() == 2 && tally.came() >= all) || hopeless {
            break;
        }
        let deadline = if sent < due {
            0
        } else {
            let next_message = if sent < schedule.count { schedule.due_at(sent) } else { u64::MAX };
            next_message.min([from, to].get(marks.len()).copied().unwrap_or(u64::MAX)).min(now + HOPELESS)
        };
        bed.fleet.turn(deadline, &mut tally)?;
    }
    while marks.len() < 2 {
        marks.push(Mark::of(bed, &tally)?);
    }
    evaluate(bed, &schedule, from..to, tally, &marks, hopeless)
}

/// What was used and had come at one time.
struct Mark {
    at: u64,
    parts: BTreeMap<&'static str, f64>,
    generator: f64,
    arrived: u64,
    acked: u64,
}

impl Mark {
    fn of(bed: &Bed, tally: &Tally) -> anyhow::Result<Self> {
        Ok(Self {
            at: clock::now(),
            parts: bed.used()?,
            generator: own_cpu_seconds()?,
            arrived: tally.arrived,
            acked: tally.acked,
        })
    }
}

fn evaluate(
    bed: &Bed,
    schedule: &Schedule,
    window: std::ops::Range<u64>,
    mut tally: Tally,
    marks: &[Mark],
    hopeless: bool,
) -> anyhow::Result<Step> {
    let due = schedule.due_within(window.start, window.end) * bed.fan.max(1);
    let counted = if bed.fan == 0 { &mut tally.acks } else { &mut tally.deliveries };
    let lost = due.saturating_sub(counted.count());
    counted.record_lost(lost);
    let latency = counted.percentiles();
    let (first, last) = (&marks[0], &marks[marks.len() - 1]);
    let elapsed = clock::seconds(last.at - first.at).max(1e-9);
    let (arrived, acked) = (last.arrived - first.arrived, last.acked - first.acked);
    let each = |cpu: f64, count: u64| if count == 0 { 0.0 } else { cpu * 1e6 / positive(count) };
    let of_part = |(name, used): (&&'static str, &f64)| {
        let cpu = used - first.parts.get(name).copied().unwrap_or(0.0);
        let (cpu_us_per_message, cpu_us_per_delivery) = (each(cpu, acked), each(cpu, arrived));
        ((*name).to_owned(), Use { cores: cpu / elapsed, cpu_us_per_message, cpu_us_per_delivery })
    };
    let parts: BTreeMap<String, Use> = last.parts.iter().map(of_part).collect();
    let per_second = |count: u64| if count == 0 { 0.0 } else { positive(count) / elapsed };
    Ok(Step {
        messages_per_second: schedule.rate,
        deliveries_due_per_second: if bed.fan == 0 { 0.0 } else { schedule.rate * bed.fan() },
        deliveries_per_second: per_second(arrived),
        due,
        lost,
        latency_ms: latency,
        acks_per_second: per_second(acked),
        ack_latency_ms: tally.acks.percentiles(),
        server_cores: parts.values().map(|part| part.cores).sum(),
        cpu_us_per_delivery: parts.values().map(|part| part.cpu_us_per_delivery).sum(),
        parts,
        resident_mib: bed.resident_mib()?,
        generator_cores: (last.generator - first.generator) / elapsed,
        frame_bytes: bed.frame_bytes(),
        kept: !hopeless && tally.problems.is_empty() && latency.p99 < P99_BOUND_MS,
        problems: tally.problems,
    })
}

/// Searches the highest rate that is kept, from `bed.next_search` on. `None`: not even the lowest was.
/// The last step that was not kept comes with it, to show what gave way.
///
/// # Errors
/// When the server is gone.
pub fn find_max(bed: &mut Bed, plan: Plan) -> anyhow::Result<(Option<Step>, Option<Step>)> {
    let mut search = Search::from(bed.next_search);
    let (mut best, mut beyond) = (None, None);
    while let Some(rate) = search.next() {
        let step = run(bed, Plan { rate, ..plan })?;
        tracing_line(bed, &step);
        search.tell(if step.kept { Verdict::Kept } else { Verdict::Missed });
        if step.kept {
            best = Some(step);
        } else {
            beyond = Some(step);
        }
    }
    if let Some(rate) = search.best() {
        bed.next_search = rate * 0.9;
    }
    Ok((best, beyond))
}

/// One line of progress on standard error.
fn tracing_line(bed: &Bed, step: &Step) {
    use std::io::Write;
    let _ = writeln!(
        std::io::stderr(),
        "  {:<11} {:>9.0}/s due, {:>9.0}/s came, p50 {:>7.1} p99 {:>7.1} ms, server {:.2} generator {:.2} cores{}{}",
        bed.name,
        step.deliveries_due_per_second,
        step.deliveries_per_second,
        step.latency_ms.p50,
        step.latency_ms.p99,
        step.server_cores,
        step.generator_cores,
        if step.kept { "" } else { "  missed" },
        step.problems.iter().next().map(|(why, n)| format!(" ({n} x {why})")).unwrap_or_default(),
    );
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn nanos(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}
