//! One look at a ChatRoom.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::{
    Api, Resource as _, ResourceExt,
    api::{Patch, PatchParams},
    runtime::events::EventType,
};
use rookery_crds::{ChatCluster, ChatRoom, room::DeletionPolicy};
use rookery_protocol::peer::RoomReply;
use serde_json::json;

use super::{
    FINALIZER, Next,
    calls::{CallError, Nodes},
    near::{self, Near},
    request::{key, request},
    status::{self, NAMED},
};
use crate::{
    build::OPERATOR,
    cluster::{Context, LookError, api},
    status::Says,
};

/// Whether somebody is called like a member that is declared, no watch tells.
const UNKNOWN: Duration = Duration::from_secs(60);

pub(super) async fn look(room: &ChatRoom, context: &Context) -> Result<Next, LookError> {
    if room.namespace().is_none() || room.uid().is_none() {
        return Ok(Next::Gone);
    }
    let kept = room.finalizers().iter().any(|own| own == FINALIZER);
    let deletes = room.spec.deletion_policy == DeletionPolicy::Delete;
    if room.metadata.deletion_timestamp.is_some() {
        if !kept {
            return Ok(Next::Gone);
        }
        if !deletes {
            return keep(context, room, false).await.map(|()| Next::Gone);
        }
        return leave(context, room).await;
    }
    // Before there is a room, so that none is left over.
    if kept != deletes {
        keep(context, room, deletes).await?;
    }
    let cluster = match near::cluster(context, room).await? {
        Near::There(cluster) => cluster,
        other => {
            let says = absent(room, &other);
            status::write(context, room, status::said(room, &says, Some(false))).await?;
            return Ok(Next::Steady);
        }
    };
    if cluster.spec.paused {
        status::write(context, room, status::said(room, &paused(&cluster), None)).await?;
        return Ok(Next::Steady);
    }
    match near::nodes(context, &cluster).await? {
        Ok(nodes) => declare(context, room, &cluster, &nodes).await,
        Err((reason, why)) => {
            let available = (reason == "NoNodeReady").then_some(false);
            status::write(context, room, status::said(room, &(false, reason, why), available)).await?;
            Ok(Next::Failed)
        }
    }
}

/// Asks for what is declared, and tells what became of it.
async fn declare(
    context: &Context,
    room: &ChatRoom,
    cluster: &ChatCluster,
    nodes: &Nodes,
) -> Result<Next, LookError> {
    match nodes.ensure(&request(room)).await {
        Ok(reply) => {
            if reply.changed {
                tracing::info!(namespace = room.namespace(), room = room.name_any(), "made as declared");
            }
            let says = become_of(room, cluster, &reply);
            let next = if reply.unknown_users.is_empty() { Next::Steady } else { Next::After(UNKNOWN) };
            let told = status::seen(room, status::said(room, &says, Some(true)), &reply);
            status::write(context, room, told).await?;
            Ok(next)
        }
        Err(error) => {
            tracing::warn!(namespace = room.namespace(), room = room.name_any(), %error, "not as declared");
            let says = (false, reason(&error), error.to_string());
            status::write(context, room, status::said(room, &says, None)).await?;
            Ok(Next::Failed)
        }
    }
}

/// What is to be said of a room that was made.
fn become_of(room: &ChatRoom, cluster: &ChatCluster, reply: &RoomReply) -> Says {
    if !reply.unknown_users.is_empty() {
        let named: Vec<_> = reply.unknown_users.iter().take(NAMED).map(String::as_str).collect();
        let more = reply.unknown_users.len() - named.len();
        let more = if more > 0 { format!(" nor like {more} others") } else { String::new() };
        let message = format!(
            "nobody is called {}{more}: correct spec.members, or wait until they register; the rest is as declared",
            named.join(" or "),
        );
        return (false, "UsersUnknown", message);
    }
    let pinned = room.spec.shard.as_ref();
    if let Some(shard) = pinned.filter(|shard| cluster.spec.shards.iter().all(|own| own.name != **shard)) {
        let message = format!(
            "ChatCluster {} has no shard {shard}: correct spec.shard, or declare the shard; meanwhile the room is in shard {}",
            cluster.name_any(),
            reply.shard,
        );
        return (false, "ShardUnknown", message);
    }
    (true, "AsDeclared", "the room is as it is declared".to_owned())
}

fn reason(error: &CallError) -> &'static str {
    match error {
        CallError::NoAnswer(_) => "NoAnswer",
        CallError::Refused(_) => "Refused",
        CallError::TokenRefused(_) => "TokenRefused",
        CallError::TooOld(_) => "NodesTooOld",
    }
}

fn absent(room: &ChatRoom, near: &Near) -> Says {
    let name = &room.spec.cluster_ref.name;
    match near {
        Near::Going => (false, "ClusterGoing", format!("ChatCluster {name} is being deleted")),
        _ => {
            let message = format!(
                "there is no ChatCluster {name} in this namespace: make it, or make this ChatRoom anew with another spec.clusterRef"
            );
            (false, "ClusterMissing", message)
        }
    }
}

fn paused(cluster: &ChatCluster) -> Says {
    let message = format!("ChatCluster {} is paused: the operator changes nothing of it", cluster.name_any());
    (false, "ClusterPaused", message)
}

/// Deletes the room of a ChatRoom that goes, and lets that go. It goes in any case when there is nobody who could do it.
async fn leave(context: &Context, room: &ChatRoom) -> Result<Next, LookError> {
    let cluster = match near::cluster(context, room).await? {
        Near::There(cluster) => cluster,
        other => {
            let (_, _, why) = absent(room, &other);
            return let_go(context, room, EventType::Normal, "RoomKept", why).await;
        }
    };
    if cluster.spec.paused {
        let (holds, word, why) = paused(&cluster);
        let why = format!(
            "{why}, and does not delete the room; with spec.deletionPolicy Retain this ChatRoom goes"
        );
        status::write(context, room, status::said(room, &(holds, word, why), None)).await?;
        return Ok(Next::Steady);
    }
    let (word, why) = match near::nodes(context, &cluster).await? {
        Ok(nodes) => match nodes.remove(&key(room)).await {
            Ok(removed) => {
                let what = if removed { "the room is deleted" } else { "the room was not there" };
                return let_go(context, room, EventType::Normal, "RoomDeleted", what.to_owned()).await;
            }
            Err(error) => (reason(&error), error.to_string()),
        },
        Err(why) => why,
    };
    let since = room.metadata.deletion_timestamp.as_ref().map_or_else(Timestamp::now, |time| time.0);
    let waits = Timestamp::now().as_second() - since.as_second();
    let most = i64::from(context.settings.room_deletion_seconds);
    if waits >= most {
        let why = format!("the room is not deleted and stays in the chat: for {most} s this was so: {why}");
        return let_go(context, room, EventType::Warning, "RoomKept", why).await;
    }
    let why = format!("the room is not deleted yet: {why}; this ChatRoom goes without that after {most} s");
    status::write(context, room, status::said(room, &(false, word, why), None)).await?;
    Ok(Next::Failed)
}

async fn let_go(
    context: &Context,
    room: &ChatRoom,
    kind: EventType,
    reason: &str,
    why: String,
) -> Result<Next, LookError> {
    tracing::info!(namespace = room.namespace(), room = room.name_any(), reason, why, "a ChatRoom goes");
    keep(context, room, false).await?;
    context.tell_of(&room.object_ref(&()), kind, reason, why).await;
    Ok(Next::Gone)
}

/// Sets our finalizer, or takes it away.
async fn keep(context: &Context, room: &ChatRoom, keep: bool) -> Result<(), LookError> {
    let rooms: Api<ChatRoom> = Api::namespaced(context.client.clone(), &room.namespace().unwrap_or_default());
    let mut all: Vec<_> = room.finalizers().iter().filter(|own| *own != FINALIZER).cloned().collect();
    if keep {
        all.push(FINALIZER.to_owned());
    }
    // Of what was read, and of nothing that came after: others have finalizers, too.
    let patch = json!({ "metadata": {
        "uid": room.uid(), "resourceVersion": room.resource_version(), "finalizers": all,
    } });
    let params = PatchParams { field_manager: Some(OPERATOR.to_owned()), ..PatchParams::default() };
    match rooms.patch(&room.name_any(), &params, &Patch::Merge(&patch)).await {
        Ok(_) => {
            context.metrics.wrote("ChatRoom", "finalizer");
            Ok(())
        }
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(api("change the finalizers of a ChatRoom")(error)),
    }
}
