//! The translator as a service.

use std::{sync::Arc, time::Duration};

use async_nats::service::NATS_SERVICE_ERROR;
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
    let found = client.request("$SRV.STATS.rookery-translator", "".into()).await.unwrap();
    let stats: serde_json::Value = serde_json::from_slice(&found.payload).unwrap();
    assert_eq!(stats["endpoints"][0]["num_requests"], 1);
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

/// The program itself: settings by the environment, readiness, a request, SIGTERM.
#[tokio::test(flavor = "multi_thread")]
async fn the_program_serves_and_stops_as_asked() {
    if apertium().await.is_none() {
        return;
    }
    let Some(nats) = tokio::task::spawn_blocking(rookery_testbed::nats_single).await.unwrap() else { return };
    let management = rookery_testbed::free_port();
    let mut program = tokio::process::Command::new(env!("CARGO_BIN_EXE_rookery-translator"))
        .args(["serve", "--management", &format!("127.0.0.1:{management}")])
        .env("ROOKERY_NATS__URLS", nats.urls().join(","))
        .env("ROOKERY_SERVER__CLUSTER", "tea")
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let get = |path: &'static str| async move {
        let answer = reqwest::get(format!("http://127.0.0.1:{management}{path}")).await.ok()?;
        let ready = answer.status().is_success();
        Some((ready, answer.text().await.ok()?))
    };
    let deadline = std::time::Instant::now() + rookery_testbed::PATIENCE;
    while !get("/readyz").await.is_some_and(|(ready, _)| ready) {
        assert!(
            std::time::Instant::now() < deadline && program.try_wait().unwrap().is_none(),
            "it is not ready"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let client = connected(&nats).await;
    check(&over_nats(&client, &house(&["es-MX", "en-US", "ja"])).await);
    let (_, metrics) = get("/metrics").await.unwrap();
    assert!(metrics.contains("rookery_translator_asked_total{outcome=\"translated\"} 1"), "{metrics}");
    assert!(
        metrics.contains("rookery_translator_engine_calls_total{engine=\"apertium\",outcome=\"ok\"} 1"),
        "{metrics}"
    );
    let id = program.id().unwrap().to_string();
    std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap();
    assert!(within("the program ends", program.wait()).await.unwrap().success());
    tokio::task::spawn_blocking(move || drop(nats)).await.unwrap();
}
