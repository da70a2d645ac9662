//! Accounts: each has its e-mail address and its name for itself, and what was acknowledged about it is so.

use std::collections::{BTreeMap, BTreeSet};

use super::Fault;

/// What somebody asked about an account, or was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields of each are the same few")]
pub enum Deed {
    /// A registration was verified, and acknowledged with this id.
    Made { id: String, username: String, email: String },
    /// Its deletion was about to be asked for.
    DeletionAsked { id: String },
    /// Its deletion was acknowledged.
    Deleted { id: String },
}

/// An account as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAccount {
    /// As shown.
    pub username: String,
    /// What its address is found by.
    pub email_key: String,
    /// What its name is found by.
    pub name_key: String,
}

/// All that is stored about accounts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accounts {
    /// By id.
    pub users: BTreeMap<String, StoredAccount>,
    /// Ids by address.
    pub emails: BTreeMap<String, String>,
    /// Ids by name.
    pub names: BTreeMap<String, String>,
}

/// Compares what was asked and answered with what is stored in the end, and that with itself. No faults: every promise was kept.
pub fn check_accounts(deeds: &[Deed], stored: &Accounts) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (id, user) in &stored.users {
        let found = [
            ("address", &user.email_key, stored.emails.get(&user.email_key)),
            ("name", &user.name_key, stored.names.get(&user.name_key)),
        ];
        for (what, key, leads_to) in found {
            if leads_to != Some(id) {
                let why = format!("the {what} {key} leads to {leads_to:?}");
                faults.push(Fault::HalfAccount { id: id.clone(), why });
            }
        }
    }
    let emails = stored.emails.iter().map(|(key, id)| ("address", key, id));
    let names = stored.names.iter().map(|(key, id)| ("name", key, id));
    for (what, key, id) in emails.chain(names) {
        let user = stored.users.get(id);
        let own = user.map(|user| if what == "name" { &user.name_key } else { &user.email_key });
        if own != Some(key) {
            let why = format!("the {what} {key} leads to it, and its own is {own:?}");
            faults.push(Fault::HalfAccount { id: id.clone(), why });
        }
    }
    let asked: BTreeSet<&str> = deeds
        .iter()
        .filter_map(|deed| match deed {
            Deed::DeletionAsked { id } => Some(id.as_str()),
            _ => None,
        })
        .collect();
    for deed in deeds {
        match deed {
            Deed::Made { id, username, email } if !asked.contains(id.as_str()) => {
                let is = stored.users.get(id);
                let found = is.is_some_and(|is| is.username == *username && is.email_key == *email);
                if !found {
                    faults.push(Fault::LostAccount {
                        id: id.clone(),
                        username: username.clone(),
                        is: is.cloned(),
                    });
                }
            }
            Deed::Deleted { id } if stored.users.contains_key(id) => {
                faults.push(Fault::UndeadAccount { id: id.clone() });
            }
            _ => {}
        }
    }
    faults
}
