//! Which messages are translated, when, and who is told, with a translator that does as it is told. What real engines
//! make of texts is tested in the translator.

mod world;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use rookery_core::record::Body;
use rookery_protocol::{Subprotocol, id::RoomId};
use tokio::time::Instant;

use self::world::{ROOM, Reader, Says, World, eventually};
use super::Lang;

const HOUSE: &str = "The house is big and the water is cold.";
const DOGS: &str = "There are two dogs in the garden of my house.";

fn waiting(reader: &Reader) -> impl FnMut() -> Option<Vec<String>> {
    || Some(reader.told()).filter(|told| !told.is_empty())
}

/// Until nothing goes on any more: sleepers are woken in turn, whoever waits for the translator waits on.
async fn settle() {
    tokio::time::sleep(Duration::from_secs(3600)).await;
}

#[tokio::test(start_paused = true)]
async fn a_language_is_asked_for_once_and_encoded_once_however_many_read_it() {
    let world = World::new().await;
    let mut readers = Vec::new();
    for user in 0..10_000 {
        let language = match user % 10 {
            0..5 => "es",
            5..8 => "pt-BR",
            8 => "en",
            _ => "",
        };
        let protocol = Subprotocol::ALL[user % 2];
        readers.push((language, world.reader(2 + user as u128, language, protocol)));
    }
    let seq = world.post(HOUSE);
    readers.iter().for_each(|(_, reader)| reader.catch_up());
    world.translator.answer(1);
    settle().await;
    let asked = world.translator.asked();
    assert_eq!(asked.len(), 1, "never per member");
    assert_eq!((&*asked[0].text, &asked[0].targets[..]), (HOUSE, &["es".to_owned(), "pt".to_owned()][..]));
    assert_eq!(world.counted("rookery_translation_told_total"), 2);
    let mut first: std::collections::BTreeMap<(&str, bool), Arc<[u8]>> = std::collections::BTreeMap::new();
    for (language, reader) in &readers {
        let told = reader.shared();
        if ["en", ""].contains(language) {
            assert!(told.is_empty(), "{language} {seq}");
            continue;
        }
        let [frame] = &told[..] else { panic!("{language} is told {} times", told.len()) };
        let of = first.entry((language, reader.link.protocol.is_binary())).or_insert_with(|| frame.clone());
        assert!(Arc::ptr_eq(of, frame), "it is the same memory for all");
    }
    assert_eq!(first.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn who_reads_another_language_from_now_on_is_told_in_that() {
    let world = World::new().await;
    let lang = |tag| Lang::parse(tag).unwrap();
    let [one, other] = [2, 3].map(|user| world.reader(user, "es", Subprotocol::Json));
    let reads_but_for = |reader: &Reader, language, except: &[RoomId]| {
        reader.link.read_in(language, except.into());
        world.room.reads(&reader.sub);
    };
    let reads = |reader: &Reader, language| reads_but_for(reader, language, &[]);
    world.post(HOUSE);
    assert_eq!(world.asked(1).await[0].targets, ["es"]);
    reads(&one, Some(lang("de")));
    reads(&other, Some(lang("es")));
    world.post(DOGS);
    assert_eq!(world.asked(2).await[1].targets, ["de", "es"]);
    [&one, &other].into_iter().for_each(Reader::catch_up);
    world.translator.answer(2);
    settle().await;
    // What was asked for before is for those who read it still.
    assert_eq!(one.told(), [format!("de: {DOGS}")]);
    let mut told = other.told();
    told.sort();
    assert_eq!(told, [format!("es: {HOUSE}"), format!("es: {DOGS}")]);
    reads(&other, None);
    world.post(HOUSE);
    assert_eq!(world.asked(3).await[2].targets, ["de"]);
    reads_but_for(&one, Some(lang("de")), &[ROOM]);
    reads_but_for(&other, Some(lang("es")), &[RoomId(9)]);
    world.post(DOGS);
    assert_eq!(world.asked(4).await[3].targets, ["es"]);
    // What one reads when he leaves need not be what he was counted by.
    one.link.read_in(Some(lang("de")), [].into());
    [&one, &other].into_iter().for_each(|reader| world.room.leave(&reader.sub, &world.hub.live));
    world.post(DOGS);
    settle().await;
    assert_eq!(world.translator.asked().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn an_edit_or_a_deletion_cancels_what_is_under_way() {
    let world = World::new().await;
    let reader = world.reader(2, "es", Subprotocol::Json);
    let seq = world.post(HOUSE);
    world.asked(1).await;
    world.happens(Body::Edited { message_seq: seq, text: DOGS.to_owned(), mentions: Vec::new() });
    world.asked(2).await;
    reader.catch_up();
    world.translator.answer(2);
    settle().await;
    assert_eq!(reader.told(), [format!("es: {DOGS}")]);

    let seq = world.post(HOUSE);
    world.asked(3).await;
    world.happens(Body::Deleted { message_seq: seq });
    reader.catch_up();
    world.translator.answer(1);
    settle().await;
    assert_eq!(reader.told(), [] as [String; 0]);

    // Also while it waits for engines to come back: they are not asked again.
    world.translator.says(Says::Away(1_000));
    let seq = world.post(HOUSE);
    world.asked(4).await;
    world.translator.answer(1);
    eventually("it is known that they are away", || {
        (world.counted("rookery_translation_asked_total{answered=\"yes\"}") == 4).then_some(())
    })
    .await;
    world.happens(Body::Deleted { message_seq: seq });
    settle().await;
    assert_eq!(world.translator.asked().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn engines_that_were_away_are_asked_again_a_few_times() {
    let world = World::new().await;
    let reader = world.reader(2, "es", Subprotocol::Json);
    world.translator.answer(100);
    world.translator.says(Says::Away(7_000));
    let begun = Instant::now();
    world.post(HOUSE);
    reader.catch_up();
    world.asked(1).await;
    world.translator.says(Says::Texts);
    let told = eventually("it is translated", waiting(&reader)).await;
    assert_eq!(told, [format!("es: {HOUSE}")]);
    assert!(begun.elapsed() >= Duration::from_secs(7), "not sooner than they said: {:?}", begun.elapsed());
    assert_eq!(world.translator.asked().len(), 2);

    // Not for ever, whether they are away or the translator is.
    for says in [Says::Nothing, Says::Away(10)] {
        let before = world.translator.asked().len();
        world.translator.says(says);
        world.post(HOUSE);
        settle().await;
        assert_eq!(world.translator.asked().len() - before, 6, "{says:?}");
    }
    // And not at all where there is no engine.
    world.translator.says(Says::NoEngine);
    let before = world.translator.asked().len();
    world.post(HOUSE);
    settle().await;
    assert_eq!(world.translator.asked().len() - before, 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_too_much_is_dropped_and_counted() {
    const DROPPED: &str = "rookery_translation_dropped_total";
    let world = World::new().await;
    let reader = world.reader(2, "es", Subprotocol::Json);
    for _ in 0..1_100 {
        world.post(HOUSE);
        // The queue before it is emptied now and then.
        tokio::task::yield_now().await;
    }
    world.asked(1_024).await;
    settle().await;
    assert_eq!(world.translator.asked().len(), 1_024);
    assert_eq!(world.counted(&format!("{DROPPED}{{because=\"under_way\"}}")), 76);
    // Those that wait for engines keep no place from others, up to a number.
    world.translator.says(Says::Away(3_600_000));
    world.translator.answer(1_024);
    eventually("all wait", || {
        (world.counted("rookery_translation_asked_total{answered=\"yes\"}") == 1_024).then_some(())
    })
    .await;
    world.translator.says(Says::Texts);
    world.translator.answer(1);
    world.post(DOGS);
    reader.catch_up();
    assert_eq!(eventually("the next one is translated", waiting(&reader)).await, [format!("es: {DOGS}")]);
    world.translator.says(Says::Away(3_600_000));
    world.translator.answer(1);
    world.post(HOUSE);
    eventually("one more may not wait", || {
        (world.counted(&format!("{DROPPED}{{because=\"waiting\"}}")) == 1).then_some(())
    })
    .await;
    // What nobody has time to look at.
    for _ in 0..5_000 {
        world.post(HOUSE);
    }
    assert!(world.counted(&format!("{DROPPED}{{because=\"queue\"}}")) >= 900);
}

#[tokio::test(start_paused = true)]
async fn nobody_is_told_before_he_is_written_the_message() {
    let world = World::new().await;
    let [fast, slow] = [2, 3].map(|user| world.reader(user, "es", Subprotocol::Json));
    let other = world.reader(4, "pt", Subprotocol::Json);
    world.translator.answer(100);
    world.post(HOUSE);
    fast.catch_up();
    other.catch_up();
    // Nobody waits for the slow one, in his language or in another.
    assert_eq!(eventually("the fast one is told", waiting(&fast)).await, [format!("es: {HOUSE}")]);
    assert_eq!(eventually("so is the other", waiting(&other)).await, [format!("pt: {HOUSE}")]);
    assert_eq!(slow.told(), [] as [String; 0]);
    slow.catch_up();
    assert_eq!(eventually("then the slow one", waiting(&slow)).await, [format!("es: {HOUSE}")]);
    assert_eq!(fast.told(), [] as [String; 0]);
    // Who is never written it is told nothing, and that is counted.
    world.post(DOGS);
    settle().await;
    assert_eq!(world.counted("rookery_translation_dropped_total{because=\"behind\"}"), 1);
    slow.catch_up();
    settle().await;
    assert_eq!(slow.told(), [] as [String; 0]);
}

#[tokio::test(start_paused = true)]
async fn who_was_removed_is_told_nothing_any_more() {
    let world = World::new().await;
    let [stays, goes] = [2, 3].map(|user| world.reader(user, "es", Subprotocol::Proto));
    world.post(HOUSE);
    world.asked(1).await;
    world.kick(3);
    stays.catch_up();
    goes.catch_up();
    world.translator.answer(1);
    assert_eq!(eventually("one is told", waiting(&stays)).await, [format!("es: {HOUSE}")]);
    settle().await;
    assert_eq!(goes.told(), [] as [String; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_room_that_forbids_it_is_not_translated() {
    let world = World::new().await;
    *world.allowed.may.lock() = Some(false);
    let reader = world.reader(2, "es", Subprotocol::Json);
    world.translator.answer(100);
    world.post(HOUSE);
    world.post(HOUSE);
    reader.catch_up();
    settle().await;
    assert_eq!(world.translator.asked().len(), 0);
    // Until its owners allow it, which its events say: it is looked up once.
    world.allow(true);
    world.post(DOGS);
    reader.catch_up();
    assert_eq!(eventually("it is translated", waiting(&reader)).await, [format!("es: {DOGS}")]);
    world.allow(false);
    world.post(HOUSE);
    settle().await;
    assert_eq!((world.translator.asked().len(), world.allowed.asked.load(Ordering::Relaxed)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn what_is_under_way_when_a_room_forbids_it_is_told_to_nobody() {
    let world = World::new().await;
    let [reader, slow] = [2, 3].map(|user| world.reader(user, "es", Subprotocol::Proto));
    // Asked, and not answered.
    world.post(HOUSE);
    world.asked(1).await;
    world.allow(false);
    reader.catch_up();
    world.translator.answer(100);
    settle().await;
    assert_eq!(reader.told(), [] as [String; 0]);
    // Answered, and not told to all.
    world.allow(true);
    world.post(DOGS);
    reader.catch_up();
    assert_eq!(eventually("the fast one is told", waiting(&reader)).await, [format!("es: {DOGS}")]);
    world.allow(false);
    slow.catch_up();
    settle().await;
    // Waiting for engines.
    world.allow(true);
    world.translator.says(Says::Away(60_000));
    world.post(HOUSE);
    world.asked(3).await;
    world.allow(false);
    settle().await;
    assert_eq!(slow.told(), [] as [String; 0]);
    assert_eq!(world.translator.asked().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_translated_before_it_is_known_whether_the_room_allows_it() {
    let world = World::new().await;
    *world.allowed.may.lock() = None;
    let reader = world.reader(2, "es", Subprotocol::Json);
    world.translator.answer(100);
    world.post(HOUSE);
    reader.catch_up();
    eventually("it is asked for", || (world.allowed.asked.load(Ordering::Relaxed) > 1).then_some(())).await;
    assert_eq!(world.translator.asked().len(), 0);
    *world.allowed.may.lock() = Some(true);
    assert_eq!(eventually("it is translated", waiting(&reader)).await, [format!("es: {HOUSE}")]);
}

#[tokio::test(start_paused = true)]
async fn who_wants_a_room_untranslated_is_told_nothing_of_it() {
    let world = World::new().await;
    let here = world.reader_but_for(2, "es", Subprotocol::Json, &[RoomId(1), ROOM, RoomId(9)]);
    let elsewhere = world.reader_but_for(3, "pt", Subprotocol::Json, &[RoomId(1), RoomId(9)]);
    world.translator.answer(1);
    world.post(HOUSE);
    here.catch_up();
    elsewhere.catch_up();
    assert_eq!(eventually("one is told", waiting(&elsewhere)).await, [format!("pt: {HOUSE}")]);
    settle().await;
    assert_eq!(here.told(), [] as [String; 0]);
    assert_eq!(world.translator.asked()[0].targets, ["pt"], "nobody here reads Spanish");
}
