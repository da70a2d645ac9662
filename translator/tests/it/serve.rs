//! The translator as a service.

use std::{collections::HashSet, sync::Arc, time::Duration};

use async_nats::service::NATS_SERVICE_ERROR;
use futures_util::{FutureExt as _, StreamExt as _};
use prost::Message as _;
use rookery_protocol::translator::{
    TranslateReply, TranslateRequest, missing::Reason, translator_client::TranslatorClient,
};
use rookery_translator::{program::NatsSettings, router::Translator, serve};

use crate::{
    services::{Fault, Services},
    support::{apertium, eventually, only_apertium, translator, within},
};

fn house(targets: &[&str]) -> TranslateRequest {
    TranslateRequest {
        text: "The house is big and the water is cold.".to_owned(),
        source: "en-GB".to_owned(),
        targets: targets.iter().map(|tag| (*tag).to_owned()).collect(),
        source_is_sure: false,
    }
}

fn check(reply: &TranslateReply) {
    assert_eq!(reply.source, "en");
    let [text] = &reply.texts[..] else { panic!("{reply:?}") };
    assert!(text.text.contains("casa") && text.language == "es-MX" && text.engine == "apertium", "{reply:?}");
    let missing: Vec<_> =
        reply.missing.iter().map(|missing| (&*missing.language, missing.reason())).collect();
    assert_eq!(missing, [("en-US", Reason::NotNeeded), ("ja", Reason::NoEngine)]);
}

#[tokio::test]
async fn answers_over_grpc_and_says_what_it_serves() {
    if apertium().await.is_none() {
        return;
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = serve::listen_grpc(listener, translator(&only_apertium()).await, true).await.unwrap();
    let url = format!("http://{}", server.address);
    let channel = tonic::transport::Endpoint::new(url).unwrap().connect().await.unwrap();
    let mut client = TranslatorClient::new(channel.clone());
    check(client.translate(house(&["es-MX", "en-US", "ja"])).await.unwrap().get_ref());
    let guessed = TranslateRequest { source: String::new(), ..house(&["es"]) };
    let guessed = client.translate(guessed).await.unwrap().into_inner();
    assert_eq!((&*guessed.source, guessed.texts.len()), ("en", 1), "the language is detected: {guessed:?}");
    let refused = client.translate(house(&["Klingon!"])).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel.clone());
    let asked =
        tonic_health::pb::HealthCheckRequest { service: "rookery.translator.v1.Translator".to_owned() };
    assert_eq!(health.check(asked).await.unwrap().get_ref().status, 1, "serving");
    let listed = reflected(channel.clone()).await.unwrap();
    assert!(listed.contains(&"rookery.translator.v1.Translator".to_owned()), "{listed:?}");
    drop((client, health, channel));
    within("the server ends", server.stop()).await;
}

/// What the server says that it serves.
async fn reflected(channel: tonic::transport::Channel) -> Result<Vec<String>, tonic::Status> {
    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let asked = ServerReflectionRequest {
        message_request: Some(MessageRequest::ListServices(String::new())),
        ..ServerReflectionRequest::default()
    };
    let asked = tokio_stream::once(asked);
    let mut answers = ServerReflectionClient::new(channel).server_reflection_info(asked).await?.into_inner();
    let answer = within("its answer", answers.message()).await?.unwrap();
    let Some(MessageResponse::ListServicesResponse(listed)) = answer.message_response else {
        panic!("{answer:?}")
    };
    Ok(listed.service.into_iter().map(|service| service.name).collect())
}

#[tokio::test]
async fn says_nothing_of_what_it_serves_unless_it_is_asked_to() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let none = Translator::new(Vec::new(), &Default::default(), None, Default::default());
    let server = serve::listen_grpc(listener, none, false).await.unwrap();
    let url = format!("http://{}", server.address);
    let channel = tonic::transport::Endpoint::new(url).unwrap().connect().await.unwrap();
    let refused = reflected(channel).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unimplemented);
    within("the server ends", server.stop()).await;
}

async fn connected(nats: &rookery_testbed::NatsCluster) -> async_nats::Client {
    let settings = NatsSettings { urls: nats.urls().join(","), ..NatsSettings::default() };
    serve::connect_nats(&settings).await.unwrap()
}

async fn over_nats(client: &async_nats::Client, request: &TranslateRequest) -> TranslateReply {
    let answer = client.request(serve::subject("tea"), request.encode_to_vec().into()).await.unwrap();
    let refused = answer.headers.as_ref().and_then(|headers| headers.get(NATS_SERVICE_ERROR));
    assert!(refused.is_none(), "{refused:?}");
    TranslateReply::decode(&answer.payload[..]).unwrap()
}

async fn listening(
    nats: &rookery_testbed::NatsCluster,
    translator: Arc<Translator>,
) -> (serve::NatsServer, async_nats::Client) {
    let client = connected(nats).await;
    let server = serve::listen_nats(&client, "tea", translator).await.unwrap();
    (server, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_over_nats_is_found_there_and_ends_what_is_under_way() {
    let Some(services) = Services::start().await else { return };
    let Some(nats) = tokio::task::spawn_blocking(rookery_testbed::nats_single).await.unwrap() else { return };
    let client = connected(&nats).await;
    let (first, its) = listening(&nats, translator(&only_apertium()).await).await;
    check(&over_nats(&client, &house(&["es-MX", "en-US", "ja"])).await);

    // As `nats micro` finds it.
    let found = client.request("$SRV.INFO.rookery-translator", "".into()).await.unwrap();
    let info: serde_json::Value = serde_json::from_slice(&found.payload).unwrap();
    assert_eq!(info["endpoints"][0]["subject"], "tea.translate");
    assert_eq!(shares_of(&client, 1, 1).await, [1]);
    let refused = client.request(serve::subject("tea"), "no protobuf".into()).await.unwrap();
    let code = refused.headers.unwrap().get("Nats-Service-Error-Code").unwrap().to_string();
    assert_eq!(code, "400");

    // Another one takes its place; what the first has begun is answered before it ends.
    within("the first ends", first.stop(&its)).await;
    services.fault(Fault::Slow);
    let (second, its) = listening(&nats, translator(&services.settings("deepl")).await).await;
    let asked = client.clone();
    let under_way = tokio::spawn(async move { over_nats(&asked, &house(&["es"])).await });
    eventually("the engine is asked", || {
        assert!(services.calls() > 0 || !under_way.is_finished(), "another engine has answered");
        services.calls() > 0
    })
    .await;
    within("the second ends", second.stop(&its)).await;
    assert_eq!(within("its answer", under_way).await.unwrap().texts.len(), 1);
    let gone = client.request(serve::subject("tea"), house(&["es"]).encode_to_vec().into()).await;
    assert_eq!(gone.unwrap_err().kind(), async_nats::RequestErrorKind::NoResponders);
    tokio::task::spawn_blocking(move || drop(nats)).await.unwrap();
}

/// Discovery's answers of all that are there, by what they call themselves.
async fn discovered(client: &async_nats::Client, what: &str, count: usize) -> Vec<serde_json::Value> {
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await.unwrap();
    client.publish_with_reply(format!("$SRV.{what}"), inbox, "".into()).await.unwrap();
    let mut found: Vec<serde_json::Value> = Vec::new();
    while found.len() < count {
        let answer = within(what, answers.next()).await.unwrap();
        found.push(serde_json::from_slice(&answer.payload).unwrap());
    }
    found
}

/// How many requests each has answered, once all together have answered so many: an answer is counted a moment after it is sent.
async fn shares_of(client: &async_nats::Client, translators: usize, answered: u64) -> Vec<u64> {
    let counted = async {
        loop {
            let all = discovered(client, "STATS.rookery-translator", translators).await;
            let of = |stats: &serde_json::Value| stats["endpoints"][0]["num_requests"].as_u64().unwrap();
            let shares: Vec<_> = all.iter().map(of).collect();
            if shares.iter().sum::<u64>() >= answered {
                return shares;
            }
        }
    };
    within("all are counted", counted).await
}

#[tokio::test(flavor = "multi_thread")]
async fn translators_share_requests_and_are_discovered() {
    const REQUESTS: usize = 120;
    const TRANSLATORS: usize = 3;
    if apertium().await.is_none() {
        return;
    }
    let Some(nats) = tokio::task::spawn_blocking(rookery_testbed::nats_single).await.unwrap() else { return };
    let client = connected(&nats).await;
    let mut all = Vec::new();
    for _ in 0..TRANSLATORS {
        all.push(listening(&nats, translator(&only_apertium()).await).await);
    }

    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await.unwrap();
    for number in 0..REQUESTS {
        let text = format!("There are {number} houses here.");
        let request = TranslateRequest { text, ..house(&["es"]) };
        let (subject, payload) = (serve::subject("tea"), request.encode_to_vec().into());
        client.publish_with_reply(subject, inbox.clone(), payload).await.unwrap();
    }
    let mut numbers = Vec::new();
    for _ in 0..REQUESTS {
        let answer = within("an answer", answers.next()).await.unwrap();
        let reply = TranslateReply::decode(&answer.payload[..]).unwrap();
        let number = reply.texts[0].text.split_whitespace().find_map(|word| word.parse::<usize>().ok());
        numbers.push(number.unwrap_or_else(|| panic!("{reply:?}")));
    }
    numbers.sort_unstable();
    assert!(numbers.iter().copied().eq(0..REQUESTS), "each is answered: {numbers:?}");

    let pinged = discovered(&client, "PING", TRANSLATORS).await;
    let ids: HashSet<_> = pinged.iter().map(|pong| pong["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), TRANSLATORS, "{pinged:?}");
    for pong in &pinged {
        assert_eq!(pong["name"], "rookery-translator");
        assert_eq!(pong["version"], env!("CARGO_PKG_VERSION"));
    }
    for info in discovered(&client, "INFO.rookery-translator", TRANSLATORS).await {
        assert!(ids.contains(info["id"].as_str().unwrap()), "{info}");
        let endpoint = &info["endpoints"][0];
        assert_eq!(
            (&endpoint["name"], &endpoint["subject"], &endpoint["queue_group"]),
            (&"translate".into(), &"tea.translate".into(), &"translator".into())
        );
    }
    let shares = shares_of(&client, TRANSLATORS, REQUESTS as u64).await;
    assert_eq!(shares.iter().sum::<u64>(), REQUESTS as u64, "each went to one: {shares:?}");
    assert!(shares.iter().all(|share| *share > 0), "all have a share: {shares:?}");
    let id = pinged[0]["id"].as_str().unwrap();
    let one = client.request(format!("$SRV.PING.rookery-translator.{id}"), "".into()).await.unwrap();
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&one.payload).unwrap()["id"], id);

    // Whatever they were still at is said by now, and the server has handed on all of it.
    for (server, its) in all {
        within("one ends", server.stop(&its)).await;
    }
    let gone = client.request(serve::subject("tea"), house(&["es"]).encode_to_vec().into()).await;
    assert_eq!(gone.unwrap_err().kind(), async_nats::RequestErrorKind::NoResponders);
    assert!(answers.next().now_or_never().is_none(), "a request was answered twice");
    tokio::task::spawn_blocking(move || drop(nats)).await.unwrap();
}

/// The program itself.
struct Program {
    process: tokio::process::Child,
    management: u16,
}

impl Program {
    /// Runs it with these flags and settings of the environment, and waits until it is ready.
    async fn start(flags: &[&str], settings: &[(&str, &str)]) -> Self {
        let management = rookery_testbed::free_port();
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_rookery-translator"));
        command.args(["serve", "--management", &format!("127.0.0.1:{management}")]).args(flags);
        command.envs(settings.iter().copied()).kill_on_drop(true);
        let mut program = Self { process: command.spawn().unwrap(), management };
        let deadline = std::time::Instant::now() + rookery_testbed::PATIENCE;
        while !program.get("/readyz").await.is_some_and(|(ready, _)| ready) {
            assert!(
                std::time::Instant::now() < deadline && program.process.try_wait().unwrap().is_none(),
                "it is not ready"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        program
    }

    /// Whether that went well, and what it says.
    async fn get(&self, path: &str) -> Option<(bool, String)> {
        let answer = reqwest::get(format!("http://127.0.0.1:{}{path}", self.management)).await.ok()?;
        let ready = answer.status().is_success();
        Some((ready, answer.text().await.ok()?))
    }

    /// By SIGTERM.
    async fn stop(mut self) {
        let id = self.process.id().unwrap().to_string();
        std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap();
        assert!(within("the program ends", self.process.wait()).await.unwrap().success());
    }
}

/// Settings by the environment, readiness, a request, SIGTERM.
#[tokio::test(flavor = "multi_thread")]
async fn the_program_serves_and_stops_as_asked() {
    if apertium().await.is_none() {
        return;
    }
    let Some(nats) = tokio::task::spawn_blocking(rookery_testbed::nats_single).await.unwrap() else { return };
    let urls = nats.urls().join(",");
    let program =
        Program::start(&[], &[("ROOKERY_NATS__URLS", &urls), ("ROOKERY_SERVER__CLUSTER", "tea")]).await;
    let client = connected(&nats).await;
    check(&over_nats(&client, &house(&["es-MX", "en-US", "ja"])).await);
    let (_, metrics) = program.get("/metrics").await.unwrap();
    assert!(metrics.contains("rookery_translator_asked_total{outcome=\"translated\"} 1"), "{metrics}");
    assert!(
        metrics.contains("rookery_translator_engine_calls_total{engine=\"apertium\",outcome=\"ok\"} 1"),
        "{metrics}"
    );
    program.stop().await;
    tokio::task::spawn_blocking(move || drop(nats)).await.unwrap();
}

/// Over gRPC alone, and over gRPC beside NATS.
#[tokio::test(flavor = "multi_thread")]
async fn the_program_serves_over_grpc() {
    if apertium().await.is_none() {
        return;
    }
    let Some(nats) = tokio::task::spawn_blocking(rookery_testbed::nats_single).await.unwrap() else { return };
    for (urls, reflection) in [(String::new(), true), (nats.urls().join(","), false)] {
        let address = format!("127.0.0.1:{}", rookery_testbed::free_port());
        let mut settings =
            vec![("ROOKERY_NATS__URLS", &*urls), ("ROOKERY_SERVER__DRAIN_DEADLINE_SECONDS", "3600")];
        if reflection {
            settings.push(("ROOKERY_GRPC__REFLECTION", "true"));
        }
        let program = Program::start(&["--grpc", &address], &settings).await;
        let endpoint = tonic::transport::Endpoint::new(format!("http://{address}")).unwrap();
        let channel = endpoint.connect().await.unwrap();
        let mut client = TranslatorClient::new(channel.clone());
        check(client.translate(house(&["es-MX", "en-US", "ja"])).await.unwrap().get_ref());
        let mut health = tonic_health::pb::health_client::HealthClient::new(channel.clone());
        for service in ["", "rookery.translator.v1.Translator"] {
            let asked = tonic_health::pb::HealthCheckRequest { service: service.to_owned() };
            assert_eq!(health.check(asked).await.unwrap().get_ref().status, 1, "serving {service:?}");
        }
        let unknown = tonic_health::pb::HealthCheckRequest { service: "rookery.node.v1.Node".to_owned() };
        assert_eq!(health.check(unknown).await.unwrap_err().code(), tonic::Code::NotFound);
        match reflected(channel.clone()).await {
            Ok(listed) => {
                assert!(
                    reflection && listed.contains(&"rookery.translator.v1.Translator".to_owned()),
                    "{listed:?}"
                );
            }
            Err(refused) => assert!(!reflection && refused.code() == tonic::Code::Unimplemented, "{refused}"),
        }
        // Who watches hears that it leaves, and does not keep it.
        let asked =
            tonic_health::pb::HealthCheckRequest { service: "rookery.translator.v1.Translator".to_owned() };
        let mut watched = health.watch(asked).await.unwrap().into_inner();
        assert_eq!(within("its health", watched.message()).await.unwrap().unwrap().status, 1);
        program.stop().await;
        let left = within("its health", watched.message()).await.unwrap().unwrap();
        assert_eq!(left.status, 2, "not serving");
        assert_eq!(within("its end", watched.message()).await.unwrap(), None);
    }
    tokio::task::spawn_blocking(move || drop(nats)).await.unwrap();
}

/// An engine that is set up and cannot be used ends the start, by a sentence that says which and why.
#[tokio::test]
async fn the_program_does_not_start_without_the_models_that_it_is_to_have() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("nowhere");
    let alone = folder.path().join("alone");
    std::fs::create_dir(&alone).unwrap();
    std::fs::write(alone.join("model.enpt.intgemm.alphas.bin"), "a model").unwrap();
    for (models, wanted) in [
        (&nowhere, format!("there is no model in {}", nowhere.display())),
        (&alone, "model.enpt.intgemm.alphas.bin: there is no vocab.enpt.spm".to_owned()),
    ] {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_rookery-translator"));
        command.args(["serve", "--management", "127.0.0.1:0", "--grpc", "127.0.0.1:0"]).kill_on_drop(true);
        command.env("ROOKERY_NATS__URLS", "").env("ROOKERY_TRANSLATOR__FIREFOX__MODELS", models);
        let ended = within("the program ends", command.output()).await.unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(5), "{said}");
        assert!(said.contains("translator.firefox.models: ") && said.contains(&wanted), "{said}");
    }
}
