//! What every [`Reminders`] promises, in real time. Each backend runs all of it, with two nodes.

use std::time::{Duration, Instant};

use rookery_protocol::id::UserId;

use super::{Due, Reminders};

const NOW: Duration = Duration::ZERO;
const SOON: Duration = Duration::from_millis(400);
const NEVER: Duration = Duration::from_secs(3_600);

/// Who is due next.
async fn due(of: &dyn Reminders) -> Due {
    // Far longer than it takes: only to end.
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        match tokio::time::timeout_at(end.into(), of.due()).await.expect("somebody is due") {
            Ok(due) => return due,
            // A busy server does not know at once of the consumer that it just made.
            Err(why) if Instant::now() < end => {
                tracing::debug!(?why, "asked again");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(why) => panic!("reminders are to be had: {why:?}"),
        }
    }
}

/// All promises. No order is expected of two who are due: a machine that stood still finds both at once.
pub(super) async fn all(one: &dyn Reminders, two: &dyn Reminders) {
    let (ada, bob, cleo) = (UserId(1), UserId(2), UserId(3));
    // Only the first counts, whoever comes later: Cleo is not due in this test.
    one.remind(cleo, NEVER).await.unwrap();
    two.remind(cleo, NOW).await.unwrap();
    // Not before it is time.
    let begun = Instant::now();
    one.remind(ada, SOON).await.unwrap();
    let first = due(two).await;
    assert_eq!(first.user, ada);
    assert!(begun.elapsed() >= SOON, "{:?}", begun.elapsed());
    // Put off, he comes again, once, and not before; nobody else's turn is lost by it.
    one.remind(ada, NEVER).await.unwrap();
    let begun = Instant::now();
    two.put_off(&first, SOON).await.unwrap();
    one.remind(bob, NOW).await.unwrap();
    let mut again = None;
    for _ in 0..2 {
        let due = due(one).await;
        if due.user == ada {
            assert!(begun.elapsed() >= SOON, "{:?}", begun.elapsed());
            again = Some(due);
        } else {
            assert_eq!(due.user, bob);
            one.done(&due).await.unwrap();
        }
    }
    let again = again.expect("both came");
    // A reminder counts while somebody looks.
    one.remind(ada, NOW).await.unwrap();
    one.done(&again).await.unwrap();
    let anew = due(two).await;
    assert_eq!(anew.user, ada);
    two.done(&anew).await.unwrap();
    // And at once when he has looked.
    one.remind(ada, NOW).await.unwrap();
    let last = due(two).await;
    assert_eq!(last.user, ada);
    two.done(&last).await.unwrap();
    let more = tokio::time::timeout(SOON, one.due()).await;
    assert!(more.is_err(), "{more:?}");
}
