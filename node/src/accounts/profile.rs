//! What users see and change of themselves and others.

use std::sync::Arc;

use rookery_protocol::id::{RoomId, UserId};

use super::{Account, Accounts, MailAbout, Principal, User, names, now, session_revoked};
use crate::{backend::bus::News, problem::Problem};

/// Rooms that a user may want untranslated, at most.
const UNTRANSLATED: usize = 1000;

/// A change of one's own account. What is `None` stays.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// Name to show.
    pub display_name: Option<String>,
    /// BCP 47 tag.
    pub language: Option<String>,
    /// Address of a picture; `Some(None)` removes it.
    pub avatar_url: Option<Option<String>>,
    /// Whether each login needs a code by mail.
    pub login_code: Option<bool>,
    /// What mails are wanted about.
    pub mail_about: Option<MailAbout>,
}

fn user_not_found() -> Problem {
    Problem::new(404, "user_not_found", "There is no such user.")
}

impl Accounts {
    /// A user by id.
    ///
    /// # Errors
    /// 404 `user_not_found`; `unavailable`.
    pub async fn user(&self, id: UserId) -> Result<Arc<User>, Problem> {
        self.users.find(id).await?.ok_or_else(user_not_found)
    }

    /// A user by username, in any case.
    ///
    /// # Errors
    /// 404 `user_not_found`; `unavailable`.
    pub async fn user_by_name(&self, username: &str) -> Result<Arc<User>, Problem> {
        self.users.by_name(username).await?.ok_or_else(user_not_found)
    }

    /// One's own account.
    ///
    /// # Errors
    /// 401 `session_revoked` when it was deleted; `unavailable`.
    pub async fn account(&self, me: &Principal) -> Result<Account, Problem> {
        let found = self.users.load(me.profile.id).await?;
        found.map(|(account, _)| account).ok_or_else(session_revoked)
    }

    /// Changes one's own account. Messages that were sent keep the names that they were sent with.
    ///
    /// # Errors
    /// 422 `invalid` with fields, and nothing is changed; `unavailable`.
    pub async fn change_account(&self, me: &Principal, change: Change) -> Result<Account, Problem> {
        let mut wrong = Problem::new(422, "invalid", "The request has fields that cannot be accepted.");
        let mut checked = |field, result: Option<Result<String, &'static str>>| match result {
            None => None,
            Some(Ok(value)) => Some(value),
            Some(Err(why)) => {
                wrong.fields.insert(std::borrow::Cow::Borrowed(field), why.into());
                None
            }
        };
        let display_name = checked("display_name", change.display_name.as_deref().map(names::display_name));
        let language = checked("language", change.language.as_deref().map(names::language));
        let picture = change.avatar_url.as_ref().and_then(Option::as_deref);
        let picture = checked("avatar_url", picture.map(names::avatar_url));
        if !wrong.fields.is_empty() {
            return Err(wrong);
        }
        let changed = self
            .users
            .change(me.profile.id, |account| {
                if let Some(name) = &display_name {
                    account.display_name.clone_from(name);
                }
                if let Some(language) = &language {
                    account.language.clone_from(language);
                }
                if change.avatar_url.is_some() {
                    account.avatar_url.clone_from(&picture);
                }
                account.login_code = change.login_code.unwrap_or(account.login_code);
                account.mail_about = change.mail_about.unwrap_or(account.mail_about);
            })
            .await?;
        self.news.tell(News::UserChanged { user: me.profile.id });
        self.changed(me.profile.id);
        changed.ok_or_else(session_revoked)
    }

    /// Whether one wants a room's messages translated into one's language.
    ///
    /// # Errors
    /// `limit_reached` when there are too many rooms that he does not want it in; `unavailable`.
    pub async fn translate_room(&self, me: &Principal, room: RoomId, translate: bool) -> Result<(), Problem> {
        let changed = self
            .users
            .change(me.profile.id, |account| {
                let rooms = &mut account.untranslated;
                match rooms.binary_search(&room) {
                    Ok(place) if translate => drop(rooms.remove(place)),
                    Err(place) if !translate && rooms.len() < UNTRANSLATED => rooms.insert(place, room),
                    _ => {}
                }
            })
            .await?
            .ok_or_else(session_revoked)?;
        if !translate && changed.untranslated.binary_search(&room).is_err() {
            let why = "There are too many rooms that you read untranslated.";
            return Err(Problem::new(409, "limit_reached", why));
        }
        self.news.tell(News::UserChanged { user: me.profile.id });
        self.changed(me.profile.id);
        Ok(())
    }

    /// Deletes one's own account: it, its names and its logins are gone at once, and the name and address are free again.
    /// Messages stay, with the name of their sender as it was. He leaves his rooms soon: see [`crate::departures`].
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn delete_account(&self, me: &Principal) -> Result<(), Problem> {
        self.users.delete(me.profile.id, now()).await?;
        self.departs.notify_one();
        self.end_all_sessions(me.profile.id).await;
        Ok(())
    }
}
