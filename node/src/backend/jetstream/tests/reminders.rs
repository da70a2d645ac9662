//! Reminders.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use rookery_protocol::id::UserId;

use super::*;
use crate::backend::{Reminders as _, jetstream::NatsReminders, reminders_tests};

#[test]
fn each_user_is_looked_at_once_and_in_time() {
    let Some(servers) = servers() else { return };
    run(async {
        let one = NatsReminders::new(open(&servers, "reminders", Some(0)).await);
        let two = NatsReminders::new(open(&servers, "reminders", Some(1)).await);
        reminders_tests::all(&*one, &*two).await;
    });
}

#[test]
fn reminders_outlive_the_leader_of_their_stream() {
    const USERS: u128 = 20;
    let Some(servers) = rookery_testbed::nats() else { return };
    run(async {
        let reminders = NatsReminders::new(open(&servers, "kept", None).await);
        for user in 0..USERS {
            reminders.remind(UserId(user), Duration::from_secs(2)).await.unwrap();
        }
        // One is being looked at, and his node will not end that.
        reminders.remind(UserId(USERS), Duration::ZERO).await.unwrap();
        let end = Instant::now() + Duration::from_secs(60);
        let lost = tokio::time::timeout_at(end.into(), reminders.due()).await;
        let lost = lost.expect("one is due within a minute").unwrap();
        let leader = servers.leader_of("kept-reminders").expect("the stream has a leader");
        servers.kill(leader);
        let mut wanted: HashSet<UserId> = (0..USERS).map(UserId).collect();
        let end = Instant::now() + Duration::from_secs(60);
        while !wanted.is_empty() {
            assert!(Instant::now() < end, "{} did not come: {wanted:?}", wanted.len());
            // While there is no leader there may be an error.
            match tokio::time::timeout_at(end.into(), reminders.due()).await {
                // The loop says who did not come.
                Err(_) => {}
                Ok(Ok(due)) => {
                    if reminders.done(&due).await.is_ok() {
                        assert!(wanted.remove(&due.user) || due.user == lost.user, "{due:?} comes again");
                    }
                }
                Ok(Err(_)) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    });
}
