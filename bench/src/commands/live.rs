//! What `fanout` and `rooms` have in common: beds of several targets, run in turn.

use crate::{
    bed::{self, Bed, Plan},
    load::stamp,
    raw::{Mode, RawSettings},
    report::{Output, Report},
    socket::Wire,
    target::NodeSettings,
};

use super::Target;

/// Flags of both commands.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Live {
    #[command(flatten)]
    pub(super) node: NodeSettings,
    /// What to measure, in turn
    #[arg(long, value_enum, value_delimiter = ',', default_value = "rookery,raw,coalescing")]
    targets: Vec<Target>,
    /// Subprotocol of the connections
    #[arg(long, value_enum, default_value = "json")]
    pub(super) protocol: Wire,
    /// Bytes of each message's text, at least 24
    #[arg(long, default_value_t = 128)]
    pub(super) text_bytes: usize,
    /// Measure at this rate, deliveries per second, and the CPU time of each [default: 20000 where nothing is asked for]
    #[arg(long, value_name = "N")]
    rate: Option<f64>,
    /// Search the highest rate with p99 under 100 ms [default: yes where nothing is asked for]
    #[arg(long)]
    find_max: bool,
    /// How often each target has its turn
    #[arg(long, default_value_t = 3)]
    repetitions: usize,
    /// Seconds of warm-up of each step
    #[arg(long, default_value_t = 0.7)]
    warm_up: f64,
    /// Seconds measured in each step (at a fixed rate twice as long)
    #[arg(long, default_value_t = 2.0)]
    window: f64,
    /// Bytes of the raw servers' frames [default: those of Rookery's, or 430 without it]
    #[arg(long)]
    frame_bytes: Option<usize>,
    #[command(flatten)]
    output: Output,
}

/// What makes the two commands different.
pub(super) struct Shape {
    pub(super) name: String,
    /// Connections that get messages.
    pub(super) readers: usize,
    pub(super) rooms: usize,
    pub(super) aim_highest: &'static str,
}

const LIGHT: f64 = 20_000.0;
/// Without Rookery there is no frame to learn the length from.
const USUAL_FRAME: usize = 430;

impl Live {
    /// Sockets that this command opens, of all targets together.
    pub(super) fn connections(&self, of_each: usize) -> usize {
        of_each * self.targets.len()
    }

    /// Runs the beds in turn and reports.
    pub(super) fn run(
        &self,
        shape: &Shape,
        rookery: impl FnOnce() -> anyhow::Result<Bed>,
    ) -> anyhow::Result<()> {
        anyhow::ensure!(self.text_bytes >= stamp::LEN, "a text has at least {} bytes here", stamp::LEN);
        let mut report = Report::for_this_command();
        let mut beds = Vec::new();
        let mut frame_bytes = self.frame_bytes.unwrap_or(USUAL_FRAME);
        if self.targets.contains(&Target::Rookery) {
            let mut bed = rookery()?;
            // The first messages warm everything up, and tell how long a frame is.
            let rate = 1_000.0 / bed.fan() + 10.0;
            let first = bed::run(&mut bed, Plan { rate, warm_up: 0.2, window: 0.3 })?;
            anyhow::ensure!(first.lost == 0, "the first messages were not delivered: {first:?}");
            frame_bytes = self.frame_bytes.unwrap_or(bed.frame_bytes());
            if let Some(start_ms) = bed.node().and_then(|node| node.start_ms) {
                report.add("ready to serve", "ms after start", Some("< 200"), "rookery", start_ms);
            }
            beds.push(bed);
        }
        for (target, mode) in [(Target::Raw, Mode::Raw), (Target::Coalescing, Mode::Coalescing)] {
            if self.targets.contains(&target) {
                let settings = RawSettings { mode, frame_bytes, rooms: shape.rooms };
                beds.push(Bed::on_raw(&settings, shape.readers, self.node.server_cpu)?);
            }
        }
        let nothing_asked = self.rate.is_none() && !self.find_max;
        let rate = self.rate.or(nothing_asked.then_some(LIGHT));
        for _ in 0..self.repetitions.max(1) {
            for bed in &mut beds {
                if let Some(rate) = rate {
                    self.at_rate(shape, bed, rate, &mut report)?;
                }
                if self.find_max || nothing_asked {
                    self.highest(shape, bed, &mut report)?;
                }
            }
        }
        report.finish(&self.output)
    }

    fn at_rate(&self, shape: &Shape, bed: &mut Bed, rate: f64, report: &mut Report) -> anyhow::Result<()> {
        let plan = Plan { rate: rate / bed.fan(), warm_up: self.warm_up, window: 2.0 * self.window };
        let step = bed::run(bed, plan)?;
        let at = format!("{} at {:.0} deliveries/s", shape.name, rate);
        let light = (rate <= LIGHT).then_some("≤ 10");
        report.add(&format!("{at}: CPU per delivery"), "µs", light, &bed.name, step.cpu_us_per_delivery);
        report.add(&format!("{at}: p50"), "ms", None, &bed.name, step.latency_ms.p50);
        report.add(&format!("{at}: p99"), "ms", None, &bed.name, step.latency_ms.p99);
        report.add(&format!("{at}: p99.9"), "ms", None, &bed.name, step.latency_ms.p999);
        report.add(&format!("{at}: server, resident"), "MiB", None, &bed.name, step.resident_mib);
        report.detail(&at, &bed.name, &step);
        Ok(())
    }

    fn highest(&self, shape: &Shape, bed: &mut Bed, report: &mut Report) -> anyhow::Result<()> {
        let plan = Plan { rate: bed.next_search, warm_up: self.warm_up, window: self.window };
        let (best, beyond) = bed::find_max(bed, plan)?;
        let what = format!("{}: highest rate with p99 < 100 ms", shape.name);
        let value = best.as_ref().map_or(0.0, |step| step.deliveries_due_per_second);
        report.add(&what, "deliveries/s", Some(shape.aim_highest), &bed.name, value);
        if let Some(step) = &best {
            let name = |part: &str| format!("{} at that rate: {part}", shape.name);
            report.add(&name("server"), "cores", None, &bed.name, step.server_cores);
            report.add(&name("server, resident"), "MiB", None, &bed.name, step.resident_mib);
            report.add(&name("generator"), "cores", None, &bed.name, step.generator_cores);
        }
        report.detail(&what, &bed.name, &best);
        report.detail(&format!("{what}: the step beyond"), &bed.name, &beyond);
        Ok(())
    }
}
