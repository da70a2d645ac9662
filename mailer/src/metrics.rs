//! What the mailer counts.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

/// Of which kind a mail is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Kind {
    kind: &'static str,
}

/// `rookery_mailer_*`
#[derive(Debug, Clone)]
pub struct MailerMetrics {
    sent: Family<Kind, Counter>,
    retried: Family<Kind, Counter>,
    dead: Family<Kind, Counter>,
    expired: Family<Kind, Counter>,
    /// From a job's place in the outbox to the server's word.
    pub(crate) delay_seconds: Histogram,
    /// One try.
    pub(crate) smtp_seconds: Histogram,
    /// Jobs that came again although their mail was sent.
    pub(crate) repeats_avoided: Counter,
    /// Mails sent again because nobody knows whether they were.
    pub(crate) uncertain: Counter,
    /// Jobs put off because a rate was used up.
    pub(crate) held: Counter,
    /// Jobs being seen through.
    pub(crate) under_way: Gauge,
    /// Age of the oldest job that waits.
    pub(crate) oldest_job_seconds: Gauge,
    /// Jobs that wait.
    pub(crate) jobs: Gauge,
    /// Dead letters kept.
    pub(crate) dead_letters: Gauge,
    /// Jobs that were removed before anybody took them.
    pub(crate) lost: Counter,
    /// Whether no mail is begun because the SMTP server cannot be used.
    pub(crate) smtp_away: Gauge,
}

impl MailerMetrics {
    /// Adds them to a registry.
    pub fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("rookery_mailer");
        let all = Self {
            sent: Family::default(),
            retried: Family::default(),
            dead: Family::default(),
            expired: Family::default(),
            delay_seconds: Histogram::new(exponential_buckets(0.01, 4.0, 10)),
            smtp_seconds: Histogram::new(exponential_buckets(0.002, 3.0, 10)),
            repeats_avoided: Counter::default(),
            uncertain: Counter::default(),
            held: Counter::default(),
            under_way: Gauge::default(),
            oldest_job_seconds: Gauge::default(),
            jobs: Gauge::default(),
            dead_letters: Gauge::default(),
            lost: Counter::default(),
            smtp_away: Gauge::default(),
        };
        registry.register("sent", "Mails that the SMTP server has taken", all.sent.clone());
        registry.register("retried", "Failed tries after which another follows", all.retried.clone());
        registry.register("dead", "Mails given up", all.dead.clone());
        let about = "Mails dropped because what they say is not valid any more";
        registry.register("expired", about, all.expired.clone());
        registry.register(
            "delay_seconds",
            "From the outbox to the SMTP server's word",
            all.delay_seconds.clone(),
        );
        registry.register("smtp_seconds", "One try", all.smtp_seconds.clone());
        let about = "Jobs that came again although their mail was sent";
        registry.register("repeats_avoided", about, all.repeats_avoided.clone());
        let about = "Mails sent again because it is not known whether they were sent";
        registry.register("uncertain", about, all.uncertain.clone());
        registry.register("held", "Times that a rate put off a mail", all.held.clone());
        registry.register("under_way", "Jobs being seen through", all.under_way.clone());
        registry.register(
            "oldest_job_seconds",
            "Age of the oldest job that waits",
            all.oldest_job_seconds.clone(),
        );
        registry.register("jobs", "Jobs that wait, in the outbox or for their time", all.jobs.clone());
        registry.register("dead_letters", "Dead letters kept", all.dead_letters.clone());
        let about = "Jobs that the outbox removed by age before any mailer took them";
        registry.register("lost", about, all.lost.clone());
        let about = "Whether no mail is begun because the SMTP server cannot be used";
        registry.register("smtp_away", about, all.smtp_away.clone());
        all
    }

    pub(crate) fn sent(&self, kind: &'static str, delay_ms: i128) {
        self.sent.get_or_create(&Kind { kind }).inc();
        // Far below 2^53.
        #[expect(clippy::cast_precision_loss)]
        self.delay_seconds.observe(delay_ms.max(0) as f64 / 1000.0);
    }

    pub(crate) fn retried(&self, kind: &'static str) {
        self.retried.get_or_create(&Kind { kind }).inc();
    }

    pub(crate) fn expired(&self, kind: &'static str) {
        self.expired.get_or_create(&Kind { kind }).inc();
    }

    pub(crate) fn dead(&self, kind: &'static str) {
        self.dead.get_or_create(&Kind { kind }).inc();
    }
}
