//! What cannot work is refused by the API server, with a sentence that says what to do.

use rookery_crds::ChatCluster;
use serde_json::{Value, json};

use crate::world::{World, run};

/// A spec that is accepted, on which the others build.
fn good() -> Value {
    json!({ "version": "1.0.0" })
}

fn with(path: &str, value: Value) -> Value {
    let mut spec = good();
    let mut at = &mut spec;
    for key in path.split('/') {
        at = &mut at[key];
    }
    *at = value;
    spec
}

fn smtp(more: &Value) -> Value {
    let mut smtp = json!({ "host": "smtp.example.org" });
    for (key, value) in more.as_object().unwrap() {
        smtp[key] = value.clone();
    }
    with("mailer", json!({ "from": "a@example.org", "smtp": smtp }))
}

fn nats(external: Value) -> Value {
    with("nats/external", external)
}

/// One external issuer, with these fields otherwise.
fn issuer(more: &Value) -> Value {
    let mut issuer = json!({ "name": "acme", "url": "https://login.example.org", "audiences": ["chat-web"] });
    for (key, value) in more.as_object().unwrap() {
        issuer[key] = value.clone();
    }
    issuer
}

/// So many issuers, each as long as it may be.
fn many(count: usize) -> Vec<Value> {
    let audiences: Vec<_> = (0..16).map(|number| format!("{number:-<255}")).collect();
    let one = |number: usize| {
        issuer(&json!({
            "name": format!("{:-<32}", format!("a{number}")),
            "url": format!("https://login.example.org/{number:a<229}"),
            "audiences": audiences,
            "caSecret": { "name": "authority", "key": "ca.crt" },
        }))
    };
    (0..count).map(one).collect()
}

fn issuers(all: &[Value]) -> Value {
    with("auth/externalIssuers", json!(all))
}

/// Path of the case's field, what is declared, and what the refusal says.
fn bad() -> Vec<(&'static str, Value, &'static str)> {
    let key = json!({ "name": "s", "key": "k" });
    vec![
        ("no version", json!({}), "spec.version: Required value"),
        ("version", with("version", json!("a b")), "spec.version in body should match"),
        (
            "replicas 0",
            with("replicas", json!(0)),
            "spec.replicas in body should be greater than or equal to 1",
        ),
        ("replicas 101", with("replicas", json!(101)), "less than or equal to 100"),
        ("replicas text", with("replicas", json!("3")), ".spec.replicas: expected numeric"),
        ("no shards", with("shards", json!([])), "spec.shards in body should have at least 1 items"),
        (
            "shard twice",
            with("shards", json!([{ "name": "a" }, { "name": "a" }])),
            "duplicate entries for key [name=\"a\"]",
        ),
        (
            "shard's name",
            with("shards", json!([{ "name": "A" }])),
            "spec.shards[0].name in body should match",
        ),
        ("shard called nats", with("shards", json!([{ "name": "nats" }])), "other parts have these names"),
        (
            "too many nodes",
            with(
                "shards",
                json!(
                    (0..6).map(|n| json!({ "name": format!("s{n}"), "replicas": 100 })).collect::<Vec<_>>()
                ),
            ),
            "a cluster has at most 500 nodes",
        ),
        (
            "cpu",
            with("resources/limits/cpu", json!("a lot")),
            "spec.resources.limits.cpu in body should match",
        ),
        (
            "memory",
            with("resources/requests/memory", json!("0")),
            "spec.resources.requests.memory in body should match",
        ),
        (
            "toleration",
            with("scheduling/tolerations", json!([{ "operator": "Exists", "value": "a" }])),
            "a toleration with operator Exists has no value: leave value out",
        ),
        ("log copies 2", with("log/replicas", json!(2)), "spec.log.replicas must be 1, 3 or 5"),
        (
            "more copies than servers",
            with("log/replicas", json!(5)),
            "spec.log.replicas must not be greater than spec.nats.managed.replicas",
        ),
        (
            "log streams",
            with("log/streams", json!(65)),
            "spec.log.streams in body should be less than or equal to 64",
        ),
        (
            "nats servers 2",
            with("nats/managed/replicas", json!(2)),
            "spec.nats.managed.replicas must be 1, 3 or 5",
        ),
        (
            "nats both",
            with("nats", json!({ "managed": {}, "external": { "urls": ["nats://a:1"], "trustSync": true } })),
            "spec.nats must have managed or external, not both",
        ),
        (
            "nats url",
            nats(json!({ "urls": ["http://a"], "trustSync": true })),
            "spec.nats.external.urls[0] in body should match",
        ),
        (
            "nats password in url",
            nats(json!({ "urls": ["nats://u:p@a:1"], "trustSync": true })),
            "should match",
        ),
        (
            "nats unsynced",
            nats(json!({ "urls": ["nats://a:1"] })),
            "monitoringUrls must name the servers' monitors",
        ),
        (
            "nats two logins",
            nats(
                json!({ "urls": ["nats://a:1"], "trustSync": true, "userSecret": { "name": "s" }, "credentialsSecret": key }),
            ),
            "must have userSecret or credentialsSecret, not both",
        ),
        (
            "storage size",
            with("nats/managed/storage", json!({ "size": "much" })),
            "storage.size in body should match",
        ),
        (
            "etcd both",
            with("etcd", json!({ "managed": {}, "external": { "endpoints": ["http://a:1"] } })),
            "spec.etcd must have managed or external, not both",
        ),
        (
            "etcd members 4",
            with("etcd/managed/replicas", json!(4)),
            "spec.etcd.managed.replicas must be 1, 3 or 5",
        ),
        (
            "etcd without an authority",
            with("etcd/external", json!({ "endpoints": ["https://a:1"] })),
            "spec.etcd.external.tls must be set for endpoints that begin with https://",
        ),
        (
            "etcd in the clear",
            with("etcd/external", json!({ "endpoints": ["http://a:1"], "tls": { "caSecret": key } })),
            "must all begin with https:// when tls is set",
        ),
        ("etcd without port", with("etcd/external", json!({ "endpoints": ["http://a"] })), "should match"),
        ("redis servers 3", with("redis/managed/replicas", json!(3)), "should be less than or equal to 1"),
        (
            "sentinels' password without sentinels",
            with("redis/external", json!({ "url": "rediss+cluster://a", "sentinelPasswordSecret": key })),
            "spec.redis.external.sentinelPasswordSecret is for urls with +sentinel://",
        ),
        ("redis password in url", with("redis/external", json!({ "url": "redis://:p@a" })), "should match"),
        (
            "redis tls",
            with("redis/external", json!({ "url": "redis://a", "tls": { "caSecret": key } })),
            "spec.redis.external.url must begin with rediss when tls is set",
        ),
        (
            "redis user alone",
            with("redis/external", json!({ "url": "redis://a", "username": "u" })),
            "passwordSecret must be set along with username",
        ),
        (
            "ingress host",
            with("ingress", json!({ "host": "https://a" })),
            "spec.ingress.host in body should match",
        ),
        (
            "no gateway",
            with("gateway", json!({ "parentRefs": [] })),
            "spec.gateway.parentRefs in body should have at least 1 items",
        ),
        (
            "long access token",
            with("auth", json!({ "accessTokenSeconds": 86401 })),
            "spec.auth.accessTokenSeconds in body should be less than or equal to 86400",
        ),
        ("code digits", with("auth/codeDigits", json!(5)), "should be greater than or equal to 6"),
        (
            "origins",
            with("auth/allowedOrigins", json!(["*", "https://a"])),
            "* stands for all origins; leave the others out",
        ),
        ("origin with path", with("auth/allowedOrigins", json!(["https://a/b"])), "should match"),
        ("no sender", with("mailer", json!({ "smtp": { "host": "a" } })), "spec.mailer.from: Required value"),
        (
            "smtp user alone",
            smtp(&json!({ "user": "u" })),
            "spec.mailer.smtp.user and passwordSecret must be set together",
        ),
        (
            "smtp in the clear",
            smtp(&json!({ "security": "Plain", "user": "u", "passwordSecret": key })),
            "must not be Plain with a user: the password would pass in the clear",
        ),
        ("smtp port", smtp(&json!({ "port": 70000 })), "should be less than or equal to 65535"),
        ("smtp security", smtp(&json!({ "security": "None" })), "Unsupported value: \"None\""),
        ("no engine", with("translator", json!({})), "spec.translator must have an engine"),
        (
            "drain window",
            with("rollout/drainWindowSeconds", json!(0)),
            "should be greater than or equal to 1",
        ),
        (
            "policy without effect",
            with("networkPolicy", json!({ "enabled": false, "clientsFrom": ["a"] })),
            "spec.networkPolicy.clientsFrom has no effect with enabled: false",
        ),
        (
            "nats password in the clear",
            nats(
                json!({ "urls": ["tls://a:1", "nats://b:1"], "trustSync": true, "userSecret": { "name": "s" } }),
            ),
            "spec.nats.external.userSecret would be sent in the clear to urls that begin with nats://",
        ),
        (
            "etcd password in the clear",
            with("etcd/external", json!({ "endpoints": ["http://a:1"], "userSecret": { "name": "s" } })),
            "spec.etcd.external.userSecret would be sent in the clear",
        ),
        (
            "redis password in the clear",
            with("redis/external", json!({ "url": "redis://a", "passwordSecret": key })),
            "spec.redis.external.passwordSecret would be sent in the clear",
        ),
        (
            "etcd volume",
            with("etcd/managed/storage", json!({ "size": "511Mi" })),
            "spec.etcd.managed.storage.size must be at least 512Mi",
        ),
        (
            "anti-affinity",
            with("nats/managed/antiAffinity", json!("Never")),
            "spec.nats.managed.antiAffinity: Unsupported value: \"Never\"",
        ),
        (
            "weights",
            with("shards", json!([{ "name": "a", "weight": 0 }, { "name": "b", "weight": 0 }])),
            "spec.shards must have one with a weight other than 0",
        ),
        (
            "weight",
            with("shards", json!([{ "name": "a", "weight": 1001 }])),
            "spec.shards[0].weight in body should be less than or equal to 1000",
        ),
        (
            "dedicated",
            with("shards", json!([{ "name": "a", "dedicated": { "key": "a b", "value": "c" } }])),
            "spec.shards[0].dedicated.key in body should match",
        ),
        (
            "retention",
            with("log/retentionDays", json!(36501)),
            "spec.log.retentionDays in body should be less than or equal to 36500",
        ),
        (
            "a rate",
            with("auth/limits/login/perAddress", json!("20 per minute")),
            "spec.auth.limits.login.perAddress in body should match",
        ),
        (
            "a rate of writes",
            with("limits/writesPerUser", json!("600")),
            "spec.limits.writesPerUser in body should match",
        ),
        (
            "a rate of lists",
            with("limits/listsPerUser", json!("0/60s")),
            "spec.limits.listsPerUser in body should match",
        ),
        (
            "a rate of external logins",
            with("auth/limits/external/perAddress", json!("none")),
            "spec.auth.limits.external.perAddress in body should match",
        ),
        (
            "issuer's name",
            issuers(&[issuer(&json!({ "name": "Acme" }))]),
            "spec.auth.externalIssuers[0].name in body should match",
        ),
        (
            "issuer's long name",
            issuers(&[issuer(&json!({ "name": "a".repeat(33) }))]),
            "spec.auth.externalIssuers[0].name: Too long: may not be more than 32 bytes",
        ),
        (
            "issuer twice",
            issuers(&[issuer(&json!({})), issuer(&json!({ "url": "https://other.example.org" }))]),
            "duplicate entries for key [name=\"acme\"]",
        ),
        (
            "issuers with one url",
            issuers(&[issuer(&json!({})), issuer(&json!({ "name": "other" }))]),
            "spec.auth.externalIssuers must not have the same url twice: name all of its audiences in one of them",
        ),
        (
            "too many issuers",
            issuers(&many(17)),
            "spec.auth.externalIssuers: Too many: 17: must have at most 16 items",
        ),
        (
            "issuer without audiences",
            issuers(&[json!({ "name": "acme", "url": "https://login.example.org" })]),
            "spec.auth.externalIssuers[0].audiences: Required value",
        ),
        (
            "no audience",
            issuers(&[issuer(&json!({ "audiences": [] }))]),
            "spec.auth.externalIssuers[0].audiences in body should have at least 1 items",
        ),
        (
            "empty audience",
            issuers(&[issuer(&json!({ "audiences": [""] }))]),
            "spec.auth.externalIssuers[0].audiences[0] in body should be at least 1 chars long",
        ),
        (
            "audience of other letters",
            issuers(&[issuer(&json!({ "audiences": ["tée"] }))]),
            "spec.auth.externalIssuers[0].audiences[0] in body should match",
        ),
        (
            "audience twice",
            issuers(&[issuer(&json!({ "audiences": ["a", "a"] }))]),
            ".spec.auth.externalIssuers[name=\"acme\"].audiences: duplicate entries for key [=\"a\"]",
        ),
        (
            "too many audiences",
            issuers(&[issuer(&json!({ "audiences": (0..17).map(|n| n.to_string()).collect::<Vec<_>>() }))]),
            "spec.auth.externalIssuers[0].audiences: Too many: 17: must have at most 16 items",
        ),
        (
            "issuer's authority",
            issuers(&[issuer(&json!({ "caSecret": { "name": "authority" } }))]),
            "spec.auth.externalIssuers[0].caSecret.key: Required value",
        ),
        (
            "issuer's long url",
            issuers(&[issuer(&json!({ "url": format!("https://a/{}", "b".repeat(246)) }))]),
            "spec.auth.externalIssuers[0].url: Too long: may not be more than 255 bytes",
        ),
        ("a call", with("auth/limits/logout", json!({})), "field not declared in schema"),
        (
            "connections",
            with("limits/connections", json!(0)),
            "spec.limits.connections in body should be greater than or equal to 1",
        ),
        (
            "characters of a day",
            with(
                "translator",
                json!({ "deepl": { "url": "https://a", "keySecret": key, "dayCharacters": 2_000_000_000_000i64 } }),
            ),
            "spec.translator.deepl.dayCharacters in body should be less than or equal to 1",
        ),
        (
            "Google by nothing",
            with("translator", json!({ "google": { "project": "tea" } })),
            "spec.translator.google must have credentialsSecret (version 3) or keySecret (version 2), and not both",
        ),
        (
            "Google by both",
            with(
                "translator",
                json!({ "google": { "project": "tea", "keySecret": key, "credentialsSecret": key } }),
            ),
            "spec.translator.google must have credentialsSecret (version 3) or keySecret (version 2), and not both",
        ),
        (
            "Google without who pays",
            with("translator", json!({ "google": { "credentialsSecret": key } })),
            "spec.translator.google must have project, which pays, where it has credentialsSecret, and nowhere else",
        ),
        (
            "Google of a place by a key",
            with("translator", json!({ "google": { "keySecret": key, "location": "eu" } })),
            "spec.translator.google may have location only where it has credentialsSecret: version 2 knows none",
        ),
        (
            "a language",
            with("translator", json!({ "languages": ["deutsch"], "libreTranslate": { "url": "https://a" } })),
            "spec.translator.languages[0] in body should match",
        ),
        ("public url", with("publicUrl", json!("https://a/b")), "spec.publicUrl in body should match"),
        ("cluster name", with("clusterName", json!("-a")), "spec.clusterName in body should match"),
        ("unknown field", with("retention", json!({ "days": 7 })), "field not declared in schema"),
    ]
}

#[test]
fn bad_manifests_are_refused_with_the_right_sentence() {
    run(async |world| {
        world.declare("good", good()).await.unwrap();
        let cases = bad();
        assert!(cases.len() >= 30);
        let mut wrong = Vec::new();
        for (case, spec, sentence) in cases {
            match world.declare("bad", spec).await {
                Ok(_) => wrong.push(format!("{case}: is accepted")),
                Err(error) => {
                    let text = error.to_string();
                    if !text.contains(sentence) {
                        wrong.push(format!("{case}: {text}"));
                    }
                }
            }
        }
        for name in ["Upper", "1st", "end-", &"a".repeat(33), "a.b"] {
            let told = world.declare(name, good()).await.map(|_| ()).unwrap_err().to_string();
            if !told.contains("metadata.name") && !told.contains("RFC 1123") {
                wrong.push(format!("{name}: {told}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    });
}

#[test]
fn external_issuers_are_addresses_of_https_alone() {
    run(async |world| {
        let declare = async |url: &str| {
            let made = world.declare("issuer", issuers(&[issuer(&json!({ "url": url }))])).await;
            made.map(|_| ()).map_err(|error| error.to_string())
        };
        let sentence = "url of an external issuer must be as iss of its ID tokens has it, https://HOST, https://HOST:PORT or https://HOST/PATH: \
                        without a user, a query or a fragment";
        let mut wrong = Vec::new();
        for url in [
            "",
            "login.example.org",
            "https://",
            "https:///path",
            "HTTPS://login.example.org",
            "http://login.example.org",
            "http://localhost:8080",
            "https://login.example.org?realm=a",
            "https://login.example.org/a?",
            "https://login.example.org/#",
            "https://user@login.example.org",
            "https://user:password@login.example.org/a",
            "https://login.example.org:port",
            "https://login.example.org:65536",
            "https://login.example.org/%zz",
            "https://login.example.org\\a",
            "https://login example.org",
            "https://login.example.org/a\n",
            " https://login.example.org",
        ] {
            match declare(url).await {
                Err(told) if told.contains("spec.auth.externalIssuers[0].url") && told.contains(sentence) => {
                }
                other => wrong.push(format!("{url:?}: {other:?}")),
            }
        }
        for url in [
            "https://login.example.org/",
            "https://login.example.org:65535/realms/tea@home",
            "https://10.0.0.1",
            "https://[fd00::1]:8443/a%20b",
        ] {
            if let Err(told) = declare(url).await {
                wrong.push(format!("{url:?}: {told}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    });
}

/// The API server's budget for rules is enough for them.
#[test]
fn external_issuers_may_be_as_many_and_as_long_as_is_said() {
    run(async |world| {
        let made = world.declare("issuers", issuers(&many(16))).await.unwrap();
        assert_eq!(made.spec.auth.external_issuers.len(), 16);
        assert!(!made.spec.auth.external_issuers[0].trust_email);
    });
}

#[test]
fn what_cannot_be_changed_is_refused() {
    run(async |world| {
        world.declare("chat", good()).await.unwrap();
        let external = json!({ "urls": ["nats://a:1"], "trustSync": true });
        let cases = [
            (with("log/streams", json!(9)), "spec.log.streams cannot be changed"),
            (with("log/replicas", json!(1)), "spec.log.replicas cannot be changed"),
            (with("nats/external", external), "spec.nats cannot change between managed and external"),
            (
                with("etcd/external", json!({ "endpoints": ["http://a:1"] })),
                "spec.etcd cannot change between managed and external",
            ),
        ];
        for (spec, sentence) in cases {
            let told = world.declare("chat", spec).await.map(|_| ()).unwrap_err().to_string();
            assert!(told.contains(sentence), "{told}");
        }
    });
}

/// Also where the whole block comes or goes, and its defaults with it.
#[test]
fn servers_and_their_volumes_cannot_be_changed_by_adding_or_removing_their_block() {
    run(async |world| {
        let managed = |store: &str, managed: Value| with(&format!("{store}/managed"), managed);
        let mut wrong = Vec::new();
        // Before, after, and what the refusal says; empty: it is accepted.
        let mut cases = vec![
            (
                good(),
                managed("nats", json!({ "replicas": 5 })),
                "spec.nats.managed.replicas cannot be changed",
            ),
            (
                managed("nats", json!({ "replicas": 5 })),
                good(),
                "spec.nats.managed.replicas cannot be changed",
            ),
            (
                managed("nats", json!({ "replicas": 5 })),
                managed("nats", json!({})),
                "spec.nats.managed.replicas cannot be changed",
            ),
            (managed("nats", json!({ "replicas": 3 })), good(), ""),
            (
                good(),
                managed("etcd", json!({ "replicas": 1 })),
                "spec.etcd.managed.replicas cannot be changed",
            ),
            (
                managed("etcd", json!({ "replicas": 1 })),
                good(),
                "spec.etcd.managed.replicas cannot be changed",
            ),
            (good(), managed("etcd", json!({ "image": "etcd:3.6" })), ""),
        ];
        for (store, size) in [("nats", "20Gi"), ("etcd", "2Gi"), ("redis", "2Gi")] {
            let sized = |size: &str| managed(store, json!({ "storage": { "size": size } }));
            let classed =
                |class: &str| managed(store, json!({ "storage": { "size": size, "className": class } }));
            let told = |what: &str| -> &'static str {
                format!("spec.{store}.managed.storage.{what} cannot be changed").leak()
            };
            cases.extend([
                (good(), sized("3Gi"), told("size")),
                (sized("3Gi"), good(), told("size")),
                (sized("3Gi"), sized("4Gi"), told("size")),
                (sized(size), good(), ""),
                (good(), classed("fast"), told("className")),
                (classed("fast"), good(), told("className")),
                (classed("fast"), classed("slow"), told("className")),
                (classed("fast"), sized(size), told("className")),
            ]);
        }
        // The name under which data is kept, given or not.
        let named = |name: &str| with("clusterName", json!(name));
        cases.extend([
            (named("tea"), named("coffee"), "spec.clusterName cannot be changed"),
            (good(), named("tea"), "spec.clusterName cannot be changed"),
            (named("tea"), good(), "spec.clusterName cannot be changed"),
        ]);
        // Where messages and members are kept cannot be another place, in neither direction.
        for (store, external) in [
            ("nats", json!({ "urls": ["nats://a:1"], "trustSync": true })),
            ("etcd", json!({ "endpoints": ["http://a:1"] })),
        ] {
            let external = with(&format!("{store}/external"), external);
            let told: &'static str =
                format!("spec.{store} cannot change between managed and external").leak();
            cases.extend([
                (external.clone(), good(), told),
                (external.clone(), managed(store, json!({})), told),
                (managed(store, json!({})), external, told),
            ]);
        }
        // Redis may move: what it keeps ends by itself.
        let external = with("redis/external", json!({ "url": "redis://a" }));
        cases.push((managed("redis", json!({ "storage": { "size": "3Gi" } })), external.clone(), ""));
        cases.push((external, good(), ""));
        for (number, (before, after, sentence)) in cases.into_iter().enumerate() {
            let name = format!("chat-{number}");
            world.declare(&name, before.clone()).await.unwrap();
            let told = match world.declare(&name, after.clone()).await {
                Ok(_) => String::new(),
                Err(error) => error.to_string(),
            };
            if told.is_empty() != sentence.is_empty() || !told.contains(sentence) {
                wrong.push(format!("{before} to {after}: {told:?} is not {sentence:?}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    });
}

/// What is said by name is accepted.
#[test]
fn passwords_go_in_the_clear_where_that_is_said() {
    run(async |world| {
        let key = json!({ "name": "s", "key": "k" });
        let mut spec = nats(json!({
            "urls": ["nats://b:1"], "trustSync": true, "userSecret": { "name": "s" }, "allowPlaintextPassword": true,
        }));
        spec["etcd"] = json!({ "external": {
            "endpoints": ["http://a:1"], "userSecret": { "name": "s" }, "allowPlaintextPassword": true,
        } });
        spec["redis"] = json!({ "external": { "url": "redis://a", "passwordSecret": key, "allowPlaintextPassword": true } });
        world.declare("clear", spec).await.unwrap();
    });
}

/// What is left out has the value that the documents tell; and the operator reads all of it.
#[test]
fn defaults_are_filled_in() {
    run(async |world: World| {
        let made: ChatCluster = world.declare("chat", good()).await.unwrap();
        assert_eq!(made.spec.shards.len(), 1);
        assert_eq!((made.spec.replicas, made.spec.log.replicas, made.spec.log.streams), (3, 3, 8));
        assert_eq!(made.spec.auth.access_token_seconds, 900);
        // Also inside of what is given in part.
        let spec = with("nats/managed/storage/size", json!("5Gi"));
        let made = world.declare("part", spec).await.unwrap();
        let nats = made.spec.nats.managed.unwrap();
        assert_eq!((nats.replicas, nats.image.as_str()), (3, "nats:2.15"));
        // The types and the API server agree about defaults.
        let own: rookery_crds::ChatClusterSpec = serde_json::from_value(good()).unwrap();
        let mut stored = world.clusters().get("chat").await.unwrap().spec;
        stored.version.clone_from(&own.version);
        assert_eq!(own, stored);
    });
}
