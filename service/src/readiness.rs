//! Whether this node wants new clients, and why not.

use std::fmt::Write as _;

use parking_lot::Mutex;

/// How something that the node stands on is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// As it ought to be.
    pub good: bool,
    /// In a few words.
    pub says: String,
}

struct Part {
    name: &'static str,
    needed: bool,
    ask: Box<dyn Fn() -> Health + Send + Sync>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    Starting(String),
    Serving,
    Draining,
}

/// What `/readyz` answers: yes while the node serves and all that it needs for that is there.
pub struct Readiness {
    phase: Mutex<Phase>,
    parts: Mutex<Vec<Part>>,
}

impl Default for Readiness {
    fn default() -> Self {
        Self { phase: Mutex::new(Phase::Starting(String::new())), parts: Mutex::default() }
    }
}

impl Readiness {
    /// Says what the start waits for.
    pub fn starting(&self, what: &str) {
        *self.phase.lock() = Phase::Starting(what.to_owned());
    }

    /// New clients are welcome from now on.
    pub fn serve(&self) {
        *self.phase.lock() = Phase::Serving;
    }

    /// No new clients any more.
    pub fn drain(&self) {
        *self.phase.lock() = Phase::Draining;
    }

    /// Whether the end has begun.
    pub fn is_draining(&self) -> bool {
        *self.phase.lock() == Phase::Draining
    }

    /// Shows a part, and asks it at each question. Without a `needed` one that is not good, the node is not ready.
    /// `ask` must not block.
    pub fn show(&self, name: &'static str, needed: bool, ask: impl Fn() -> Health + Send + Sync + 'static) {
        self.parts.lock().push(Part { name, needed, ask: Box::new(ask) });
    }

    /// Whether this node is ready, and how its parts are, a line each.
    pub fn report(&self) -> (bool, String) {
        let phase = self.phase.lock().clone();
        let (mut ready, mut text) = (phase == Phase::Serving, String::new());
        for part in &*self.parts.lock() {
            let Health { good, says } = (part.ask)();
            ready &= good || !part.needed;
            let mark = if good { "ok" } else { "not ok" };
            let note = if good || part.needed { "" } else { " (ready without it)" };
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{}: {mark}: {says}{note}", part.name);
        }
        let head = match phase {
            Phase::Serving if ready => "ready".to_owned(),
            Phase::Serving => "not ready".to_owned(),
            Phase::Draining => "not ready: draining".to_owned(),
            Phase::Starting(what) if what.is_empty() => "not ready: starting".to_owned(),
            Phase::Starting(what) => format!("not ready: starting: {what}"),
        };
        (ready, format!("{head}\n{text}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_what_is_needed_and_shows_the_rest() {
        let readiness = Readiness::default();
        let health = |good| move || Health { good, says: "there".into() };
        readiness.show("etcd", true, health(true));
        readiness.show("redis", false, health(false));
        assert!(!readiness.report().0);
        readiness.serve();
        let (ready, text) = readiness.report();
        assert!(
            ready && text == "ready\netcd: ok: there\nredis: not ok: there (ready without it)\n",
            "{text}"
        );
        readiness.show("nats", true, health(false));
        assert!(!readiness.report().0);
        readiness.drain();
        assert!(readiness.report().1.starts_with("not ready: draining\n"));
    }
}
