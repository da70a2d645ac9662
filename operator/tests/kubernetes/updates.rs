//! What changes when the manifest does.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::{
    creation::settle,
    world::{World, run},
};

pub(crate) fn spec() -> Value {
    json!({
        "version": "1.0.0",
        "replicas": 2,
        "shards": [{ "name": "blue" }, { "name": "green", "replicas": 1 }],
        "ingress": { "host": "chat.example.org" },
        "mailer": { "from": "a@example.org", "smtp": { "host": "smtp.example.org" } },
    })
}

async fn set(world: &World, name: &str) -> Value {
    world.objects("StatefulSet").get(name).await.unwrap().data
}

#[test]
fn each_part_follows_its_field_and_no_other() {
    run(async |world| {
        world.declare("chat", spec()).await.unwrap();
        world.look("chat").await;
        let generation = async |kind: &str, name: &str| {
            world.objects(kind).get(name).await.unwrap().metadata.generation.unwrap_or_default()
        };
        let all = [
            ("StatefulSet", "chat-blue"),
            ("StatefulSet", "chat-green"),
            ("StatefulSet", "chat-nats"),
            ("StatefulSet", "chat-etcd"),
            ("StatefulSet", "chat-redis"),
            ("Deployment", "chat-mailer"),
            ("Ingress", "chat-client"),
        ];
        let cases: [(&str, Value, &[&str]); 9] = [
            ("/version", json!("1.0.1"), &["chat-blue", "chat-green", "chat-mailer"]),
            ("/replicas", json!(3), &["chat-blue"]),
            ("/shards/1/resources", json!({ "limits": { "memory": "1024Mi" } }), &["chat-green"]),
            ("/ingress/className", json!("nginx"), &["chat-client"]),
            ("/auth", json!({ "accessTokenSeconds": 600 }), &["chat-blue", "chat-green"]),
            ("/mailer/service", json!("Tea"), &["chat-mailer"]),
            ("/nats", json!({ "managed": { "image": "nats:2.16" } }), &["chat-nats"]),
            (
                "/etcd",
                json!({ "managed": { "resources": { "requests": { "cpu": "100m" } } } }),
                &["chat-etcd"],
            ),
            (
                "/redis",
                json!({ "managed": { "scheduling": { "nodeSelector": { "a": "b" } } } }),
                &["chat-redis"],
            ),
        ];
        let mut spec = spec();
        for (path, value, changed) in cases {
            let mut before = Vec::new();
            for (kind, name) in all {
                before.push(generation(kind, name).await);
            }
            let (parent, key) = path.rsplit_once('/').unwrap();
            let parent = if parent.is_empty() { &mut spec } else { spec.pointer_mut(parent).unwrap() };
            parent[key] = value;
            world.declare("chat", spec.clone()).await.unwrap();
            world.look("chat").await;
            for ((kind, name), before) in all.into_iter().zip(before) {
                let now = generation(kind, name).await;
                let name = name.to_owned();
                assert_eq!(now != before, changed.contains(&&*name), "{path}: {kind} {name}");
            }
        }
    });
}

/// What the operator made up is made up anew when a person takes it out, and who reads it is replaced: those, and nobody else.
#[test]
fn a_password_that_is_taken_out_is_changed_with_all_who_read_it() {
    run(async |world| {
        let mut spec = spec();
        spec["translator"] = json!({ "libreTranslate": { "url": "http://libre.example.org" } });
        world.declare("chat", spec).await.unwrap();
        settle(&world, "chat").await;
        let words = async || -> BTreeMap<String, String> {
            let secret = world.objects("Secret").get("chat-internal").await.unwrap();
            let secret: Secret = serde_json::from_value(serde_json::to_value(secret).unwrap()).unwrap();
            let text = |(key, word): (String, ByteString)| (key, String::from_utf8(word.0).unwrap());
            secret.data.unwrap().into_iter().map(text).collect()
        };
        let generations = async || {
            let mut all = BTreeMap::new();
            for kind in ["StatefulSet", "Deployment"] {
                for object in world.objects(kind).list(&ListParams::default()).await.unwrap() {
                    all.insert(object.metadata.name.unwrap(), object.metadata.generation);
                }
            }
            all
        };
        const NODES: [&str; 2] = ["chat-blue", "chat-green"];
        let readers = |sides: &[&'static str]| [&NODES, sides].concat();
        let cases = [
            ("nats-password", readers(&["chat-mailer", "chat-nats", "chat-translator"])),
            ("nats-route-password", vec!["chat-nats"]),
            ("redis-password", readers(&["chat-redis", "chat-translator"])),
            ("operator-token", vec![]),
            // Made of the other one: it comes back as it was.
            ("redis.conf", vec![]),
            // By it is told whether what is outside has changed.
            ("stamp-key", readers(&["chat-mailer", "chat-nats", "chat-redis", "chat-translator"])),
        ];
        let keys: BTreeSet<_> = cases.iter().map(|(key, _)| (*key).to_owned()).collect();
        assert_eq!(keys, words().await.into_keys().collect(), "of each that is made up");
        for (key, readers) in cases {
            let (old, before) = (words().await, generations().await);
            let patch = Patch::Merge(json!({ "data": { (key): null } }));
            world.objects("Secret").patch("chat-internal", &PatchParams::default(), &patch).await.unwrap();
            settle(&world, "chat").await;
            let (new, after) = (words().await, generations().await);
            assert_eq!(new["redis.conf"], format!("requirepass {}\n", new["redis-password"]), "{key}");
            let changed: Vec<_> = new.iter().filter(|(key, word)| old[*key] != **word).collect();
            let changed: Vec<_> = changed.into_iter().map(|(key, _)| &**key).collect();
            match key {
                "redis-password" => assert_eq!(changed, ["redis-password", "redis.conf"]),
                "redis.conf" => assert!(changed.is_empty(), "{changed:?}"),
                _ => assert_eq!(changed, [key]),
            }
            let changed: Vec<_> = after.iter().filter(|(name, number)| before[*name] != **number).collect();
            let changed: Vec<_> = changed.into_iter().map(|(name, _)| &**name).collect();
            assert_eq!(changed, readers, "{key}");
        }
    });
}

/// A field that may be left out: where it is declared, and as what; the object in which it is seen, where, and as what.
struct Optional {
    field: &'static str,
    declared: Value,
    seen_in: (&'static str, &'static str),
    at: &'static str,
    seen: Value,
}

fn optional() -> Vec<Optional> {
    const POD: &str = "/spec/template/spec";
    const NODE: (&str, &str) = ("StatefulSet", "chat-blue");
    let case = |field, declared: Value, seen_in, at, seen| Optional { field, declared, seen_in, at, seen };
    let plain = |field, declared: Value, seen_in, at| case(field, declared.clone(), seen_in, at, declared);
    let memory = json!({ "limits": { "memory": "64Mi" } });
    let tolerations = json!([{ "key": "chat", "operator": "Exists" }]);
    let at = |path: &str| -> &'static str { format!("{POD}{path}").leak() };
    let resources = at("/containers/0/resources/limits");
    let limits = json!({ "memory": "64Mi" });
    let mut all = vec![
        case("/resources", memory.clone(), NODE, resources, limits.clone()),
        case("/shards/0/resources", memory.clone(), NODE, resources, limits.clone()),
        case("/mailer/resources", memory.clone(), ("Deployment", "chat-mailer"), resources, limits.clone()),
        plain("/scheduling/nodeSelector", json!({ "disk": "fast" }), NODE, at("/nodeSelector")),
        plain("/scheduling/tolerations", tolerations.clone(), NODE, at("/tolerations")),
        plain("/scheduling/priorityClassName", json!("chat"), NODE, at("/priorityClassName")),
        plain("/shards/0/scheduling/nodeSelector", json!({ "disk": "fast" }), NODE, at("/nodeSelector")),
        case(
            "/shards/0/dedicated",
            json!({ "key": "pool", "value": "blue" }),
            NODE,
            at("/nodeSelector"),
            json!({ "pool": "blue" }),
        ),
        case(
            "/shards/0/dedicated",
            json!({ "key": "pool", "value": "blue" }),
            NODE,
            at("/tolerations"),
            json!([{ "key": "pool", "operator": "Equal", "value": "blue" }]),
        ),
        case(
            "/shards/0/weight",
            json!(7),
            NODE,
            at("/containers/0/env/3"),
            json!({ "name": "ROOKERY_CLUSTER__SHARD_WEIGHT", "value": "7" }),
        ),
        plain("/images/node", json!("registry.example.org/node:1"), NODE, at("/containers/0/image")),
        plain(
            "/images/mailer",
            json!("registry.example.org/mailer:1"),
            ("Deployment", "chat-mailer"),
            at("/containers/0/image"),
        ),
        plain("/images/pullSecrets", json!([{ "name": "registry" }]), NODE, at("/imagePullSecrets")),
        plain("/ingress/className", json!("nginx"), ("Ingress", "chat-client"), "/spec/ingressClassName"),
        plain(
            "/ingress/annotations/example.org~1note",
            json!("x"),
            ("Ingress", "chat-client"),
            "/metadata/annotations/example.org~1note",
        ),
        case(
            "/ingress/tlsSecretName",
            json!("tls"),
            ("Ingress", "chat-client"),
            "/spec/tls",
            json!([{ "hosts": ["chat.example.org"], "secretName": "tls" }]),
        ),
        case(
            "/networkPolicy/clientsFrom",
            json!(["ingress"]),
            ("NetworkPolicy", "chat-node"),
            "/spec/ingress/0/from",
            json!([{ "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": "ingress" } } }]),
        ),
        case(
            "/networkPolicy/metricsFrom",
            json!(["monitoring"]),
            ("NetworkPolicy", "chat-mailer"),
            "/spec/ingress/0/from/0/namespaceSelector/matchLabels",
            json!({ "kubernetes.io/metadata.name": "monitoring" }),
        ),
    ];
    for store in ["nats", "etcd"] {
        let set = ("StatefulSet", &*format!("chat-{store}").leak());
        let field = format!("/{store}/managed/antiAffinity").leak();
        let path = at("/affinity/podAntiAffinity/preferredDuringSchedulingIgnoredDuringExecution/0/weight");
        all.push(case(field, json!("Preferred"), set, path, json!(100)));
    }
    for store in ["nats", "etcd", "redis"] {
        let set = ("StatefulSet", &*format!("chat-{store}").leak());
        let field = |field: &str| -> &'static str { format!("/{store}/managed/{field}").leak() };
        all.extend([
            case(field("resources"), memory.clone(), set, resources, limits.clone()),
            plain(field("scheduling/nodeSelector"), json!({ "disk": "fast" }), set, at("/nodeSelector")),
            plain(field("scheduling/tolerations"), tolerations.clone(), set, at("/tolerations")),
            plain(field("scheduling/priorityClassName"), json!("chat"), set, at("/priorityClassName")),
        ]);
    }
    all
}

/// Fields that may be left out and are seen in the settings of a part: what is declared, whose settings, and what is among them then.
fn optional_settings() -> Vec<(&'static str, Value, &'static str, &'static str)> {
    let deepl = json!({
        "url": "https://api.deepl.com", "keySecret": { "name": "engines", "key": "deepl" },
    });
    let mut languages = deepl.clone();
    languages["languages"] = json!(["en", "de"]);
    let mut characters = deepl.clone();
    characters["dayCharacters"] = 5.into();
    vec![
        ("/publicUrl", json!("https://tea.example.org"), "node", "public_url = \"https://tea.example.org\""),
        ("/ingress/tlsSecretName", json!("tls"), "node", "public_url = \"https://chat.example.org\""),
        ("/log/retentionDays", json!(30), "node", "retention_days = 30"),
        ("/limits/connections", json!(77), "node", "max_connections = 77"),
        ("/limits/connectionsPerAddress", json!(7), "node", "max_connections_per_address = 7"),
        ("/limits/framesPerSecond", json!(7), "node", "frames_per_second = 7"),
        ("/limits/sendsPerSecond", json!(7), "node", "sends_per_second = 7"),
        ("/limits/messageCharacters", json!(7), "node", "text_chars = 7"),
        ("/limits/roomMembers", json!(7), "node", "members = 7"),
        ("/limits/roomsPerUser", json!(7), "node", "rooms_per_user = 7"),
        ("/limits/writesPerUser", json!("7/60s"), "node", "write_per_account = \"7/60s\""),
        ("/limits/listsPerUser", json!("off"), "node", "list_per_account = \"off\""),
        ("/auth/limits/register/perAddress", json!("7/60s"), "node", "register_per_address = \"7/60s\""),
        ("/auth/limits/verify/perAccount", json!("7/60s"), "node", "verify_per_account = \"7/60s\""),
        ("/auth/limits/resend/global", json!("7/60s"), "node", "resend_global = \"7/60s\""),
        ("/auth/limits/login/perAddress", json!("off"), "node", "login_per_address = \"off\""),
        (
            "/auth/limits/loginVerify/perAddress",
            json!("7/60s"),
            "node",
            "login_verify_per_address = \"7/60s\"",
        ),
        ("/auth/limits/refresh/perAddress", json!("7/60s"), "node", "refresh_per_address = \"7/60s\""),
        ("/auth/limits/forgot/perAddress", json!("7/60s"), "node", "forgot_per_address = \"7/60s\""),
        ("/auth/limits/reset/perAddress", json!("7/60s"), "node", "reset_per_address = \"7/60s\""),
        ("/auth/limits/ticket/perAddress", json!("7/60s"), "node", "ticket_per_address = \"7/60s\""),
        ("/auth/limits/external/perAddress", json!("7/60s"), "node", "external_per_address = \"7/60s\""),
        ("/auth/limits/external/perAccount", json!("7/60s"), "node", "external_per_account = \"7/60s\""),
        ("/auth/limits/external/global", json!("off"), "node", "external_global = \"off\""),
        (
            "/auth/externalIssuers",
            json!([{ "name": "acme", "url": "https://login.example.org", "audiences": ["chat-web"] }]),
            "node",
            "[accounts.external_issuers.acme]\naudiences = [\"chat-web\"]\ntrust_email = false\nurl = \"https://login.example.org\"\n",
        ),
        (
            "/auth/externalIssuers",
            json!([{
                "name": "acme", "url": "https://login.example.org", "audiences": ["chat-web"], "trustEmail": true,
                "caSecret": { "name": "engines", "key": "ca" },
            }]),
            "node",
            "ca_file = \"/run/rookery/issuer-acme-ca/ca.pem\"\ntrust_email = true\n",
        ),
        ("/auth/issuer", json!("me"), "node", "issuer = \"me\""),
        ("/auth/audience", json!("you"), "node", "audience = \"you\""),
        ("/auth/accessTokenSeconds", json!(77), "node", "access_token_seconds = 77"),
        ("/auth/refreshTokenDays", json!(7), "node", "refresh_token_days = 7"),
        ("/auth/keyRotationDays", json!(7), "node", "key_rotation_days = 7"),
        ("/auth/codeDigits", json!(7), "node", "code_digits = 7"),
        ("/auth/codeMinutes", json!(7), "node", "reset_code_minutes = 7"),
        ("/auth/requireLoginCode", json!(true), "node", "require_login_code = true"),
        ("/auth/sessionsPerUser", json!(7), "node", "sessions_per_user = 7"),
        ("/auth/allowedOrigins", json!(["https://a"]), "node", "\"https://a\""),
        ("/auth/trustedProxies", json!(["10.7.0.0/16"]), "node", "\"10.7.0.0/16\""),
        ("/auth/devMailbox", json!(true), "node", "dev_mailbox = true"),
        ("/rollout/drainWindowSeconds", json!(7), "node", "drain_window_seconds = 7"),
        ("/rollout/evictionsPerSecond", json!(7), "node", "drain_per_second = 7"),
        ("/rollout/drainDeadlineSeconds", json!(7), "node", "drain_deadline_seconds = 7"),
        ("/mailer/replyTo", json!("b@example.org"), "mailer", "reply_to = \"b@example.org\""),
        ("/mailer/service", json!("Tea"), "mailer", "service = \"Tea\""),
        ("/mailer/smtp/port", json!(77), "mailer", "port = 77"),
        ("/mailer/smtp/security", json!("Implicit"), "mailer", "security = \"implicit\""),
        ("/mailer/smtp/connections", json!(7), "mailer", "connections = 7"),
        (
            "/mailer/smtp/caSecret",
            json!({ "name": "engines", "key": "ca" }),
            "mailer",
            "tls_ca = \"/run/rookery/smtp-ca/ca.pem\"",
        ),
        (
            "/mailer/templatesRef",
            json!({ "name": "templates" }),
            "mailer",
            "templates = \"/etc/rookery-templates\"",
        ),
        ("/translator/languages", json!(["en", "ca"]), "translator", "languages = \"en ca\""),
        ("/translator/deepl", languages, "translator", "languages = \"en de\""),
        ("/translator/deepl", characters, "translator", "day_characters = 5"),
        (
            "/translator/google",
            json!({ "keySecret": { "name": "engines", "key": "google" } }),
            "translator",
            "api_key_file = \"/run/rookery/google-key/key\"",
        ),
        (
            "/translator/google",
            json!({ "credentialsSecret": { "name": "engines", "key": "google" }, "project": "tea", "location": "eu" }),
            "translator",
            "credentials_file = \"/run/rookery/google-credentials/account.json\"",
        ),
        (
            "/translator/azure",
            json!({ "url": "https://a", "keySecret": { "name": "engines", "key": "azure" }, "region": "here" }),
            "translator",
            "region = \"here\"",
        ),
        (
            "/translator/libreTranslate/keySecret",
            json!({ "name": "engines", "key": "libre" }),
            "translator",
            "api_key_file = \"/run/rookery/libretranslate-key/key\"",
        ),
        ("/translator/libreTranslate/languages", json!(["en", "eo"]), "translator", "languages = \"en eo\""),
        ("/translator/libreTranslate/dayCharacters", json!(5), "translator", "day_characters = 5"),
    ]
}

#[test]
fn settings_follow_their_fields_there_and_back() {
    run(async |world| {
        let spec = || {
            let mut spec = spec();
            spec["translator"] = json!({ "libreTranslate": { "url": "http://libre.example.org" } });
            spec
        };
        world.secret("engines", &["deepl", "google", "azure", "libre", "ca"]).await;
        let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "templates" } });
        let params = PatchParams::apply("somebody");
        world.objects("ConfigMap").patch("templates", &params, &Patch::Apply(&map)).await.unwrap();
        let settings = async |spec: &Value, part: &str| -> String {
            world.declare("chat", spec.clone()).await.unwrap();
            world.look("chat").await;
            let (kind, name) = if part == "node" {
                ("StatefulSet", "chat-blue")
            } else {
                ("Deployment", &*format!("chat-{part}"))
            };
            let workload = world.objects(kind).get(name).await.unwrap();
            let volumes = workload.data["spec"]["template"]["spec"]["volumes"].as_array().unwrap().clone();
            let map = volumes.iter().find(|volume| volume["name"] == "config").unwrap();
            let map =
                world.objects("ConfigMap").get(map["configMap"]["name"].as_str().unwrap()).await.unwrap();
            map.data["data"][format!("{part}.toml")].as_str().unwrap().to_owned()
        };
        let mut plain = BTreeMap::new();
        for part in ["node", "mailer", "translator"] {
            plain.insert(part, settings(&spec(), part).await);
        }
        let mut wrong = Vec::new();
        for (field, declared, part, line) in optional_settings() {
            let mut with = spec();
            put(&mut with, field, declared);
            let set = settings(&with, part).await;
            if !set.contains(line) || plain[part].contains(line) {
                wrong.push(format!("{field}: {line} is not (new) in\n{set}"));
            }
            if settings(&spec(), part).await != plain[part] {
                wrong.push(format!("{field} stays"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    });
}

/// Puts a value at a path, and what is missing on the way.
fn put(spec: &mut Value, path: &str, value: Value) {
    let mut at = spec;
    for key in path.split('/').skip(1) {
        let key = key.replace("~1", "/");
        at = match key.parse::<usize>() {
            Ok(number) => &mut at[number],
            Err(_) => &mut at[key],
        };
    }
    *at = value;
}

#[test]
fn what_is_taken_out_of_the_manifest_is_taken_out_of_the_objects() {
    run(async |world| {
        world.declare("chat", spec()).await.unwrap();
        world.look("chat").await;
        let mut wrong = Vec::new();
        for Optional { field, declared, seen_in: (kind, name), at, seen } in optional() {
            let look = async |spec: &Value| -> Option<Value> {
                world.declare("chat", spec.clone()).await.unwrap();
                world.look("chat").await;
                let object = serde_json::to_value(world.objects(kind).get(name).await.unwrap()).unwrap();
                object.pointer(at).cloned()
            };
            let mut with = spec();
            put(&mut with, field, declared);
            let (set, unset) = (look(&with).await, look(&spec()).await);
            if set != Some(seen) {
                wrong.push(format!("{field} is not set: {kind} {name}{at} is {set:?}"));
            }
            if unset == set {
                wrong.push(format!("{field} stays: {kind} {name}{at} is {unset:?}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    });
}

#[test]
fn what_is_not_declared_any_more_goes() {
    run(async |world| {
        world.declare("chat", spec()).await.unwrap();
        world.look("chat").await;
        let names = async || -> Vec<String> { world.all().await.into_iter().map(|(name, _)| name).collect() };
        let before = names().await;
        assert!(
            before.contains(&"Deployment/chat-mailer".into())
                && before.contains(&"Ingress/chat-client".into())
        );
        // Nodes have other settings without an Ingress: they know no public URL any more.
        let settings = |of: &str| before.iter().find(|name| name.starts_with(of)).unwrap().clone();
        let (mailer, nodes) = (settings("ConfigMap/chat-mailer-"), settings("ConfigMap/chat-node-"));
        // A pod has the old ones before there are others.
        let pod = || world.kubectl(&["get", "pods", "chat-blue-0", "--ignore-not-found", "-o", "name"]);
        world.look_until("chat", "a node's pod", async |_| (!pod().is_empty()).then_some(())).await;
        let mut less = spec();
        less.as_object_mut().unwrap().remove("mailer");
        less.as_object_mut().unwrap().remove("ingress");
        world.declare("chat", less).await.unwrap();
        world.look("chat").await;
        assert!(names().await.contains(&nodes), "settings stay as long as a pod has them");
        // Nobody runs pods here, so none is ever ready, which the next one's turn waits for: those with old settings are deleted by hand.
        // The mailer's pods go with its Deployment.
        let gone = world
            .look_until("chat", "the settings of the mailer and the old ones of nodes go", async |_| {
                let after = names().await;
                let gone: Vec<_> = before.iter().filter(|name| !after.contains(name)).cloned().collect();
                if !gone.contains(&nodes) {
                    world.kubectl(&["delete", "pods", "--force", "-l", "app.kubernetes.io/component=node"]);
                }
                (gone.contains(&mailer) && gone.contains(&nodes)).then_some(gone)
            })
            .await;
        assert_eq!(
            gone,
            [
                mailer.as_str(),
                nodes.as_str(),
                "Deployment/chat-mailer",
                "Ingress/chat-client",
                "NetworkPolicy/chat-mailer",
                "ServiceAccount/chat-mailer",
            ]
        );
    });
}

#[test]
fn nothing_is_changed_while_it_is_paused() {
    run(async |world| {
        world.declare("chat", spec()).await.unwrap();
        world.look("chat").await;
        let mut paused = spec();
        paused["paused"] = true.into();
        paused["version"] = "2.0.0".into();
        world.declare("chat", paused).await.unwrap();
        world.look("chat").await;
        let image = |set: &Value| {
            set["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap().to_owned()
        };
        assert_eq!(image(&set(&world, "chat-blue").await), "rookery/node:1.0.0");
        let (status, reason, _) = world.condition("chat", "Ready").await;
        assert_eq!((status.as_str(), reason.as_str()), ("False", "Paused"));
        let mut on = spec();
        on["version"] = "2.0.0".into();
        on["paused"] = false.into();
        world.declare("chat", on).await.unwrap();
        world.look("chat").await;
        assert_eq!(image(&set(&world, "chat-blue").await), "rookery/node:2.0.0");
    });
}

#[test]
fn kubectl_scales_it_and_shows_it() {
    run(async |world| {
        world.declare("chat", spec()).await.unwrap();
        world.look("chat").await;
        let kubectl = |args: &[&str]| world.kubectl(args);
        kubectl(&["scale", "cc/chat", "--replicas=3"]);
        world.look("chat").await;
        assert_eq!(set(&world, "chat-blue").await["spec"]["replicas"], 3);
        assert_eq!(set(&world, "chat-green").await["spec"]["replicas"], 1);
        world.look("chat").await;
        let scale: Value = serde_json::from_str(&kubectl(&[
            "get",
            "--raw",
            &format!("/apis/rookery.chat/v1alpha1/namespaces/{}/chatclusters/chat/scale", world.namespace),
        ]))
        .unwrap();
        assert_eq!(scale["status"]["replicas"], 3);
        let selector = scale["status"]["selector"].as_str().unwrap().to_owned();
        world
            .look_until("chat", "the selector finds all nodes", async |world| {
                let pods = kubectl(&["get", "pods", "-l", &selector, "-o", "name"]);
                let _ = world;
                (pods.lines().count() == 4).then_some(())
            })
            .await;
        for kinds in ["cc", "chat", "chatclusters"] {
            let table = kubectl(&["get", kinds]);
            assert!(
                table.starts_with("NAME") && table.contains("READY") && table.contains("chat"),
                "{table}"
            );
        }
        let explained = kubectl(&["explain", "chatcluster.spec.rollout.drainWindowSeconds"]);
        assert!(explained.contains("tells its clients to go"), "{explained}");
    });
}

/// Of a Secret the content of the keys that are read counts, and nothing else of it.
#[test]
fn who_reads_a_secret_follows_what_he_reads_of_it() {
    run(async |world| {
        let mut spec = spec();
        spec["mailer"]["smtp"] = json!({
            "host": "smtp.example.org", "caSecret": { "name": "authority", "key": "ca.crt" },
            "user": "u", "passwordSecret": { "name": "smtp", "key": "password" },
        });
        spec["mailer"]["templatesRef"] = json!({ "name": "templates" });
        // Without it the mailer is kept back, and nobody else.
        world.declare("chat", spec).await.unwrap();
        world.secret("smtp", &["password"]).await;
        let maps = world.objects("ConfigMap");
        let map = async |text: &str| {
            let map = json!({
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "templates" }, "data": { "a": text },
            });
            maps.patch("templates", &PatchParams::apply("somebody"), &Patch::Apply(&map)).await.unwrap();
        };
        map("1").await;
        world.look("chat").await;
        let (_, reason, message) = world.condition("chat", "Degraded").await;
        assert_eq!(
            (reason.as_str(), message.as_str()),
            ("SecretMissing", "Secret authority, which the spec names, is not in this namespace: make it")
        );
        assert!(world.objects("Deployment").get_opt("chat-mailer").await.unwrap().is_none());
        assert!(world.objects("StatefulSet").get_opt("chat-blue").await.unwrap().is_some());

        let write = async |name: &str, patch: Value| {
            world
                .objects("Secret")
                .patch(name, &PatchParams::default(), &Patch::Merge(&patch))
                .await
                .unwrap();
        };
        world.secret("authority", &["ca.crt"]).await;
        world.look("chat").await;
        let generation = async || {
            world.look("chat").await;
            let mailer = world.objects("Deployment").get("chat-mailer").await.unwrap();
            let nodes = world.objects("StatefulSet").get("chat-blue").await.unwrap();
            (mailer.metadata.generation.unwrap(), nodes.metadata.generation.unwrap())
        };
        let (first, nodes) = generation().await;
        // A label, another key, the password that is read again anyway, the same content once more.
        write("authority", json!({ "metadata": { "labels": { "team": "chat" } } })).await;
        write("authority", json!({ "stringData": { "other": "x" } })).await;
        write("smtp", json!({ "stringData": { "password": "another" } })).await;
        world.objects("Secret").delete("authority", &DeleteParams::default()).await.unwrap();
        world.secret("authority", &["ca.crt"]).await;
        assert_eq!(generation().await, (first, nodes));
        write("authority", json!({ "stringData": { "ca.crt": "another" } })).await;
        assert_eq!(generation().await, (first + 1, nodes));
        map("2").await;
        assert_eq!(generation().await, (first + 2, nodes));
        // It is deleted: the pods that there are stay as they are.
        world.objects("Secret").delete("authority", &DeleteParams::default()).await.unwrap();
        assert_eq!(generation().await, (first + 2, nodes));
        assert_eq!(world.condition("chat", "Degraded").await.1, "SecretMissing");
    });
}

/// The authority of an external issuer is read by nodes at their start, and by nobody else.
#[test]
fn nodes_follow_the_authority_of_an_external_issuer() {
    run(async |world| {
        let mut spec = spec();
        spec["auth"] = json!({ "externalIssuers": [{
            "name": "acme", "url": "https://login.example.org", "audiences": ["chat-web"],
            "caSecret": { "name": "authority", "key": "ca.crt" },
        }] });
        world.declare("chat", spec).await.unwrap();
        world.look("chat").await;
        let told = async || {
            let (_, reason, message) = world.condition("chat", "Degraded").await;
            (reason, message)
        };
        let missing = "Secret authority, which the spec names, is not in this namespace: make it";
        assert_eq!(told().await, ("SecretMissing".to_owned(), missing.to_owned()));
        assert!(world.objects("StatefulSet").get_opt("chat-blue").await.unwrap().is_none());
        assert!(world.objects("Deployment").get_opt("chat-mailer").await.unwrap().is_some());
        world.secret("authority", &["tls.crt"]).await;
        world.look("chat").await;
        let missing = "Secret authority has no key ca.crt: add it";
        assert_eq!(told().await, ("SecretMissing".to_owned(), missing.to_owned()));

        world.secret("authority", &["ca.crt"]).await;
        let generations = async || {
            world.look("chat").await;
            let mut all = Vec::new();
            for (kind, name) in
                [("StatefulSet", "chat-blue"), ("StatefulSet", "chat-green"), ("Deployment", "chat-mailer")]
            {
                all.push(world.objects(kind).get(name).await.unwrap().metadata.generation.unwrap());
            }
            all
        };
        let before = generations().await;
        let pod = set(&world, "chat-blue").await["spec"]["template"]["spec"].clone();
        let volumes = pod["volumes"].as_array().unwrap();
        let volume = volumes.iter().find(|volume| volume["name"] == "issuer-acme-ca").unwrap();
        assert_eq!(volume["secret"]["items"], json!([{ "key": "ca.crt", "path": "ca.pem" }]));
        let patch = Patch::Merge(json!({ "stringData": { "ca.crt": "another" } }));
        world.objects("Secret").patch("authority", &PatchParams::default(), &patch).await.unwrap();
        assert_eq!(generations().await, [before[0] + 1, before[1] + 1, before[2]]);
    });
}
