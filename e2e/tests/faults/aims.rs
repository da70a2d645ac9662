//! What is aimed at, beside what was measured.

use std::fmt::Write as _;

use crate::report::{Outcome, Report, Times};

/// A table: each aim, what was measured, whether that is enough.
pub(crate) fn table(report: &Report) -> String {
    let of = |kinds: &[&str]| -> Vec<&Outcome> {
        report.outcomes.iter().filter(|outcome| kinds.contains(&outcome.kind)).collect()
    };
    let worst = |outcomes: &[&Outcome]| Times::of(outcomes.iter().filter_map(|o| o.waits.last().copied()));
    let failed = |outcomes: &[&Outcome]| outcomes.iter().map(|o| o.failed).sum::<u32>();
    let mut table =
        String::from("Aims, by the worst room of each fault:\n\n| aim | measured | |\n| --- | --- | --- |\n");
    let mut row = |aim: &str, count: usize, measured: String, met: bool| {
        if count > 0 {
            let _ = writeln!(table, "| {aim} | {measured} | {} |", if met { "met" } else { "**missed**" });
        }
    };

    let kills = of(&["kill -9 of a node"]);
    let waits = worst(&kills);
    row(
        "kill -9 of a node: rooms are written again, p50 ≤ 200 ms, p99 ≤ 1 s",
        kills.len(),
        format!("p50 {} ms, p99 {} ms of {}", waits.at(50), waits.at(99), kills.len()),
        waits.at(50) <= 200 && waits.at(99) <= 1_000,
    );
    let pauses = of(&["pause of a node, longer than its lease"]);
    let waits = worst(&pauses);
    row(
        "silent pause of a node: p99 ≤ 6 s",
        pauses.len(),
        format!("p99 {} ms of {}", waits.at(99), pauses.len()),
        waits.at(99) <= 6_000,
    );
    let drains = of(&["drain of a node (SIGTERM)", "rolling restart of all nodes"]);
    let waits = worst(&drains);
    row(
        "planned handover: a write waits p99 ≤ 100 ms, none fails",
        drains.len(),
        format!(
            "p50 {} ms, p99 {} ms of {}; {} failed",
            waits.at(50),
            waits.at(99),
            drains.len(),
            failed(&drains)
        ),
        waits.at(99) <= 100 && failed(&drains) == 0,
    );
    let leaders = of(&["kill -9 of a stream's leader"]);
    let waits = worst(&leaders);
    row(
        "kill -9 of a stream's leader: ≤ 10 s",
        leaders.len(),
        format!("p50 {} ms, max {} ms of {}", waits.at(50), waits.at(100), leaders.len()),
        waits.at(100) <= 10_000,
    );
    let rolling = of(&["rolling restart of all nodes"]);
    row(
        "rolling restart under load: nothing lost, no try failed",
        rolling.len(),
        format!(
            "{} nodes restarted in turn, {} tries failed, {} broken promises in the run",
            rolling.len(),
            failed(&rolling),
            report.broken.len()
        ),
        report.broken.is_empty() && failed(&rolling) == 0,
    );
    let returns = Times::of(report.returns.iter().copied());
    row(
        "clients of draining nodes are live again: 99 % ≤ 2 s after the delay they were told",
        report.returns.len(),
        format!("p99 {} ms of {}", returns.at(99), report.returns.len()),
        returns.at(99) <= 2_000,
    );
    table
}

#[test]
fn a_try_that_failed_in_a_rolling_restart_misses_the_aim() {
    let of = |failed| {
        let outcome = Outcome {
            kind: "rolling restart of all nodes",
            waits: vec![std::time::Duration::from_millis(5)],
            failed,
            healed: std::time::Duration::ZERO,
            meanwhile: true,
        };
        let table = table(&Report { outcomes: vec![outcome], ..Report::default() });
        table.lines().find(|line| line.contains("rolling restart")).unwrap_or_default().to_owned()
    };
    assert!(of(0).contains("| met |"), "{}", of(0));
    assert!(of(1).contains("missed"), "{}", of(1));
}
