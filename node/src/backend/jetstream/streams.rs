//! The streams of a cluster: made at the first start, compared at every other.

use std::{collections::HashMap, time::Duration};

use async_nats::jetstream::{
    self, Context, ErrorCode,
    context::{CreateStreamErrorKind, GetStreamErrorKind},
    stream::{Config, DiscardPolicy, PersistenceMode, Republish, RetentionPolicy, StorageType},
};

use super::{
    ConnectError, NatsSettings,
    connect::PAYLOAD,
    layout::{Layout, VERSION},
};

/// Notes on each stream, so that a later start with other settings is noticed.
const NOTE_VERSION: &str = "rookery-layout";
const NOTE_STREAMS: &str = "rookery-log-streams";
/// A mail that nobody fetched is of no use after that.
const MAIL_AGE: Duration = Duration::from_secs(24 * 3600);
/// A user whom nobody could look at for so long is not told any more.
const REMINDER_AGE: Duration = Duration::from_secs(8 * 24 * 3600);
/// A mail enqueued again within this time is stored once.
const MAIL_WINDOW: Duration = Duration::from_secs(600);
/// Between two tries to reach a stream that has no leader yet.
const PAUSE: Duration = Duration::from_millis(200);
/// An answer comes within milliseconds or, when several nodes make the same stream, sometimes never: a second question is
/// cheaper than the client's usual ten seconds.
const ANSWER: Duration = Duration::from_secs(2);
/// Streams looked at at the same time.
const AT_ONCE: usize = 4;

fn common(layout: &Layout, settings: &NatsSettings, name: String, subjects: Vec<String>) -> Config {
    Config {
        name,
        subjects,
        retention: RetentionPolicy::Limits,
        storage: StorageType::File,
        discard: DiscardPolicy::New,
        num_replicas: settings.replicas,
        max_messages: -1,
        max_bytes: -1,
        max_messages_per_subject: -1,
        max_message_size: -1,
        max_consumers: -1,
        allow_direct: true,
        allow_rollup: true,
        allow_atomic_publish: true,
        allow_message_ttl: true,
        deny_delete: true,
        metadata: HashMap::from([
            (NOTE_VERSION.to_owned(), VERSION.to_owned()),
            (NOTE_STREAMS.to_owned(), layout.log_streams.to_string()),
        ]),
        ..Config::default()
    }
}

fn wanted(layout: &Layout, settings: &NatsSettings) -> Vec<Config> {
    let cluster = &layout.cluster;
    let mut all: Vec<_> = (0..layout.log_streams)
        .map(|part| {
            let records = format!("{cluster}.log.{part}.*.*");
            let subjects = vec![records.clone(), format!("{cluster}.row.{part}.>")];
            let republish = Republish {
                source: records,
                destination: format!("{cluster}.live.{{{{wildcard(1)}}}}"),
                headers_only: false,
            };
            let stream = common(layout, settings, layout.log_stream(part), subjects);
            Config { republish: Some(republish), ..stream }
        })
        .collect();
    let accounts = vec![format!("{cluster}.account.*.*")];
    all.push(common(layout, settings, layout.accounts_stream(), accounts));
    let reminders = vec![format!("{cluster}.reminder.later.*"), layout.due_reminders()];
    all.push(Config {
        retention: RetentionPolicy::WorkQueue,
        allow_message_schedules: true,
        // The server schedules nothing where new messages may be refused; there is no limit to reach.
        discard: DiscardPolicy::Old,
        deny_delete: false,
        max_age: REMINDER_AGE,
        ..common(layout, settings, layout.reminders_stream(), reminders)
    });
    let outbox = common(layout, settings, layout.outbox_stream(), vec![layout.outbox_subject()]);
    all.push(Config {
        retention: RetentionPolicy::WorkQueue,
        // The mailer takes mails out.
        deny_delete: false,
        max_age: MAIL_AGE,
        duplicate_window: MAIL_WINDOW,
        ..outbox
    });
    all
}

/// What of a stream is not as it must be, in words.
fn difference(found: &Config, wanted: &Config) -> Option<String> {
    let note = |config: &Config, name: &str| config.metadata.get(name).cloned().unwrap_or_default();
    let (before, now) = (note(found, NOTE_STREAMS), note(wanted, NOTE_STREAMS));
    if before != now && !before.is_empty() {
        return Some(format!(
            "it belongs to a cluster of {before} log streams, and nats.log_streams is {now}: set it to {before} \
             (rooms would not be found otherwise)"
        ));
    }
    let (before, now) = (note(found, NOTE_VERSION), note(wanted, NOTE_VERSION));
    if before != now {
        return Some(format!(
            "its layout has version {before:?}, and this program knows {now:?}: start the version that made it, or \
             choose another cluster.name"
        ));
    }
    if found.num_replicas != wanted.num_replicas {
        return Some(format!(
            "it has {} replicas, and nats.replicas is {}: change one of them (nats stream edit --replicas)",
            found.num_replicas, wanted.num_replicas
        ));
    }
    let mut differs = Vec::new();
    let mut compare = |what: &'static str, same: bool| {
        if !same {
            differs.push(what);
        }
    };
    compare("subjects", found.subjects == wanted.subjects);
    compare("retention", found.retention == wanted.retention);
    compare("storage", found.storage == wanted.storage);
    compare("discard", found.discard == wanted.discard);
    compare("republish", found.republish == wanted.republish);
    compare("allow_direct", found.allow_direct);
    compare("allow_rollup_hdrs", found.allow_rollup && !found.deny_purge);
    compare("allow_atomic", found.allow_atomic_publish);
    compare("allow_msg_ttl", found.allow_message_ttl);
    compare("allow_msg_schedules", found.allow_message_schedules == wanted.allow_message_schedules);
    // Whoever may delete single messages makes holes; a log without them is whole.
    compare("deny_delete", found.deny_delete || !wanted.deny_delete);
    // A counter takes nothing but numbers.
    compare("allow_msg_counter", !found.allow_message_counter);
    compare("subject_delete_marker_ttl", found.subject_delete_marker_ttl.is_none_or(|ttl| ttl.is_zero()));
    compare("no_ack", !found.no_ack);
    compare("sealed", !found.sealed);
    compare("persist_mode", !matches!(found.persist_mode, Some(PersistenceMode::Async)));
    compare("max_age", found.max_age == wanted.max_age);
    let unlimited = |config: &Config| {
        [config.max_messages, config.max_bytes, config.max_messages_per_subject].iter().all(|max| *max <= 0)
    };
    compare("limits", unlimited(found));
    let largest = usize::try_from(found.max_message_size).unwrap_or(usize::MAX);
    compare("max_msg_size", largest == 0 || largest >= PAYLOAD);
    compare("sources", found.mirror.is_none() && found.sources.as_ref().is_none_or(Vec::is_empty));
    compare("subject_transform", found.subject_transform.is_none());
    (!differs.is_empty()).then(|| {
        format!(
            "its {} differ from what Rookery needs: restore them, or delete it if it is empty",
            differs.join(", ")
        )
    })
}

/// Makes what is missing and checks what is there.
pub(super) async fn prepare(
    context: &Context,
    layout: &Layout,
    settings: &NatsSettings,
    within: Duration,
) -> Result<(), ConnectError> {
    use futures_util::{StreamExt as _, TryStreamExt as _};
    let mut context = context.clone();
    context.set_timeout(ANSWER);
    let each = wanted(layout, settings).into_iter().map(|config| prepare_one(&context, config, within));
    futures_util::stream::iter(each).buffer_unordered(AT_ONCE).try_collect().await
}

async fn prepare_one(context: &Context, config: Config, within: Duration) -> Result<(), ConnectError> {
    let name = config.name.clone();
    let refused = |why: String| ConnectError::Stream { name: name.clone(), why };
    let end = tokio::time::Instant::now() + within;
    loop {
        let why = match context.get_stream(&name).await {
            Ok(stream) => {
                let info = stream.cached_info();
                if let Some(why) = difference(&info.config, &config) {
                    return Err(refused(why));
                }
                match info.cluster.as_ref().map(|cluster| cluster.leader.is_some()) {
                    Some(false) => "it has no leader".to_owned(),
                    _ => return Ok(()),
                }
            }
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                    match context.create_stream(config.clone()).await {
                        Ok(_) => {
                            tracing::info!(stream = name, replicas = config.num_replicas, "made a stream");
                            // Looked at once more: it may have been made by somebody else, or have no leader yet.
                            continue;
                        }
                        Err(error) => match error.kind() {
                            CreateStreamErrorKind::JetStream(error) => {
                                if let Some(why) = hopeless(&error, config.num_replicas) {
                                    return Err(refused(why));
                                }
                                error.to_string()
                            }
                            _ => error.to_string(),
                        },
                    }
                }
                GetStreamErrorKind::JetStream(error) => match hopeless(&error, config.num_replicas) {
                    Some(why) => return Err(refused(why)),
                    None => error.to_string(),
                },
                _ => error.to_string(),
            },
        };
        if tokio::time::Instant::now() >= end {
            return Err(ConnectError::NotYet { name, why });
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Errors that waiting does not mend.
fn hopeless(error: &jetstream::Error, replicas: usize) -> Option<String> {
    match error.error_code() {
        ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT => {
            Some("JetStream is not enabled for this account: enable it on the servers".into())
        }
        ErrorCode::JETSTREAM_NOT_ENABLED => {
            Some("JetStream is off: switch it on in the servers' configuration".into())
        }
        ErrorCode::STREAM_REPLICAS_NOT_SUPPORTED => Some(format!(
            "a single server cannot keep {replicas} replicas: run a cluster, or set nats.replicas = 1"
        )),
        ErrorCode::STREAM_SUBJECT_OVERLAP => Some(
            "another stream has some of its subjects: choose another cluster.name, or remove that stream"
                .into(),
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use async_nats::jetstream::stream::{Source, SubjectTransform};

    use super::*;

    #[test]
    fn differences_are_named() {
        let layout = Layout { cluster: "c".into(), log_streams: 4 };
        let settings = NatsSettings::default();
        let all = wanted(&layout, &settings);
        assert_eq!(all.len(), 7);
        let one = &all[0];
        assert_eq!(difference(one, one), None);
        let more = wanted(&Layout { log_streams: 5, ..layout.clone() }, &settings);
        assert!(difference(one, &more[0]).unwrap().contains("set it to 4"));
        let fewer = wanted(&layout, &NatsSettings { replicas: 1, ..settings });
        assert!(difference(one, &fewer[0]).unwrap().contains("3 replicas"));
        let limited = Config { max_bytes: 5, republish: None, ..one.clone() };
        assert!(difference(&limited, one).unwrap().contains("republish, limits"));
        let elsewhere = SubjectTransform { source: ">".into(), destination: "elsewhere.>".into() };
        for (wrong, named) in [
            (Config { retention: RetentionPolicy::WorkQueue, ..one.clone() }, "retention"),
            (Config { retention: RetentionPolicy::Interest, ..one.clone() }, "retention"),
            (Config { sources: Some(vec![Source::default()]), ..one.clone() }, "sources"),
            (Config { mirror: Some(Source::default()), ..one.clone() }, "sources"),
            (Config { storage: StorageType::Memory, ..one.clone() }, "storage"),
            (Config { sealed: true, ..one.clone() }, "sealed"),
            (Config { no_ack: true, ..one.clone() }, "no_ack"),
            (Config { discard: DiscardPolicy::Old, ..one.clone() }, "discard"),
            (Config { deny_delete: false, ..one.clone() }, "deny_delete"),
            (Config { deny_purge: true, ..one.clone() }, "allow_rollup_hdrs"),
            (Config { persist_mode: Some(PersistenceMode::Async), ..one.clone() }, "persist_mode"),
            (Config { max_age: MAIL_AGE, ..one.clone() }, "max_age"),
            (Config { allow_message_counter: true, ..one.clone() }, "allow_msg_counter"),
            (Config { subject_delete_marker_ttl: Some(PAUSE), ..one.clone() }, "subject_delete_marker_ttl"),
            (Config { subject_transform: Some(elsewhere), ..one.clone() }, "subject_transform"),
        ] {
            let why = difference(&wrong, one).unwrap_or_else(|| panic!("{named} is not looked at"));
            assert!(why.starts_with(&format!("its {named} differ")), "{named}: {why}");
        }
        let sized = |max_message_size| difference(&Config { max_message_size, ..one.clone() }, one);
        assert_eq!((sized(-1), sized(0), sized(1 << 20)), (None, None, None));
        assert!(sized((1 << 20) - 1).unwrap().contains("max_msg_size"));
    }
}
