//! What is too much, or cannot be served: it is dropped, refused, or the end of the connection.

use super::*;

/// Somebody who sends what is no frame is told so each time, and not for ever.
#[tokio::test]
async fn too_much_that_is_malformed_closes() {
    let world = World::new(EdgeSettings { max_malformed: 2, ..settings() }, LiveSettings::default()).await;
    let mut client = connect(&world, Subprotocol::Json, 1);
    // So many that a minute may begin in between.
    for _ in 0..6 {
        client.send(1, b"{");
    }
    let got = client.until(|got| matches!(got, Got::Close(_))).await;
    assert_eq!(got.last(), Some(&Got::Close(1008)));
    let told = |got: &Got| matches!(got, Got::Frame(Frame::Error(error)) if error.code == "malformed");
    assert!(
        (3..=5).contains(&got.len().saturating_sub(1)) && got[..got.len() - 1].iter().all(told),
        "{got:?}"
    );
}

/// Who goes on when he is told that he is too fast is closed.
#[tokio::test]
async fn who_goes_on_too_fast_is_closed() {
    let slow = EdgeSettings { frames_per_second: 1, max_rate_limited: 3, ..settings() };
    let world = World::new(slow, LiveSettings::default()).await;
    let mut client = connect(&world, Subprotocol::Json, 1);
    for id in 1..=200 {
        client.ask(id, Ask::Ping(client::Ping {}));
    }
    let got = client.until(|got| matches!(got, Got::Close(_))).await;
    let mut told = got.iter().rev();
    assert_eq!(told.next(), Some(&Got::Close(1008)));
    for told in told.take(4) {
        let Got::Frame(Frame::Error(error)) = told else { panic!("{got:?}") };
        assert_eq!(error.code, "rate_limited");
        assert!(error.retry_after_ms.is_some_and(|after| after > 0), "{error:?}");
    }
}

/// What fails for no reason of the client's, and will not pass by itself.
#[tokio::test]
async fn who_cannot_be_let_in_is_told_that_it_is_not_his_fault() {
    let world = World::new(settings(), LiveSettings::default()).await;
    let ada = world.user("ada").await;
    world.spoil(ada.profile.id).await;
    // Where she was never seen before.
    let world = world.beside("second", settings(), LiveSettings::default()).await;
    let mut client = connect(&world, Subprotocol::Json, 1);
    client.ask(1, Ask::Hello(client::Hello { token: Some(ada.token.clone()), ..Default::default() }));
    let got = client.until(|got| matches!(got, Got::Close(_))).await;
    let [Got::Frame(Frame::Error(error)), Got::Close(1011)] = &got[..] else { panic!("{got:?}") };
    assert_eq!(error.code, "internal");
}

/// `typing` is dropped when too frequent: one in three seconds of each connection is told.
#[tokio::test]
async fn who_types_all_the_time_is_told_of_now_and_then() {
    let live = LiveSettings { typing_per_second: 1_000, ..LiveSettings::default() };
    let world = World::new(settings(), live).await;
    let (ada, bob) = (world.user("ada").await, world.user("bob").await);
    let room = world.room(&ada).await;
    world.app.rooms.join(room, &bob.profile).await.unwrap();
    let mut hers = connect(&world, Subprotocol::Json, 1);
    let mut his = connect(&world, Subprotocol::Proto, 2);
    for (client, user) in [(&mut hers, &ada), (&mut his, &bob)] {
        hello(client, user, &[(room, 2)]).await;
        client.until(|got| matches!(got, Got::Frame(Frame::CaughtUp(_)))).await;
    }
    let began = world.edge.now_seconds();
    for id in 2..=100 {
        hers.ask(id, Ask::Typing(client::StartTyping { room: room.to_string() }));
    }
    hers.ask(101, Ask::Ping(client::Ping {}));
    hers.until(|got| matches!(got, Got::Frame(Frame::Pong(_)))).await;
    let most = 1 + (world.edge.now_seconds() - began) / 3;
    let seq = world.post(&ada, room, "done".to_owned()).await;
    let got = his.until(|got| event(got) == Some((&room.to_string(), seq))).await;
    let typing =
        |got: &&Got| matches!(got, Got::Frame(Frame::Typing(by)) if by.user == ada.profile.id.to_string());
    let told = u32::try_from(got.iter().filter(typing).count()).unwrap();
    assert!((1..=most).contains(&told), "told {told} times, of at most {most}");
}
