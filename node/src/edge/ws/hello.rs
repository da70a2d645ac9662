//! `hello`: credentials, `welcome`, and which rooms are followed from then on.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
};

use rookery_core::room::Profile;
use rookery_protocol::{
    client::{self, server_frame::Frame},
    id::{RoomId, UserId},
};

use super::{
    answer::{answer, end, refusal, too_many_rooms},
    node::Edge,
};
use crate::{
    accounts::{Principal, User},
    live::link::{Link, Order, Signal},
    problem::Problem,
    translation::Lang,
};

/// Bytes of what a client calls itself that are kept.
const MAX_CLIENT: usize = 128;

/// Credentials that came in the URL. Never printed.
pub(super) enum UrlCredentials {
    Ticket(String),
    Token(String),
}

impl UrlCredentials {
    /// Out of a query; a ticket is preferred, and both consist of characters that need no escaping.
    pub(super) fn of(query: &str) -> Option<Self> {
        let find = |name: &str| {
            query
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .find_map(|(key, value)| (key == name).then(|| value.to_owned()))
        };
        find("ticket").map(Self::Ticket).or_else(|| find("token").map(Self::Token))
    }
}

/// Answers `hello` request `re`: `welcome`, then orders for the rooms; or an error, and the connection is closed.
pub(super) async fn hello(
    edge: Arc<Edge>,
    link: Arc<Link>,
    re: Option<u64>,
    hello: client::Hello,
    url: Option<UrlCredentials>,
) {
    match admit(&edge, &link, re, hello, url).await {
        Ok(orders) => {
            edge.metrics.hellos.inc();
            link.order(orders);
            link.signal(Signal::Admitted);
        }
        Err(problem) => {
            link.post(&refusal(re, &problem));
            // Only who was refused is told so; when it could not be found out, he may try again.
            link.signal(if problem.status == 401 { Signal::Refused } else { end(&problem) });
        }
    }
}

async fn authenticate(
    edge: &Edge,
    hello: &client::Hello,
    url: Option<UrlCredentials>,
) -> Result<Principal, Problem> {
    let accounts = &edge.app.accounts;
    match (&hello.token, &hello.ticket, url) {
        (Some(token), ..) => accounts.authenticate(token).await,
        (None, Some(ticket), _) => accounts.redeem_ticket(ticket).await,
        (None, None, Some(UrlCredentials::Ticket(ticket))) => accounts.redeem_ticket(&ticket).await,
        (None, None, Some(UrlCredentials::Token(token))) if edge.settings.url_token != Some(false) => {
            accounts.authenticate(&token).await
        }
        (None, None, _) => Err(Problem::new(401, "token_required", "hello must carry a token or a ticket.")),
    }
}

async fn admit(
    edge: &Arc<Edge>,
    link: &Arc<Link>,
    re: Option<u64>,
    hello: client::Hello,
    url: Option<UrlCredentials>,
) -> Result<Vec<Order>, Problem> {
    let principal = authenticate(edge, &hello, url).await?;
    let user = principal.profile.id;
    let known = Some(edge.app.hub.dismissals());
    let newcomers = edge.newcomers();
    let wanted = Wanted::of(&hello);
    let mut standings = if wanted.is_nothing() {
        Vec::new()
    } else {
        edge.app.rooms.standings(user, |room| wanted.after(room).is_some()).await?
    };
    let left_out = standings.len().saturating_sub(edge.settings.max_subscriptions);
    if left_out > 0 {
        // Those that were asked for by name come first.
        standings.sort_by_key(|standing| !wanted.rooms.contains_key(&standing.room));
        standings.truncate(edge.settings.max_subscriptions);
    }
    let mut rooms = Vec::with_capacity(standings.len());
    let mut orders = Vec::with_capacity(standings.len());
    for standing in standings {
        let Some(after) = wanted.after(standing.room) else { continue };
        rooms.push(client::RoomState {
            room: standing.room.to_string(),
            last_seq: standing.last_seq,
            read_seq: standing.read_seq,
            unread: standing.unread,
        });
        // Who does not resume goes on from what `welcome` says: nothing is between that and what is live.
        orders.push(Order { room: standing.room, after: after.or(Some(standing.last_seq)), known });
    }
    if let Some(program) = &hello.client {
        tracing::debug!(session = %principal.session, client = cut(program), "a client says what it is");
    }
    become_known(edge, link, &principal.profile, &principal.language, &principal.untranslated);
    link.post(&answer(
        re,
        Frame::Welcome(client::Welcome {
            session: principal.session.to_string(),
            user: Some(client::User {
                id: user.to_string(),
                username: principal.profile.username.clone(),
                display_name: principal.profile.display_name.clone(),
                language: principal.language.to_string(),
                created_at: principal.created_at,
            }),
            node: edge.app.node.clone(),
            heartbeat_ms: edge.settings.heartbeat_ms,
            limits: Some(edge.limits()),
            rooms,
        }),
    ));
    if left_out > 0 {
        link.post(&refusal(None, &too_many_rooms(left_out)));
    }
    link.follows_all.store(wanted.all, Ordering::Release);
    edge.registry.admit(link, user, principal.session);
    link.open(principal.expires_at);
    if link.is_closed() {
        // It left while it was let in: nobody else will take it off the lists.
        edge.registry.remove(link);
    }
    still_alive(edge, link, &principal).await;
    if wanted.all && edge.newcomers() != newcomers {
        came_meanwhile(edge, link, user, &mut orders).await;
    }
    Ok(orders)
}

/// Who a connection's user is, and what he reads, but for some rooms.
fn become_known(edge: &Edge, link: &Link, profile: &Arc<Profile>, language: &str, except: &Arc<[RoomId]>) {
    link.identify(profile.clone());
    if edge.app.translation.is_some() {
        link.read_in(Lang::parse(language), except.clone());
    }
}

/// A user may have other names, or read otherwise, than when his connections began.
pub(super) async fn look_up(edge: &Edge, user: UserId, links: &[Arc<Link>]) {
    let mut told: Option<Arc<User>> = None;
    loop {
        let now = match edge.app.accounts.user(user).await {
            Ok(now) => now,
            // He is gone, and so will be his connections; or nobody knows now, and a refresh of the token will tell.
            Err(problem) => {
                tracing::debug!(%problem, %user, "it cannot be looked up what a user is called now");
                return;
            }
        };
        // Looked once more: of two who do this at once, neither may leave the older names behind.
        let same = |told: &User| {
            told.profile == now.profile
                && told.language == now.language
                && told.untranslated == now.untranslated
        };
        if told.as_deref().is_some_and(same) {
            return;
        }
        for link in links {
            become_known(edge, link, &now.profile, &now.language, &now.untranslated);
        }
        told = Some(now);
    }
}

/// What a client calls itself, as far as it is kept.
fn cut(program: &str) -> &str {
    &program[..program.floor_char_boundary(MAX_CLIENT)]
}

/// A login that ended before the registry knew of this connection had nobody to close, and a name that was changed nobody to
/// tell: it is looked once more.
///
/// False: it has ended, and so does the connection.
async fn still_alive(edge: &Edge, link: &Arc<Link>, principal: &Principal) -> bool {
    let user = principal.profile.id;
    match edge.app.accounts.is_alive(principal.session, user).await {
        Ok(true) => look_up(edge, user, std::slice::from_ref(link)).await,
        Ok(false) => {
            link.signal(Signal::Revoked);
            return false;
        }
        // It ends with its token at the latest.
        Err(problem) => tracing::warn!(%problem, "it cannot be found out whether a login has ended"),
    }
    true
}

/// Rooms that the user came into before the registry knew of this connection are followed, too: from the event on that
/// says how he came in, up to where his mark was set then.
async fn came_meanwhile(edge: &Edge, link: &Link, user: UserId, orders: &mut Vec<Order>) {
    let ordered: BTreeSet<_> = orders.iter().map(|order| order.room).collect();
    match edge.app.rooms.standings(user, |room| !ordered.contains(&room)).await {
        Ok(standings) => orders.extend(standings.into_iter().map(|standing| Order {
            room: standing.room,
            after: standing.read_seq.checked_sub(1),
            known: None,
        })),
        // Better it comes again than that it misses a room.
        Err(problem) => link.signal(end(&problem)),
    }
}

/// Which rooms a `hello` asks for. Those that its user is not in are left out of `welcome`.
struct Wanted {
    all: bool,
    rooms: BTreeMap<RoomId, Option<u64>>,
}

impl Wanted {
    fn of(hello: &client::Hello) -> Self {
        let selection = hello.rooms.iter().flat_map(|selection| &selection.rooms);
        let mut rooms: BTreeMap<_, _> =
            selection.filter_map(|room| Some((room.parse().ok()?, None))).collect();
        rooms.extend(hello.resume.iter().filter_map(|(room, &seq)| Some((room.parse().ok()?, Some(seq)))));
        Self { all: hello.rooms.as_ref().is_some_and(|selection| selection.all), rooms }
    }

    fn is_nothing(&self) -> bool {
        !self.all && self.rooms.is_empty()
    }

    /// `None`: not at all; else after which seq.
    fn after(&self, room: RoomId) -> Option<Option<u64>> {
        self.rooms.get(&room).copied().or(self.all.then_some(None))
    }
}

/// Answers `refresh` request `re`: the connection goes on with `token`.
pub(super) async fn refresh(edge: Arc<Edge>, link: Arc<Link>, re: Option<u64>, token: String) {
    let frame = match edge.app.accounts.authenticate(&token).await {
        Ok(principal) if link.user() == Some(principal.profile.id) => {
            become_known(&edge, &link, &principal.profile, &principal.language, &principal.untranslated);
            edge.registry.move_session(&link, principal.session);
            link.open(principal.expires_at);
            match still_alive(&edge, &link, &principal).await {
                true => super::answer::ok(re),
                false => {
                    refusal(re, &Problem::new(401, "session_revoked", "This login has ended; log in again."))
                }
            }
        }
        Ok(_) => refusal(re, &Problem::new(401, "token_invalid", "That token is somebody else's.")),
        Err(problem) => refusal(re, &problem),
    };
    link.answer(&frame);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_name_so_much_is_kept() {
        assert_eq!(cut("web/1"), "web/1");
        assert_eq!(cut(&"é".repeat(100)), "é".repeat(64));
        assert_eq!(cut(&format!("x{}", "é".repeat(100))), format!("x{}", "é".repeat(63)));
    }
}
