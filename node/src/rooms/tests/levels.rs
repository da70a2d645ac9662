//! Nodes of neighbouring versions in one cluster.

use rookery_core::{
    ring::{Member, MemberState, View},
    room::{Update, What},
};

use super::house::{House, code, user};

#[tokio::test]
async fn what_an_older_node_does_not_know_waits_until_it_is_gone() {
    let (house, ada) = (House::new(), user(1, "ada"));
    let room = house.room(&ada, &[]).await;
    let me = View::alone("test").members()[0].clone();
    let older = Member { name: "older".into(), level: 0, state: MemberState::Draining, ..me.clone() };
    house.rooms.change_view(&View::new(2, vec![me.clone(), older]));
    let untranslated = || What::Update(Update { translation: Some(false), ..Update::default() });
    let problem = house.does(room, &ada, untranslated()).await.unwrap_err();
    assert!(problem.code == "unavailable" && problem.detail.contains("upgraded"), "{problem}");
    let slow = What::Update(Update { slow_mode_seconds: Some(5), ..Update::default() });
    house.does(room, &ada, slow).await.unwrap();
    house.rooms.change_view(&View::new(3, vec![me]));
    house.does(room, &ada, untranslated()).await.unwrap();
    let seen = house.rooms.view(room, ada.id).await.unwrap();
    assert_eq!((seen.translation, seen.slow_mode_seconds), (false, 5));
    assert_eq!(code(house.does(room, &user(2, "bob"), untranslated()).await), (403, "not_a_member"));
}
