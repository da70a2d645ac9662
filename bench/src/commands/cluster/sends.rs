//! Durable sends per second as rooms grow, with as many in flight as keep the cluster full; and how long they take at
//! half of that.

use super::{Arguments, cost, town::Town};
use crate::{
    bed::{self, Plan},
    clock,
    commands::closed::{self, Until},
    report::Report,
    target::{Part, metrics, own_cpu_seconds},
};

const TARGET: &str = "cluster";
/// So many rooms are made anew for each run.
const FEW: usize = 10;

pub(super) fn run(town: &Town<'_>, arguments: &Arguments, report: &mut Report) -> anyhow::Result<()> {
    for &(sends, in_rooms) in &arguments.levels {
        let what = format!("{sends} sends at once to {in_rooms} rooms");
        let mut fleet = town.fleet()?;
        let mut rates = Vec::new();
        for _ in 0..arguments.repetitions.max(1) {
            let templates = town.templates(&rooms(town, in_rooms)?)?;
            closed::run(&mut fleet, &templates, sends, Until::Seconds(arguments.warm_up))?;
            let (parts, before) = (town.cluster.parts(), town.cluster.metrics()?);
            let used = |parts: &[Part]| {
                parts.iter().map(|part| part.usage.cpu_seconds()).collect::<Result<Vec<_>, _>>()
            };
            let (cpu, generator, from) = (used(&parts)?, own_cpu_seconds()?, clock::now());
            let level = closed::run(&mut fleet, &templates, sends, Until::Seconds(arguments.window))?;
            let elapsed = clock::seconds(clock::now() - from);
            let cpu_after = used(&parts)?;
            let generator_cores = (own_cpu_seconds()? - generator) / elapsed;
            let grown = metrics::grown(&before, &town.cluster.metrics()?);
            cost::progress(&format!(
                "{what}: {:.0}/s, p50 {:.1} p99 {:.1} ms, generator {generator_cores:.2} cores",
                level.per_second, level.latency_ms.p50, level.latency_ms.p99
            ));
            report.add(&what, "durable/s", None, TARGET, level.per_second);
            report.add(&format!("{what}: p50"), "ms", None, TARGET, level.latency_ms.p50);
            report.add(&format!("{what}: p99"), "ms", None, TARGET, level.latency_ms.p99);
            for ((part, before), after) in parts.iter().zip(&cpu).zip(&cpu_after) {
                let micros = (after - before) * 1e6 / (level.per_second * elapsed).max(1.0);
                report.add(&format!("{what}: CPU of {}", part.name), "µs/message", None, TARGET, micros);
            }
            report.add(&format!("{what}: messages in a record"), "", None, TARGET, cost::packed(&grown));
            rates.push(level.per_second);
            let detail = serde_json::json!({
                "result": level, "generator_cores": generator_cores, "metrics": grown,
            });
            report.detail(&what, TARGET, &detail);
        }
        drop(fleet);
        rates.sort_by(f64::total_cmp);
        let half = rates[rates.len() / 2] / 2.0;
        if sends > 1 {
            at_half(town, arguments, report, &rooms(town, in_rooms)?, half)?;
        }
    }
    Ok(())
}

/// Rooms that can remember all that is sent to them: a few take more in three runs than a room remembers for an hour.
fn rooms(town: &Town<'_>, count: usize) -> anyhow::Result<Vec<String>> {
    if count <= FEW { town.new_rooms(count) } else { town.rooms(count) }
}

/// Open loop, nobody reads.
fn at_half(
    town: &Town<'_>,
    arguments: &Arguments,
    report: &mut Report,
    rooms: &[String],
    rate: f64,
) -> anyhow::Result<()> {
    let what = format!("half of that to {} rooms", rooms.len());
    let mut bed = town.bed(rooms, 0)?;
    for _ in 0..arguments.repetitions.max(1) {
        let plan = Plan { rate, warm_up: arguments.warm_up, window: arguments.window };
        let step = bed::run(&mut bed, plan)?;
        cost::progress(&format!(
            "{what}: {rate:.0}/s, p50 {:.1} p99 {:.1} ms, {} lost, generator {:.2} cores",
            step.latency_ms.p50, step.latency_ms.p99, step.lost, step.generator_cores
        ));
        report.add(&format!("{what}: sends"), "/s", None, TARGET, rate);
        report.add(&format!("{what}: p50"), "ms", None, TARGET, step.latency_ms.p50);
        report.add(&format!("{what}: p99"), "ms", None, TARGET, step.latency_ms.p99);
        report.detail(&what, TARGET, &step);
    }
    Ok(())
}
