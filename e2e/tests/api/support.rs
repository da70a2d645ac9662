//! What several modules need. What any test binary could need is in the library.

use std::collections::{BTreeMap, BTreeSet};

use rookery_e2e::{
    service::Service,
    user::{User, id_of},
};
use serde_json::Value;

/// Registers several people at once.
pub(crate) async fn people<const N: usize>(names: [&str; N]) -> [User; N] {
    let registering = names.map(|name| User::register(Service::shared(), name));
    let all = futures_util::future::join_all(registering).await;
    all.try_into().unwrap_or_else(|_| unreachable!("as many as names"))
}

/// The members on a page.
#[track_caller]
pub(crate) fn members(page: &Value) -> &[Value] {
    page["members"].as_array().unwrap_or_else(|| panic!("no members in {page}"))
}

/// Roles by user id, as `user` sees the (small) room.
pub(crate) async fn roles(user: &User, room: &str) -> BTreeMap<String, String> {
    let page = user.api.get(&format!("/v1/rooms/{room}/members")).await.is(200);
    let role = |member: &Value| member["role"].as_str().unwrap_or_default().to_owned();
    members(&page).iter().map(|member| (id_of(&member["user"]), role(member))).collect()
}

/// Ids of the members, as `user` sees the (small) room.
pub(crate) async fn member_ids(user: &User, room: &str) -> BTreeSet<String> {
    roles(user, room).await.into_keys().collect()
}
