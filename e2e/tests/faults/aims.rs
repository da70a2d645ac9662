//! What is aimed at, beside what was measured.

use std::{fmt::Write as _, time::Duration};

use crate::report::{Outcome, Report, Times};

/// Faults in which rooms are handed over as planned.
const HANDOVERS: [&str; 2] = ["drain of a node (SIGTERM)", "rolling restart of all nodes"];
/// A write waits no longer for one.
const HANDOVER: Duration = Duration::from_millis(100);

/// One aim of which something was measured.
struct Row {
    aim: &'static str,
    measured: String,
    met: bool,
}

/// A table: each aim, what was measured, whether that is enough.
pub(crate) fn table(report: &Report) -> String {
    let mut table = String::from(
        "Aims, by the worst of the rooms that each fault was done to:\n\n| aim | measured | |\n| --- | --- | --- |\n",
    );
    for Row { aim, measured, met } in rows(report) {
        let _ = writeln!(table, "| {aim} | {measured} | {} |", if met { "met" } else { "**missed**" });
    }
    table
}

/// What the disk had to do with it, in a sentence; empty where nothing could be handed over.
pub(crate) fn disk(report: &Report) -> String {
    let planned = report.outcomes.iter().filter(|outcome| HANDOVERS.contains(&outcome.kind));
    let planned: Vec<_> = planned.filter(|outcome| outcome.concerns_rooms()).collect();
    if planned.is_empty() {
        return String::new();
    }
    let syncs = Times::of(report.outcomes.iter().map(|outcome| outcome.disk));
    let late: Vec<_> =
        planned.iter().filter(|outcome| outcome.wait().is_some_and(|wait| wait > HANDOVER)).collect();
    let still = late.iter().filter(|outcome| outcome.disk >= HANDOVER / 2).count();
    format!(
        "The disk, which three servers sync for every message: a page added to a file of the suite's own, and synced, every 20 ms, took {} ms in the \
         worst case during half of the faults, and {} ms during one. Of {} planned handovers {} took longer than {} ms, {still} of them while \
         that page took {} ms or more.\n",
        syncs.at(50),
        syncs.at(100),
        planned.len(),
        late.len(),
        HANDOVER.as_millis(),
        (HANDOVER / 2).as_millis(),
    )
}

/// The aims that are missed, with what was measured.
pub(crate) fn missed(report: &Report) -> Vec<String> {
    let missed = rows(report).into_iter().filter(|row| !row.met);
    missed.map(|row| format!("{}: {}", row.aim, row.measured)).collect()
}

fn rows(report: &Report) -> Vec<Row> {
    let of = |kinds: &[&str]| -> Vec<&Outcome> {
        report.outcomes.iter().filter(|outcome| kinds.contains(&outcome.kind)).collect()
    };
    // Only those that rooms could have waited for; and how many they are, in words.
    let worst = |outcomes: &[&Outcome]| {
        let waits = outcomes.iter().filter(|outcome| outcome.concerns_rooms());
        Times::of(waits.filter_map(|outcome| outcome.wait()))
    };
    let counted = |outcomes: &[&Outcome]| {
        let idle = outcomes.iter().filter(|outcome| !outcome.concerns_rooms()).count();
        let of = outcomes.len() - idle;
        if idle == 0 { of.to_string() } else { format!("{of} ({idle} more at nodes that owned no room)") }
    };
    let failed = |outcomes: &[&Outcome]| outcomes.iter().map(|outcome| outcome.failed).sum::<u32>();
    let refused = |outcomes: &[&Outcome]| outcomes.iter().map(|outcome| outcome.refused).sum::<usize>();
    let mut rows = Vec::new();
    let mut row = |aim: &'static str, count: usize, measured: String, met: bool| {
        if count > 0 {
            rows.push(Row { aim, measured, met });
        }
    };

    let kills = of(&["kill -9 of a node"]);
    let waits = worst(&kills);
    row(
        "kill -9 of a node: rooms are written again, p50 ≤ 200 ms, p99 ≤ 1 s",
        waits.len(),
        format!("p50 {} ms, p99 {} ms of {}", waits.at(50), waits.at(99), counted(&kills)),
        waits.at(50) <= 200 && waits.at(99) <= 1_000,
    );
    let pauses = of(&["pause of a node, longer than its lease"]);
    let waits = worst(&pauses);
    row(
        "silent pause of a node: p99 ≤ 6 s",
        waits.len(),
        format!("p99 {} ms of {}", waits.at(99), counted(&pauses)),
        waits.at(99) <= 6_000,
    );
    let drains = of(&HANDOVERS);
    let waits = worst(&drains);
    let calm = Times::of(drains.iter().filter_map(|outcome| outcome.calm));
    row(
        "planned handover: a write waits p99 ≤ 100 ms, none fails",
        waits.len(),
        format!(
            "p50 {} ms, p99 {} ms of {}; the same rooms p50 {} ms, p99 {} ms in as long a time in which nothing was done; {} failed over other \
             nodes, {} refused over sockets to the drained one",
            waits.at(50),
            waits.at(99),
            counted(&drains),
            calm.at(50),
            calm.at(99),
            failed(&drains),
            refused(&drains),
        ),
        waits.at(99) <= HANDOVER.as_millis() && failed(&drains) == 0 && refused(&drains) == 0,
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
            "{} nodes restarted in turn, {} tries failed, {} refused over sockets, {} broken promises in the run",
            rolling.len(),
            failed(&rolling),
            refused(&rolling),
            report.broken.len()
        ),
        report.broken.is_empty() && failed(&rolling) == 0 && refused(&rolling) == 0,
    );
    let returns = Times::of(report.returns.iter().copied());
    row(
        "clients of draining nodes are live again: 99 % ≤ 2 s after the delay they were told",
        report.returns.len(),
        format!("p99 {} ms of {}", returns.at(99), report.returns.len()),
        returns.at(99) <= 2_000,
    );
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(kind: &'static str) -> Outcome {
        Outcome {
            kind,
            owned: Some(2),
            own: Some(Duration::from_millis(5)),
            calm: None,
            waits: vec![Duration::from_millis(5)],
            failed: 0,
            refused: 0,
            healed: Duration::ZERO,
            meanwhile: true,
            disk: Duration::ZERO,
        }
    }

    fn of(outcomes: Vec<Outcome>) -> Report {
        Report { outcomes, ..Report::default() }
    }

    #[test]
    fn a_try_that_failed_or_was_refused_in_a_rolling_restart_misses_its_aims() {
        let good = outcome("rolling restart of all nodes");
        assert_eq!(missed(&of(vec![good.clone()])), Vec::<String>::new());
        assert_eq!(missed(&of(vec![Outcome { failed: 1, ..good.clone() }])).len(), 2);
        assert_eq!(missed(&of(vec![Outcome { refused: 1, ..good }])).len(), 2);
    }

    #[test]
    fn a_kill_of_a_node_that_owned_nothing_says_nothing_of_kills() {
        let idle = Outcome { owned: Some(0), ..outcome("kill -9 of a node") };
        assert!(!table(&of(vec![idle.clone()])).contains("kill -9 of a node"));
        let wait = Duration::from_millis(300);
        let slow = Outcome { own: Some(wait), waits: vec![wait], ..outcome("kill -9 of a node") };
        // Its five milliseconds would make a median that is good enough.
        let report = of(vec![idle.clone(), idle, slow]);
        assert!(missed(&report)[0].contains("p50 300 ms, p99 300 ms of 1 (2 more"), "{:?}", missed(&report));
    }

    #[test]
    fn a_room_that_waits_for_something_else_says_nothing_of_a_handover() {
        let waits = vec![Duration::from_millis(5), Duration::from_millis(300)];
        let other = Outcome { waits: waits.clone(), ..outcome("drain of a node (SIGTERM)") };
        assert_eq!(missed(&of(vec![other.clone()])), Vec::<String>::new());
        let own = Outcome { own: waits.last().copied(), ..other };
        assert_eq!(missed(&of(vec![own])).len(), 1);
        let cut = Outcome { owned: None, own: None, waits, ..outcome("kill -9 of a stream's leader") };
        assert!(table(&of(vec![cut])).contains("max 300 ms"));
    }

    #[test]
    fn a_disk_that_stands_still_is_told_of() {
        let drain = |own, disk| Outcome {
            own: Some(Duration::from_millis(own)),
            disk: Duration::from_millis(disk),
            ..outcome("drain of a node (SIGTERM)")
        };
        let text = disk(&of(vec![drain(40, 3), drain(140, 90), drain(160, 4)]));
        assert!(
            text.contains("took 4 ms in the worst case during half of the faults, and 90 ms during one"),
            "{text}"
        );
        assert!(text.contains("Of 3 planned handovers 2 took longer than 100 ms, 1 of them while"), "{text}");
        assert_eq!(disk(&of(vec![outcome("kill -9 of a node")])), "");
    }
}
