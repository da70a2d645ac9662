//! Whose account an identity opens: one row per identity, and in the account the list of its own.
//!
//! The row is what counts. The list is what the user sees, and what is removed with the account; a node of an older version forgets
//! it when it changes an account, and the next login by the identity puts it there again.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use rookery_protocol::id::UserId;
use sha2::{Digest, Sha256};

use super::super::{Account, Accounts, Principal, Secret, session_revoked};
use crate::{
    backend::{Expect, Row, Table},
    problem::Problem,
};

/// Identities of one account, at most.
const MOST: usize = 16;

/// Somebody at an issuer.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Identity {
    /// The issuer's address.
    pub issuer: String,
    /// `sub`: what it calls him, and nobody else ever.
    pub subject: String,
}

impl Identity {
    /// A short name of it, for paths.
    pub fn id(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.key())
    }

    /// Of its row: of the same length for all.
    pub(in crate::accounts) fn key(&self) -> Bytes {
        let hash = Sha256::new_with_prefix(&self.issuer).chain_update([0]).chain_update(&self.subject);
        Bytes::copy_from_slice(&hash.finalize())
    }
}

/// An identity of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityOf {
    /// It.
    pub identity: Identity,
    /// What the service calls the issuer. `None`: it is not trusted any more, and the identity opens nothing.
    pub issuer: Option<String>,
}

/// Who has an identity.
pub(super) struct Holder {
    pub(super) user: Option<Account>,
    /// What its row is expected to be when somebody gets it.
    expect: Expect,
}

impl Holder {
    /// The write that gives it to a user.
    pub(super) fn row_for(self, identity: &Identity, user: UserId) -> (Row, Expect) {
        let value = Some(Bytes::copy_from_slice(&user.to_bytes()));
        (Row { table: Table::Identities, key: identity.key(), value }, self.expect)
    }
}

impl Accounts {
    pub(super) async fn holder(&self, identity: &Identity) -> Result<Holder, Problem> {
        let Some(entry) = self.rows.get(Table::Identities, &identity.key()).await? else {
            return Ok(Holder { user: None, expect: Expect::Absent });
        };
        let expect = Expect::Revision(entry.revision);
        let Ok(id) = entry.value.as_ref().try_into().map(UserId::from_bytes) else {
            tracing::error!(issuer = identity.issuer, "the stored holder of an identity cannot be read");
            return Err(Problem::internal());
        };
        let Some((account, _)) = self.users.load(id).await? else {
            return Ok(Holder { user: None, expect });
        };
        if account.identities.contains(identity) {
            return Ok(Holder { user: Some(account), expect });
        }
        let listed = self.users.change(id, |account| list(account, identity)).await?;
        Ok(Holder { user: listed, expect })
    }

    /// Gives an identity, whose holder has been looked up, to a user if it is nobody's.
    pub(super) async fn attach(
        &self,
        user: UserId,
        identity: &Identity,
        holder: Holder,
    ) -> Result<Account, Problem> {
        if let Some(account) = holder.user {
            return if account.id == user { Ok(account) } else { Err(identity_taken()) };
        }
        let (account, _) = self.users.load(user).await?.ok_or_else(session_revoked)?;
        if account.identities.len() >= MOST {
            return Err(Problem::new(409, "limit_reached", "An account has at most 16 identities."));
        }
        let index = holder.row_for(identity, user);
        let changed = self.users.change_with(user, |account| list(account, identity), &[index]).await?;
        changed.ok_or_else(session_revoked)
    }

    /// One's own identities.
    ///
    /// # Errors
    /// 401 `session_revoked` when the account was deleted; `unavailable`.
    pub async fn identities(&self, me: &Principal) -> Result<Vec<IdentityOf>, Problem> {
        Ok(self.described(self.account(me).await?))
    }

    /// Adds the identity of an ID token to one's own account: from then on it opens it.
    ///
    /// # Errors
    /// 401 `id_token_invalid`; 409 `identity_taken` (it opens somebody else's account), 409 `limit_reached`; 429; `unavailable`.
    pub async fn add_identity(
        &self,
        me: &Principal,
        token: &Secret,
        nonce: Option<&str>,
        address: std::net::IpAddr,
    ) -> Result<Vec<IdentityOf>, Problem> {
        let person = self.person(token, nonce, address).await?;
        let holder = self.holder(&person.identity).await?;
        let account = self.attach(me.profile.id, &person.identity, holder).await?;
        self.use_up(token, &person).await?;
        Ok(self.described(account))
    }

    /// Takes an identity from one's own account. Logins that it has begun go on; a password is set as if it had been forgotten.
    ///
    /// # Errors
    /// 404 `identity_not_found`; `unavailable`.
    pub async fn remove_identity(&self, me: &Principal, id: &str) -> Result<(), Problem> {
        let account = self.account(me).await?;
        let found = account.identities.iter().find(|identity| identity.id() == id);
        let identity = found
            .ok_or_else(|| Problem::new(404, "identity_not_found", "Your account has no such identity."))?;
        let index = Row { table: Table::Identities, key: identity.key(), value: None };
        let unlist = |account: &mut Account| account.identities.retain(|other| other != identity);
        self.users.change_with(account.id, unlist, &[(index, Expect::Any)]).await?;
        Ok(())
    }

    fn described(&self, account: Account) -> Vec<IdentityOf> {
        let name = |url: &str| {
            let mut all = self.settings.external_issuers.iter();
            all.find(|(_, issuer)| issuer.url == url).map(|(name, _)| name.clone())
        };
        let describe = |identity: Identity| IdentityOf { issuer: name(&identity.issuer), identity };
        account.identities.into_iter().map(describe).collect()
    }
}

fn list(account: &mut Account, identity: &Identity) {
    if account.identities.len() < MOST && !account.identities.contains(identity) {
        account.identities.push(identity.clone());
    }
}

fn identity_taken() -> Problem {
    Problem::new(409, "identity_taken", "This login opens another account; remove it there first.")
}
