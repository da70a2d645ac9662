//! Users as stored, and what others see of them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use parking_lot::Mutex;
use rookery_core::room::Profile;
use rookery_protocol::id::{RoomId, UserId};

use super::{
    Identity, cache::Recent, departures, email::Email, names::Username, now, settings::AccountsSettings,
};
use crate::{
    backend::{Expect, Row, Rows, Table, Written},
    problem::Problem,
};

/// A user as everybody sees him, shared by all who need him.
#[derive(Debug, Clone)]
pub struct User {
    /// Id and names.
    pub profile: Arc<Profile>,
    /// BCP 47 tag.
    pub language: Arc<str>,
    /// Rooms that he reads as they were written, in order.
    pub untranslated: Arc<[RoomId]>,
    /// `https` address of his picture.
    pub avatar_url: Option<String>,
    /// When the account was made, Unix milliseconds.
    pub created_at: i64,
    /// Grows when all his logins end.
    pub(super) epoch: u64,
}

/// When a user wants to be told about messages by mail.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum MailAbout {
    /// Never.
    Off,
    /// When somebody mentions him while he is away.
    #[default]
    Mentions,
    /// Every message while he is away.
    All,
}

/// An account as stored. Not `Debug`: it holds the password's hash.
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Account {
    /// Id.
    pub id: UserId,
    /// Unique name, as shown.
    pub username: String,
    /// As its owner typed it.
    pub email: String,
    /// Name to show.
    pub display_name: String,
    /// BCP 47 tag.
    pub language: String,
    /// `https` address of a picture.
    pub avatar_url: Option<String>,
    /// Whether he wants a code by mail at each login.
    pub login_code: bool,
    /// What he wants mails about.
    pub mail_about: MailAbout,
    /// Rooms that he reads as they were written, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub untranslated: Vec<RoomId>,
    /// What opens it at external issuers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub identities: Vec<Identity>,
    /// When the account was made, Unix milliseconds.
    pub created_at: i64,
    /// PHC string. Empty: there is none, and no password is right.
    pub(super) password: String,
    pub(super) email_key: String,
    pub(super) name_key: String,
    pub(super) epoch: u64,
}

impl Account {
    /// One that is made now, without anything that its owner has yet to choose. `password`: PHC string, or empty.
    pub(super) fn new(
        id: UserId,
        email: Email,
        name: Username,
        display_name: String,
        language: String,
        password: String,
    ) -> Self {
        Self {
            id,
            username: name.shown,
            email: email.typed,
            display_name,
            language,
            avatar_url: None,
            login_code: false,
            mail_about: MailAbout::default(),
            untranslated: Vec::new(),
            identities: Vec::new(),
            created_at: now(),
            password,
            email_key: email.canonical,
            name_key: name.key,
            epoch: 0,
        }
    }

    fn view(&self) -> User {
        User {
            profile: Arc::new(Profile {
                id: self.id,
                username: self.username.clone(),
                display_name: self.display_name.clone(),
            }),
            language: self.language.as_str().into(),
            untranslated: self.untranslated.as_slice().into(),
            avatar_url: self.avatar_url.clone(),
            created_at: self.created_at,
            epoch: self.epoch,
        }
    }
}

/// How making a user ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Created {
    Done,
    EmailTaken,
    NameTaken,
    /// This very user is there, by a try whose answer was not heard; or another one who has what else was to be written.
    There,
}

/// What is known about a user without asking.
#[derive(Clone)]
struct Known {
    revision: u64,
    since: Instant,
    /// `None`: there is no such user (any more).
    user: Option<Arc<User>>,
    /// Another node said then that it has changed: what was read before is not believed.
    doubted: Option<Instant>,
}

/// The users.
pub(super) struct Users {
    rows: Arc<dyn Rows>,
    known: Recent<UserId, Known>,
    fresh: Duration,
    /// What was found out before is looked up again.
    doubted: Mutex<Option<Instant>>,
}

/// Revision of a user who was deleted here: ids are never used twice, so no later one will come.
const GONE: u64 = u64::MAX;
/// Revision of a user who was not read yet.
const UNREAD: u64 = 0;
/// Tries of a change when others change the same row.
const TRIES: usize = 8;

impl Users {
    pub(super) fn new(rows: Arc<dyn Rows>, settings: &AccountsSettings) -> Self {
        Self {
            rows,
            known: Recent::new(settings.cache_entries),
            fresh: Duration::from_secs(settings.cache_seconds),
            doubted: Mutex::new(None),
        }
    }

    /// A user, from memory if he was looked up a short time ago.
    pub(super) async fn find(&self, id: UserId) -> Result<Option<Arc<User>>, Problem> {
        let known = self.known.get(&id);
        if let Some(known) = &known
            && (known.revision == GONE || known.user.is_some() && self.is_fresh(known))
        {
            return Ok(known.user.clone());
        }
        match self.load(id).await {
            Ok(read) => Ok(match self.known.get(&id) {
                Some(known) => known.user,
                None => read.map(|(account, _)| Arc::new(account.view())),
            }),
            // With the store away, who was here goes on.
            Err(problem) => {
                known.filter(|known| known.revision != UNREAD).map(|known| known.user).ok_or(problem)
            }
        }
    }

    fn is_fresh(&self, known: &Known) -> bool {
        known.doubted.is_none()
            && known.since.elapsed() < self.fresh
            && self.doubted.lock().is_none_or(|doubted| known.since > doubted)
    }

    /// Another node has changed a user: he is looked up before he is believed.
    pub(super) fn doubt(&self, id: UserId) {
        let doubted = Some(Instant::now());
        self.known.update(id, |now| {
            Some(match now {
                Some(now) => Known { doubted, ..now.clone() },
                // He may be being read right now.
                None => Known { revision: UNREAD, since: Instant::now(), user: None, doubted },
            })
        });
    }

    /// So are all.
    pub(super) fn doubt_all(&self) {
        *self.doubted.lock() = Some(Instant::now());
    }

    /// The whole account and its revision.
    pub(super) async fn load(&self, id: UserId) -> Result<Option<(Account, u64)>, Problem> {
        let begun = Instant::now();
        let Some(entry) = self.rows.get(Table::Users, &id.to_bytes()).await? else {
            // Perhaps this read was stale, and the user is new: that no row was found is not believed for long.
            self.known
                .update(id, |now| now.map(|now| Known { user: None, since: Instant::now(), ..now.clone() }));
            return Ok(None);
        };
        let account: Account = serde_json::from_slice(&entry.value).map_err(|_| {
            tracing::error!(user = %id, "a stored user cannot be read");
            Problem::internal()
        })?;
        self.remember(id, entry.revision, Some(&account), begun);
        Ok(Some((account, entry.revision)))
    }

    /// Later revisions win, whoever read them first.
    fn remember(&self, id: UserId, revision: u64, account: Option<&Account>, begun: Instant) {
        self.known.update(id, |now| {
            let older = now.is_some_and(|now| now.revision > revision);
            let same = now.filter(|now| now.revision == revision).and_then(|now| now.user.clone());
            let user = same.or_else(|| account.map(|account| Arc::new(account.view())));
            let doubted = now.and_then(|now| now.doubted).filter(|doubted| *doubted >= begun);
            (!older).then_some(Known { revision, since: begun, user, doubted })
        });
    }

    /// Who has an e-mail address, by its canonical form.
    pub(super) async fn by_email(&self, canonical: &str) -> Result<Option<UserId>, Problem> {
        self.indexed(Table::UsersByEmail, canonical).await
    }

    /// Who has a name, but for case.
    pub(super) async fn by_name(&self, name: &str) -> Result<Option<Arc<User>>, Problem> {
        let Some(name) = Username::find(name) else { return Ok(None) };
        let Some(id) = self.indexed(Table::UsersByName, &name.key).await? else { return Ok(None) };
        Ok(self.find(id).await?.filter(|user| name.same(&user.profile.username)))
    }

    /// Whether somebody has a name or one that looks like it.
    pub(super) async fn name_is_taken(&self, name: &Username) -> Result<bool, Problem> {
        Ok(self.indexed(Table::UsersByName, &name.key).await?.is_some())
    }

    async fn indexed(&self, table: Table, key: &str) -> Result<Option<UserId>, Problem> {
        let entry = self.rows.get(table, key.as_bytes()).await?;
        Ok(entry.and_then(|entry| entry.value.as_ref().try_into().ok()).map(UserId::from_bytes))
    }

    /// Makes a user and his indexes in one step: those by his names, and what else is given.
    pub(super) async fn create(
        &self,
        account: &Account,
        also: Option<(Row, Expect)>,
    ) -> Result<Created, Problem> {
        let id = Bytes::copy_from_slice(&account.id.to_bytes());
        let index = |table, key: &str| Row {
            table,
            key: Bytes::copy_from_slice(key.as_bytes()),
            value: Some(id.clone()),
        };
        let mut writes = vec![
            (index(Table::UsersByEmail, &account.email_key), Expect::Absent),
            (index(Table::UsersByName, &account.name_key), Expect::Absent),
            (Row { table: Table::Users, key: id.clone(), value: Some(encode(account)?) }, Expect::Absent),
        ];
        writes.extend(also);
        match self.rows.write(writes).await? {
            Written::Done => {
                self.load(account.id).await?;
                Ok(Created::Done)
            }
            Written::Conflict(0) => Ok(Created::EmailTaken),
            Written::Conflict(1) => Ok(Created::NameTaken),
            // Its indexes, which are written in the same step, may have been looked at just before. Or he is made by another login.
            Written::Conflict(_) => Ok(Created::There),
        }
    }

    /// Changes a user. `None`: there is no such user.
    pub(super) async fn change(
        &self,
        id: UserId,
        change: impl Fn(&mut Account),
    ) -> Result<Option<Account>, Problem> {
        self.change_with(id, change, &[]).await
    }

    /// Changes a user, and other rows in the same step.
    pub(super) async fn change_with(
        &self,
        id: UserId,
        change: impl Fn(&mut Account),
        also: &[(Row, Expect)],
    ) -> Result<Option<Account>, Problem> {
        for _ in 0..TRIES {
            let Some((mut account, revision)) = self.load(id).await? else { return Ok(None) };
            let before = account.clone();
            change(&mut account);
            if account == before && also.is_empty() {
                return Ok(Some(account));
            }
            let row = Row {
                table: Table::Users,
                key: Bytes::copy_from_slice(&id.to_bytes()),
                value: Some(encode(&account)?),
            };
            let mut writes = vec![(row, Expect::Revision(revision))];
            writes.extend_from_slice(also);
            if self.rows.write(writes).await? == Written::Done {
                // Reads the new revision, so that everybody here sees the change.
                return Ok(self.load(id).await?.map(|(account, _)| account));
            }
        }
        Err(Problem::unavailable("Somebody else changes this user; try again."))
    }

    /// Deletes a user and his indexes, and notes that he has yet to leave his rooms, in one step. False: there was no such
    /// user.
    pub(super) async fn delete(&self, id: UserId, at: i64) -> Result<bool, Problem> {
        for _ in 0..TRIES {
            let Some((account, revision)) = self.load(id).await? else { return Ok(false) };
            let row = |table, key: &[u8]| Row { table, key: Bytes::copy_from_slice(key), value: None };
            let departure = Row {
                table: Table::Departures,
                key: Bytes::copy_from_slice(&id.to_bytes()),
                value: Some(departures::value(&account, at)?),
            };
            let mut writes = vec![
                (row(Table::Users, &id.to_bytes()), Expect::Revision(revision)),
                (departure, Expect::Any),
                (row(Table::UsersByEmail, account.email_key.as_bytes()), Expect::Any),
                (row(Table::UsersByName, account.name_key.as_bytes()), Expect::Any),
            ];
            let identities = account.identities.iter();
            writes.extend(identities.map(|one| (row(Table::Identities, &one.key()), Expect::Any)));
            if self.rows.write(writes).await? == Written::Done {
                self.remember(id, GONE, None, Instant::now());
                return Ok(true);
            }
        }
        Err(Problem::unavailable("Somebody else changes this user; try again."))
    }
}

fn encode(account: &Account) -> Result<Bytes, Problem> {
    serde_json::to_vec(account).map(Bytes::from).map_err(|_| Problem::internal())
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::backend::embedded::{Store, StoreMetrics, StoreSettings};

    fn account(id: u128, name: &str) -> Account {
        Account {
            id: UserId(id),
            username: name.to_owned(),
            email: format!("{name}@example.org"),
            display_name: name.to_owned(),
            language: "en".to_owned(),
            avatar_url: None,
            login_code: false,
            mail_about: MailAbout::default(),
            untranslated: Vec::new(),
            identities: Vec::new(),
            created_at: 0,
            password: String::new(),
            email_key: format!("{name}@example.org"),
            name_key: name.to_owned(),
            epoch: 0,
        }
    }

    /// The users as two nodes on one store know them.
    fn two_nodes() -> (Users, Users, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let metrics = StoreMetrics::register(&mut Registry::default());
        let store = Store::open(dir.path(), &StoreSettings::default(), metrics).unwrap();
        let settings = AccountsSettings::default();
        (Users::new(store.clone(), &settings), Users::new(store, &settings), dir)
    }

    #[tokio::test]
    async fn what_was_not_found_may_come_and_what_was_deleted_does_not_come_back() {
        let (here, there, _dir) = two_nodes();
        let id = UserId(7);
        assert!(here.find(id).await.unwrap().is_none());
        assert_eq!(there.create(&account(7, "ada"), None).await.unwrap(), Created::Done);
        assert_eq!(here.find(id).await.unwrap().unwrap().profile.username, "ada");
        assert_eq!(here.create(&account(8, "ada"), None).await.unwrap(), Created::EmailTaken);
        let (read_before, revision) = here.load(id).await.unwrap().unwrap();
        assert!(here.delete(id, 0).await.unwrap());
        // A read that began before the deletion ends after it.
        here.remember(id, revision, Some(&read_before), Instant::now());
        assert!(here.find(id).await.unwrap().is_none());
        assert!(!here.delete(id, 0).await.unwrap());
        assert!(here.by_email("ada@example.org").await.unwrap().is_none());
        assert_eq!(here.create(&account(9, "ada"), None).await.unwrap(), Created::Done);
    }

    #[tokio::test]
    async fn an_older_read_does_not_hide_a_change() {
        let (users, _, _dir) = two_nodes();
        users.create(&account(7, "ada"), None).await.unwrap();
        let (before, revision) = users.load(UserId(7)).await.unwrap().unwrap();
        users.change(UserId(7), |account| account.epoch += 1).await.unwrap();
        users.remember(UserId(7), revision, Some(&before), Instant::now());
        assert_eq!(users.find(UserId(7)).await.unwrap().unwrap().epoch, 1);
    }

    #[tokio::test]
    async fn what_was_read_before_it_was_doubted_is_not_believed() {
        let (here, there, _dir) = two_nodes();
        let id = UserId(7);
        there.create(&account(7, "ada"), None).await.unwrap();
        for known_before in [true, false] {
            let epoch = there.find(id).await.unwrap().unwrap().epoch;
            if known_before {
                assert_eq!(here.find(id).await.unwrap().unwrap().epoch, epoch);
            } else {
                here.known.update(id, |_| None);
            }
            // A read begins; the user is changed, and this node hears of it; the read ends.
            let begun = Instant::now();
            let (before, revision) = there.load(id).await.unwrap().unwrap();
            there.change(id, |account| account.epoch += 1).await.unwrap();
            here.doubt(id);
            here.remember(id, revision, Some(&before), begun);
            assert_eq!(here.find(id).await.unwrap().unwrap().epoch, epoch + 1);
            there.change(id, |account| account.epoch += 1).await.unwrap();
            assert_eq!(here.find(id).await.unwrap().unwrap().epoch, epoch + 1, "nobody said so");
            here.doubt_all();
            assert_eq!(here.find(id).await.unwrap().unwrap().epoch, epoch + 2);
        }
    }
}
