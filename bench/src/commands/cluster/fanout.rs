//! One room whose readers are spread over the nodes: the highest rate, and what a delivery costs.

use super::{Arguments, cost, town::Town};
use crate::{
    bed::{self, Plan},
    report::Report,
};

const TARGET: &str = "cluster";

pub(super) fn run(town: &Town<'_>, arguments: &Arguments, report: &mut Report) -> anyhow::Result<()> {
    let readers = arguments.subscribers;
    let name = format!("one room of {readers} over {} nodes", town.cluster.addresses().len());
    let room = town.new_rooms(1)?;
    let mut bed = town.bed(&room, readers)?;
    bed.next_search = 200_000.0 / bed.fan();
    let plan = |rate| Plan { rate, warm_up: arguments.warm_up, window: arguments.window };
    for _ in 0..arguments.repetitions.max(1) {
        let fixed = plan(arguments.deliveries / bed.fan());
        let step = bed::run(&mut bed, fixed)?;
        let at = format!("{name} at {:.0} deliveries/s", arguments.deliveries);
        for (part, used) in &step.parts {
            report.add(
                &format!("{at}: CPU of {part}"),
                "µs/delivery",
                None,
                TARGET,
                used.cpu_us_per_delivery,
            );
        }
        report.add(&format!("{at}: p50"), "ms", None, TARGET, step.latency_ms.p50);
        report.add(&format!("{at}: p99"), "ms", None, TARGET, step.latency_ms.p99);
        report.detail(&at, TARGET, &step);
        cost::progress(&format!("{at}: {} lost, p99 {:.1} ms", step.lost, step.latency_ms.p99));

        let from = plan(bed.next_search);
        let (best, beyond) = bed::find_max(&mut bed, from)?;
        let what = format!("{name}: highest rate with p99 < 100 ms");
        let value = best.as_ref().map_or(0.0, |step| step.deliveries_due_per_second);
        report.add(&what, "deliveries/s", None, TARGET, value);
        if let Some(step) = &best {
            let part = |part: &str| format!("{name} at that rate: {part}");
            report.add(&part("messages"), "/s", None, TARGET, step.messages_per_second);
            for (of, used) in &step.parts {
                let name = part(&format!("CPU of {of}"));
                report.add(&name, "µs/delivery", None, TARGET, used.cpu_us_per_delivery);
            }
            report.add(&part("generator"), "cores", None, TARGET, step.generator_cores);
        }
        report.detail(&what, TARGET, &best);
        report.detail(&format!("{what}: the step beyond"), TARGET, &beyond);
    }
    Ok(())
}
