//! Latencies in a histogram.

use hdrhistogram::Histogram;
use serde::Serialize;

/// Longest latency told apart: what is lost or later counts as this.
const WORST_MICROS: u64 = 60_000_000;

/// Latencies of one measurement, in microseconds to three digits.
#[derive(Debug, Clone)]
pub struct Latency {
    histogram: Histogram<u64>,
}

impl Latency {
    /// Nothing measured.
    ///
    /// # Errors
    /// None in practice: the bounds are constants that the histogram takes.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self { histogram: Histogram::new_with_bounds(1, WORST_MICROS, 3)? })
    }

    /// One that took so many nanoseconds.
    #[inline]
    pub fn record(&mut self, nanos: u64) {
        self.histogram.saturating_record((nanos / 1_000).clamp(1, WORST_MICROS));
    }

    /// So many that never came: each counts as the worst there is.
    pub fn record_lost(&mut self, count: u64) {
        // None of them would be the longest all the same.
        if count > 0 {
            self.histogram.saturating_record_n(WORST_MICROS, count);
        }
    }

    /// Adds another one's.
    ///
    /// # Errors
    /// None in practice: all have the same bounds.
    pub fn add(&mut self, other: &Self) -> anyhow::Result<()> {
        Ok(self.histogram.add(&other.histogram)?)
    }

    /// How many were recorded.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// What they come to.
    #[allow(clippy::cast_precision_loss)]
    pub fn percentiles(&self) -> Percentiles {
        let at = |quantile| self.histogram.value_at_quantile(quantile) as f64 / 1e3;
        Percentiles { p50: at(0.5), p99: at(0.99), p999: at(0.999), max: self.histogram.max() as f64 / 1e3 }
    }
}

/// Percentiles in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, serde::Deserialize)]
pub struct Percentiles {
    /// Half are faster.
    pub p50: f64,
    /// 99 of 100 are faster.
    pub p99: f64,
    /// 999 of 1,000 are faster.
    pub p999: f64,
    /// The slowest.
    pub max: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_values() {
        let mut latency = Latency::new().unwrap();
        for millis in 1..=1_000 {
            latency.record(millis * 1_000_000);
        }
        let found = latency.percentiles();
        let near = |value: f64, expected: f64| (value / expected - 1.0).abs() < 0.002;
        assert!(near(found.p50, 500.0) && near(found.p99, 990.0) && near(found.p999, 999.0), "{found:?}");
    }

    #[test]
    fn lost_ones_count_as_the_worst() {
        let mut latency = Latency::new().unwrap();
        (0..98).for_each(|_| latency.record(1_000_000));
        latency.record_lost(0);
        assert!(latency.percentiles().p99 < 2.0 && latency.percentiles().max < 2.0);
        latency.record_lost(2);
        assert!(latency.percentiles().p99 > 59_000.0);
        assert_eq!(latency.count(), 100);
    }
}
