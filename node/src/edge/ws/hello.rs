//! `hello`: credentials, `welcome`, and which rooms are followed from then on.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};

use rookery_protocol::{
    client::{self, server_frame::Frame},
    id::RoomId,
};

use super::{
    answer::{answer, refusal},
    node::Edge,
};
use crate::{
    accounts::Principal,
    live::link::{Link, Order, Phase, Signal},
    problem::Problem,
    translation::Lang,
};

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
            link.signal(if problem.status == 401 { Signal::Refused } else { Signal::Failed });
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
    let wanted = Wanted::of(&hello);
    let standings = if wanted.is_nothing() {
        Vec::new()
    } else {
        edge.app.rooms.standings(user, |room| wanted.after(room).is_some()).await?
    };
    let mut rooms = Vec::new();
    let mut orders = Vec::new();
    for standing in standings {
        let Some(after) = wanted.after(standing.room) else { continue };
        if orders.len() == edge.settings.max_subscriptions {
            break;
        }
        rooms.push(client::RoomState {
            room: standing.room.to_string(),
            last_seq: standing.last_seq,
            read_seq: standing.read_seq,
            unread: standing.unread,
        });
        // Who does not resume goes on from what `welcome` says: nothing is between that and what is live.
        orders.push(Order { room: standing.room, after: after.or(Some(standing.last_seq)), known });
    }
    link.identify(principal.profile.clone());
    if edge.app.translation.is_some()
        && let Some(language) = Lang::parse(&principal.language)
    {
        link.read_in(language, principal.untranslated.clone());
    }
    link.follows_all.store(wanted.all, Ordering::Release);
    edge.registry.admit(link, user, principal.session);
    link.enter(Phase::Open, principal.expires_at);
    if link.is_closed() {
        // It left while it was let in: nobody else will take it off the lists.
        edge.registry.remove(link);
    }
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
    Ok(orders)
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
        Ok(principal) if link.user().is_some_and(|user| user.id == principal.profile.id) => {
            edge.registry.move_session(&link, principal.session);
            link.enter(Phase::Open, principal.expires_at);
            super::answer::ok(re)
        }
        Ok(_) => refusal(re, &Problem::new(401, "token_invalid", "That token is somebody else's.")),
        Err(problem) => refusal(re, &problem),
    };
    link.answer(&frame);
}
