//! A ChatCluster with one node that is ready: its pod is Kubernetes' own, the node in it is played here, with RoomAdmin as nodes really serve it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use rookery_protocol::peer::{
    EnsureRoomRequest, RemoveRoomReply, RoomKey, RoomReply,
    room_admin_server::{RoomAdmin, RoomAdminServer},
};
use serde_json::{Value, json};
use tonic::{Request, Response, Status, transport::server::TcpIncoming};

use crate::world::{PATIENCE, World};

/// What a played node knows.
#[derive(Default)]
pub(crate) struct Known {
    /// The token by which it knows the operator.
    pub(crate) token: String,
    /// Users that there are.
    pub(crate) users: BTreeSet<String>,
    /// Rooms that there are, by their names.
    pub(crate) rooms: BTreeMap<String, EnsureRoomRequest>,
    /// Calls that were answered.
    pub(crate) calls: u32,
    /// It does nothing and says this instead.
    pub(crate) says: Option<Status>,
    /// The number of each room's last event.
    pub(crate) last_seq: u64,
}

/// The node, and what serves it.
#[derive(Clone, Default)]
pub(crate) struct Town(Arc<Mutex<Known>>);

impl Town {
    pub(crate) fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.0.lock().unwrap()
    }

    fn admit<T>(&self, request: &Request<T>) -> Result<std::sync::MutexGuard<'_, Known>, Status> {
        let mut known = self.known();
        let bearer = format!("Bearer {}", known.token);
        let given = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        if given != Some(&bearer) {
            return Err(Status::unauthenticated("the operator's token is wrong or missing"));
        }
        known.calls += 1;
        match &known.says {
            Some(status) => Err(status.clone()),
            None => Ok(known),
        }
    }

    /// Declares a ChatCluster, has an operator make it, and plays its node.
    pub(crate) async fn start(world: &World) -> Self {
        world.declare("chat", spec()).await.unwrap();
        world.look("chat").await;
        Self::play(world).await
    }

    /// Plays the node of a ChatCluster that an operator makes.
    pub(crate) async fn play(world: &World) -> Self {
        static NEXT: AtomicU8 = AtomicU8::new(1);
        let town = Self::default();
        let secrets: Api<Secret> = Api::namespaced(world.client.clone(), &world.namespace);
        let pods: Api<Pod> = Api::namespaced(world.client.clone(), &world.namespace);
        let deadline = Instant::now() + PATIENCE;
        let (pod, secret) = loop {
            let pod = pods.get_opt("chat-main-0").await.unwrap();
            let secret = secrets.get_opt("chat-internal").await.unwrap();
            if let (Some(pod), Some(secret)) = (pod, secret) {
                break (pod, secret);
            }
            assert!(Instant::now() < deadline, "the node's pod and the Secret are not made");
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        // As the pod has it mounted.
        let volumes = pod.spec.unwrap().volumes.unwrap();
        let mounted = volumes.iter().filter_map(|volume| volume.secret.as_ref()).any(|mounted| {
            let key = |item: &k8s_openapi::api::core::v1::KeyToPath| item.key == "operator-token";
            mounted.secret_name.as_deref() == Some("chat-internal") && mounted.items.iter().flatten().any(key)
        });
        assert!(mounted, "the node has no token: {volumes:#?}");
        town.known().token = String::from_utf8(secret.data.unwrap()["operator-token"].0.clone()).unwrap();

        // Of this run alone: nodes all have the same port.
        let [low, high, ..] = std::process::id().to_le_bytes();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let address = SocketAddr::from(([127, 192 + high % 62, low, number], 7070));
        let incoming = TcpIncoming::bind(address).unwrap();
        let serve = tonic::transport::Server::builder()
            .add_service(RoomAdminServer::new(town.clone()))
            .serve_with_incoming(incoming);
        tokio::spawn(serve);
        town.ready(&pods, address).await;
        town
    }

    async fn ready(&self, pods: &Api<Pod>, address: SocketAddr) {
        let status = json!({ "status": {
            "phase": "Running",
            "podIP": address.ip().to_string(),
            "podIPs": [{ "ip": address.ip().to_string() }],
            "conditions": [{ "type": "Ready", "status": "True" }],
            "containerStatuses": [{
                "name": "node", "image": "node", "imageID": "", "ready": true, "restartCount": 0,
                "state": { "running": { "startedAt": "2026-01-01T00:00:00Z" } },
            }],
        } });
        pods.patch_status("chat-main-0", &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
    }
}

/// A ChatCluster of one node.
pub(crate) fn spec() -> Value {
    json!({
        "version": "1.0.0", "replicas": 1, "log": { "replicas": 1 },
        "nats": { "managed": { "replicas": 1 } }, "etcd": { "managed": { "replicas": 1 } },
    })
}

/// By which a played node calls a room.
fn name(key: &RoomKey) -> String {
    key.name.clone()
}

#[tonic::async_trait]
impl RoomAdmin for Town {
    async fn ensure_room(&self, request: Request<EnsureRoomRequest>) -> Result<Response<RoomReply>, Status> {
        let mut known = self.admit(&request)?;
        let wanted = request.into_inner();
        let own = name(wanted.key.as_ref().unwrap());
        let is_unknown = |user: &&String| !known.users.contains(*user);
        let usernames: Vec<_> = wanted.members.iter().map(|member| member.username.clone()).collect();
        let unknown: Vec<_> = usernames.iter().filter(is_unknown).cloned().collect();
        let changed = known.rooms.get(&own) != Some(&wanted);
        let shard = if wanted.shard == "main" { "main" } else { "hashed" };
        known.rooms.insert(own, wanted);
        Ok(Response::new(RoomReply {
            room: vec![7; 16].into(),
            changed,
            members: (usernames.len() - unknown.len()) as u64,
            unknown_users: unknown,
            owner: "chat-main-0".to_owned(),
            shard: shard.to_owned(),
            epoch: 1,
            last_seq: known.last_seq,
        }))
    }

    async fn get_room(&self, _: Request<RoomKey>) -> Result<Response<RoomReply>, Status> {
        Err(Status::unimplemented("nobody asks for that"))
    }

    async fn remove_room(&self, request: Request<RoomKey>) -> Result<Response<RemoveRoomReply>, Status> {
        let mut known = self.admit(&request)?;
        let removed = known.rooms.remove(&name(request.get_ref())).is_some();
        Ok(Response::new(RemoveRoomReply { removed }))
    }
}
