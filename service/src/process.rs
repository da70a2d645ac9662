//! Metrics of the process itself, read from `/proc` when they are asked for.
//! Names follow Prometheus's client libraries: <https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge, info::Info},
    registry::Registry,
};

/// Adds `process_*` and `rookery_build_info`.
pub fn register_process(registry: &mut Registry) {
    registry.register(
        "rookery_build",
        "Version of this program",
        Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]),
    );
    let started = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
    registry.register_collector(Box::new(Process { started, since: Instant::now() }));
}

#[derive(Debug)]
struct Process {
    started: f64,
    since: Instant,
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let mut gauge = |name: &str, help: &str, value: f64| {
            let metric = ConstGauge::new(value);
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
        };
        gauge("process_start_time_seconds", "When the process started, Unix time", self.started)?;
        gauge("process_uptime_seconds", "Since the process started", self.since.elapsed().as_secs_f64())?;
        if let Some(bytes) = resident_bytes() {
            gauge("process_resident_memory_bytes", "Resident memory", bytes)?;
        }
        if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
            // Counting opens one more; a machine has fewer than 2^53 of them.
            #[expect(clippy::cast_precision_loss)]
            gauge("process_open_fds", "Open file descriptors", files.count().saturating_sub(1) as f64)?;
        }
        if let Some(limit) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
            #[expect(clippy::cast_precision_loss)]
            gauge("process_max_fds", "Limit of open file descriptors", limit as f64)?;
        }
        if let Some(seconds) = cpu_seconds() {
            let metric = ConstCounter::new(seconds);
            metric.encode(encoder.encode_descriptor(
                "process_cpu_seconds",
                "CPU time used, user and system",
                None,
                metric.metric_type(),
            )?)?;
        }
        Ok(())
    }
}

fn resident_bytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024.0)
}

/// Fields 14 and 15 of `/proc/self/stat`, in ticks of 1/100 s (the kernel's USER_HZ on every platform that we build for).
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn describes_this_process() {
        let mut registry = Registry::default();
        register_process(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for name in [
            "process_resident_memory_bytes ",
            "process_open_fds ",
            "process_cpu_seconds_total ",
            "rookery_build_info{version=",
        ] {
            assert!(text.contains(name), "{name} is missing in\n{text}");
        }
    }
}
