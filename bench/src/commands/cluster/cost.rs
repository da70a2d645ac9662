//! What one message costs in CPU time at a fixed rate, while one thing grows: rooms, nodes, or the room's history.
//!
//! The parts' use at rest (leases, pings, health) is measured and taken off: it belongs to no message.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    io::Write,
    time::Duration,
};

use super::{Arguments, town::Town};
use crate::{
    bed::{self, Bed, Plan, Step},
    commands::closed::{self, Until},
    report::Report,
    target::metrics::{self, Metrics},
};

const TARGET: &str = "cluster";
/// After this nothing follows any more from what was before: who came and left is known to all nodes, rooms that nobody
/// reads any more are not followed, owners have told the ends.
const CALM: Duration = Duration::from_secs(6);
/// Messages that wait at once while a history is made.
const FILLING: usize = 2_048;
/// What is measured may cost so much more at its largest than at its smallest.
const GROWTH: &str = "≤ 1.25";

/// One line of progress on standard error.
pub(in crate::commands) fn progress(text: &str) {
    let _ = writeln!(std::io::stderr(), "  {text}");
}

/// Messages per record, from the growth of the nodes' counters.
pub(super) fn packed(grown: &Metrics) -> f64 {
    let of = |name: &str| grown.get(name).copied().unwrap_or(0.0);
    of("rookery_rooms_messages_stored_total") / of("rookery_nats_appends_total").max(1.0)
}

/// 1, 100 and 1,000 rooms.
pub(super) fn of_rooms(town: &Town<'_>, arguments: &Arguments, report: &mut Report) -> anyhow::Result<()> {
    let sizes = &arguments.rooms;
    let most = sizes.iter().copied().max().unwrap_or(1);
    let rooms = town.rooms(most)?;
    let rest = at_rest(town, &rooms, arguments, "all rooms followed", report)?;
    for _ in 0..arguments.repetitions.max(1) {
        for &size in sizes {
            let mut bed = town.bed(&rooms[..size], arguments.readers)?;
            step(town, &mut bed, arguments, (&format!("{size} rooms"), &rest), report)?;
        }
    }
    let label = |size: Option<&usize>| format!("{} rooms", size.copied().unwrap_or_default());
    growth(&label(sizes.first()), &label(sizes.last()), report);
    Ok(())
}

/// 1, 2, ... nodes, each with who reads; and as many with all who read on one of them: what a message costs then belongs to the nodes
/// alone, not to the places where it is delivered.
pub(super) fn of_nodes(town: &Town<'_>, arguments: &Arguments, report: &mut Report) -> anyhow::Result<()> {
    let rooms = town.rooms(arguments.rooms_of_nodes)?;
    let nodes = town.cluster.addresses().len();
    let mut rests = BTreeMap::new();
    for _ in 0..arguments.repetitions.max(1) {
        for count in (1..=nodes).rev() {
            town.cluster.resize(count);
            let what = format!("{count} nodes");
            let rest = match rests.entry(count) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(place) => place.insert(at_rest(town, &rooms, arguments, &what, report)?),
            };
            let mut bed = town.bed(&rooms, arguments.readers)?;
            step(town, &mut bed, arguments, (&what, rest), report)?;
            drop(bed);
            if count > 1 {
                let mut bed = town.bed_read_on_one(&rooms, arguments.readers)?;
                step(town, &mut bed, arguments, (&format!("{what}, read on one"), rest), report)?;
            }
        }
    }
    town.cluster.resize(nodes);
    growth("1 nodes", &format!("{nodes} nodes, read on one"), report);
    growth("1 nodes", &format!("{nodes} nodes"), report);
    Ok(())
}

/// A room with 100 messages, with 10,000, with 100,000.
pub(super) fn of_history(town: &Town<'_>, arguments: &Arguments, report: &mut Report) -> anyhow::Result<()> {
    let lengths = &arguments.history;
    let rooms = town.new_rooms(lengths.len())?;
    for (room, &length) in rooms.iter().zip(lengths) {
        let templates = town.templates(std::slice::from_ref(room))?;
        let level = closed::run(&mut town.fleet()?, &templates, FILLING, Until::Messages(length))?;
        progress(&format!("{length} messages stored in {:.1} s", level.seconds));
    }
    let rest = at_rest(town, &rooms, arguments, "after that", report)?;
    for _ in 0..arguments.repetitions.max(1) {
        for (room, length) in rooms.iter().zip(lengths) {
            let mut bed = town.bed(std::slice::from_ref(room), arguments.readers)?;
            step(town, &mut bed, arguments, (&format!("history of {length}"), &rest), report)?;
        }
    }
    let label = |length: Option<&u64>| format!("history of {}", length.copied().unwrap_or_default());
    growth(&label(lengths.first()), &label(lengths.last()), report);
    Ok(())
}

/// Cores used by each part while the rooms are followed and nothing is sent.
fn at_rest(
    town: &Town<'_>,
    rooms: &[String],
    arguments: &Arguments,
    what: &str,
    report: &mut Report,
) -> anyhow::Result<BTreeMap<String, f64>> {
    if arguments.rest <= 0.0 {
        return Ok(BTreeMap::new());
    }
    let mut bed = town.bed(rooms, arguments.readers)?;
    calm(&mut bed, arguments)?;
    let rest = bed.at_rest(Duration::from_secs_f64(arguments.rest))?;
    progress(&format!("at rest, {what}: {rest:.3?} cores"));
    report.detail(&format!("cores at rest, {what}"), TARGET, &rest);
    Ok(rest)
}

/// Waits until nothing is left of what was done before, if what is used at rest counts.
fn calm(bed: &mut Bed, arguments: &Arguments) -> anyhow::Result<()> {
    if arguments.rest > 0.0 {
        bed.at_rest(CALM)?;
    }
    Ok(())
}

fn step(
    town: &Town<'_>,
    bed: &mut Bed,
    arguments: &Arguments,
    (what, rest): (&str, &BTreeMap<String, f64>),
    report: &mut Report,
) -> anyhow::Result<()> {
    let plan = Plan { rate: arguments.rate, warm_up: arguments.warm_up, window: arguments.window };
    calm(bed, arguments)?;
    let before = town.cluster.metrics()?;
    let step = bed::run(bed, plan)?;
    let grown = metrics::grown(&before, &town.cluster.metrics()?);
    anyhow::ensure!(step.lost == 0, "{what}: {} messages were lost: {step:?}", step.lost);
    let costs = costs(&step, rest);
    progress(&format!(
        "{what}: {costs:.0?} µs/message, {:.2} messages in a record, p50 {:.1} p99 {:.1} ms",
        packed(&grown),
        step.latency_ms.p50,
        step.latency_ms.p99
    ));
    for (part, micros) in &costs {
        report.add(&format!("{what}: CPU of {part}"), "µs/message", None, TARGET, *micros);
    }
    report.add(&format!("{what}: messages in a record"), "", None, TARGET, packed(&grown));
    report.add(&format!("{what}: p50"), "ms", None, TARGET, step.latency_ms.p50);
    report.add(&format!("{what}: p99"), "ms", None, TARGET, step.latency_ms.p99);
    report.detail(what, TARGET, &serde_json::json!({"step": step, "rest": rest, "metrics": grown}));
    Ok(())
}

/// CPU time of each part per message beyond what it uses at rest, and of all together.
fn costs(step: &Step, rest: &BTreeMap<String, f64>) -> BTreeMap<String, f64> {
    let rate = step.acks_per_second.max(1e-9);
    let of = |(part, used): (&String, &bed::Use)| {
        let idle = rest.get(part).copied().unwrap_or(0.0);
        (part.clone(), (used.cores - idle) * 1e6 / rate)
    };
    let mut costs: BTreeMap<String, f64> = step.parts.iter().map(of).collect();
    costs.insert("all".to_owned(), costs.values().sum());
    costs
}

/// How much more a message costs at the largest than at the smallest, by the medians, in the nodes, in NATS, and in all parts.
fn growth(smallest: &str, largest: &str, report: &mut Report) {
    for part in ["nodes", "nats", "all"] {
        let median = |what: &str| {
            let name = format!("{what}: CPU of {part}");
            let figure = report.figures.iter().find(|figure| figure.name == name)?;
            figure.median(TARGET).filter(|micros| *micros > 0.0)
        };
        if let (Some(least), Some(most)) = (median(smallest), median(largest)) {
            let name = format!("{largest} against {smallest}: CPU of {part}");
            report.add(&name, "times", Some(GROWTH), TARGET, most / least);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_told_by_medians() {
        let mut report = Report::for_this_command();
        for (what, values) in [("1 rooms", [2.0, 90.0, 1.0]), ("9 rooms", [3.0, 3.0, 3.0])] {
            for value in values {
                report.add(&format!("{what}: CPU of nodes"), "µs/message", None, TARGET, value);
            }
        }
        growth("1 rooms", "9 rooms", &mut report);
        let told = report.figures.last().unwrap();
        assert_eq!(
            (told.name.as_str(), told.median(TARGET)),
            ("9 rooms against 1 rooms: CPU of nodes", Some(1.5))
        );
    }
}
