//! The search for the highest rate that a server still serves in time.

/// What a trial says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// In time.
    Kept,
    /// Too late, or incomplete.
    Missed,
}

/// Multiplies the rate by four until it is too high, then halves the interval (on a logarithmic scale) until it is narrow.
#[derive(Debug, Clone)]
pub struct Search {
    kept: Option<f64>,
    missed: Option<f64>,
    next: f64,
    trials: u32,
}

impl Search {
    /// Highest and lowest known rate are this close at the end.
    const RESOLUTION: f64 = 1.06;
    /// Trials at most: a server that answers at random must not keep us for ever.
    const TRIALS: u32 = 16;

    /// Starts at `rate`, greater than zero.
    pub fn from(rate: f64) -> Self {
        Self { kept: None, missed: None, next: rate, trials: 0 }
    }

    /// The rate to try next; `None`: found.
    pub fn next(&self) -> Option<f64> {
        let narrow = match (self.kept, self.missed) {
            (Some(kept), Some(missed)) => missed / kept < Self::RESOLUTION,
            _ => false,
        };
        (!narrow && self.trials < Self::TRIALS && self.next >= 0.1).then_some(self.next)
    }

    /// Tells what the trial at [`Self::next`] said.
    pub fn tell(&mut self, verdict: Verdict) {
        self.trials += 1;
        match verdict {
            Verdict::Kept => self.kept = Some(self.next),
            Verdict::Missed => self.missed = Some(self.next),
        }
        self.next = match (self.kept, self.missed) {
            (Some(kept), Some(missed)) => (kept * missed).sqrt(),
            (Some(kept), None) => kept * 4.0,
            (None, Some(missed)) => missed / 4.0,
            (None, None) => self.next,
        };
    }

    /// The highest rate that was kept.
    pub fn best(&self) -> Option<f64> {
        self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(from: f64, limit: f64) -> (f64, u32) {
        let mut search = Search::from(from);
        let mut trials = 0;
        while let Some(rate) = search.next() {
            trials += 1;
            search.tell(if rate <= limit { Verdict::Kept } else { Verdict::Missed });
        }
        (search.best().unwrap_or(0.0), trials)
    }

    #[test]
    fn the_limit_is_found_from_either_side() {
        for from in [1.0, 40.0, 100.0, 3_000.0] {
            let (best, trials) = search(from, 123.0);
            assert!(best <= 123.0 && best > 123.0 / 1.06, "from {from}: {best}");
            assert!(trials <= 13, "from {from}: {trials} trials");
        }
    }

    #[test]
    fn nothing_is_found_where_nothing_works() {
        assert_eq!(search(100.0, 0.0).0, 0.0);
    }
}
