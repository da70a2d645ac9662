//! Users and rooms, made through the public API.
//!
//! A password costs the server 19 MiB and tens of milliseconds on purpose, so a few users have many connections
//! each instead of one each. To the server that makes no difference: a connection's state is its own.

use std::{thread, time::Duration};

use anyhow::Context;
use serde_json::{Value, json};

use super::Http;

/// Threads that prepare: enough for the store to group what they write.
const THREADS: usize = 8;
/// A mail is in the mailbox by then.
const MAIL_PATIENCE: Duration = Duration::from_secs(10);

/// A user with a login.
#[derive(Debug, Clone)]
pub struct User {
    /// Access token. Not shown by `Debug` of anything that is printed: the server is a throw-away one.
    pub token: String,
}

/// Registers `count` users.
///
/// # Errors
/// When the API refuses; `dev/mailbox` is only in standalone.
pub fn users(http: Http, count: usize, run: &str) -> anyhow::Result<Vec<User>> {
    in_parallel((0..count).collect(), |i| user(http, &format!("bench-{run}-{i}")))
}

/// Makes public rooms: `members[r]` are the users of room `r`, the first of them its maker.
///
/// # Errors
/// When the API refuses.
pub fn rooms(http: Http, members: &[Vec<&User>]) -> anyhow::Result<Vec<String>> {
    in_parallel(members.iter().enumerate().collect(), |(r, members)| {
        let [maker, others @ ..] = &members[..] else { anyhow::bail!("a room needs a member") };
        let body = json!({"name": format!("Room {r}"), "kind": "group", "visibility": "public"});
        let room = http.json("POST", "/v1/rooms", Some(&maker.token), Some(&body))?;
        let id = room["id"].as_str().context("a room without id")?.to_owned();
        for member in others {
            http.json("POST", &format!("/v1/rooms/{id}/join"), Some(&member.token), None)?;
        }
        Ok(id)
    })
}

fn user(http: Http, name: &str) -> anyhow::Result<User> {
    let email = format!("{name}@example.org");
    let body = json!({"email": email, "username": name, "password": "Quoth the raven: nevermore."});
    http.json("POST", "/v1/auth/register", None, Some(&body))?;
    let deadline = std::time::Instant::now() + MAIL_PATIENCE;
    let code = loop {
        let mails = http.json("GET", &format!("/dev/mailbox?to={email}"), None, None)?;
        if let Some(code) = mails["mails"].as_array().and_then(|mails| mails.iter().find_map(code)) {
            break code;
        }
        anyhow::ensure!(std::time::Instant::now() < deadline, "no code was mailed to {email}");
        thread::sleep(Duration::from_millis(5));
    };
    let body = json!({"email": email, "code": code});
    let session = http.json("POST", "/v1/auth/verify", None, Some(&body))?;
    let token = session["access_token"].as_str().context("a session without access token")?;
    Ok(User { token: token.to_owned() })
}

/// The first run of 6 to 8 digits in a mail's text.
fn code(mail: &Value) -> Option<String> {
    let text = mail["text"].as_str()?;
    let mut runs = text.split(|letter: char| !letter.is_ascii_digit());
    runs.find(|run| (6..=8).contains(&run.len())).map(str::to_owned)
}

/// `work` on every item, by some threads; results in the items' order.
fn in_parallel<T: Send, R: Send>(
    items: Vec<T>,
    work: impl Fn(T) -> anyhow::Result<R> + Sync,
) -> anyhow::Result<Vec<R>> {
    let mut shares: Vec<Vec<(usize, T)>> = (0..THREADS).map(|_| Vec::new()).collect();
    for (i, item) in items.into_iter().enumerate() {
        shares[i % THREADS].push((i, item));
    }
    let work = &work;
    let mut done = thread::scope(|scope| {
        let workers: Vec<_> = shares
            .into_iter()
            .map(|share| {
                let one = move |(i, item)| work(item).map(|result| (i, result));
                scope.spawn(move || share.into_iter().map(one).collect::<anyhow::Result<Vec<_>>>())
            })
            .collect();
        let mut done = Vec::new();
        for worker in workers {
            let share = worker.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?;
            done.extend(share?);
        }
        anyhow::Ok(done)
    })?;
    done.sort_by_key(|(i, _)| *i);
    Ok(done.into_iter().map(|(_, result)| result).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_found_in_a_mail() {
        let mail = json!({"text": "Hello bench-1-20,\nyour code is 482913. It is valid for 15 minutes."});
        assert_eq!(code(&mail).as_deref(), Some("482913"));
        assert_eq!(code(&json!({"text": "no digits"})), None);
    }

    #[test]
    fn results_keep_the_order_of_the_items() {
        let doubled = in_parallel((0..100).collect(), |i| Ok(i * 2)).unwrap();
        assert_eq!(doubled, (0..100).map(|i| i * 2).collect::<Vec<_>>());
        assert!(in_parallel(vec![1, 2], |_| -> anyhow::Result<()> { anyhow::bail!("no") }).is_err());
    }
}
