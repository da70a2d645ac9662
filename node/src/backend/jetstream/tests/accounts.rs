//! Unique names and addresses under concurrency.

use super::*;
use crate::backend::{Expect, Rows as _, Written};

#[test]
fn of_many_that_want_one_address_one_gets_it_whole() {
    let Some(servers) = servers() else { return };
    run(async {
        let mut stores = Vec::new();
        for server in 0..3 {
            stores.push(open(&servers, "unique", Some(server)).await);
        }
        for round in 0..25_u32 {
            let tries = (0..12_usize).map(|n| {
                let store = stores[n % 3].clone();
                tokio::spawn(async move {
                    let user = format!("user {round} {n}");
                    // All want the same address; names are wanted by three each.
                    let (mail, name) = (format!("mail {round}"), format!("name {round} {}", n / 3));
                    let writes = vec![
                        (row(Table::Users, &[user.as_bytes()], Some("whole")), Expect::Absent),
                        (row(Table::UsersByEmail, &[mail.as_bytes()], Some(&user)), Expect::Absent),
                        (row(Table::UsersByName, &[name.as_bytes()], Some(&user)), Expect::Absent),
                    ];
                    (n, user, store.write(writes).await.unwrap())
                })
            });
            let mut made = Vec::new();
            for task in tries.collect::<Vec<_>>() {
                let (n, user, written) = task.await.unwrap();
                match written {
                    Written::Done => made.push((n, user)),
                    Written::Conflict(index) => assert!(index > 0),
                }
            }
            assert_eq!(made.len(), 1, "{made:?}");
            let (n, user) = &made[0];
            let store = &stores[round as usize % 3];
            let mail = store.get(Table::UsersByEmail, format!("mail {round}").as_bytes()).await.unwrap();
            assert_eq!(mail.unwrap().value, user.as_bytes());
            for other in 0..4 {
                let name = format!("name {round} {other}");
                let found = store.get(Table::UsersByName, name.as_bytes()).await.unwrap();
                assert_eq!(found.is_some(), other == n / 3, "half an account");
            }
        }
    });
}
