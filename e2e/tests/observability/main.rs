//! What programs tell about themselves: each metric is on a page, and each panel of each dashboard shows something when a real Prometheus
//! watches a cluster that is used. Without Prometheus or a cluster's servers what needs them is skipped, and says so.

mod dashboards;
mod page;
mod prometheus;
mod traffic;
mod world;

use std::time::{Duration, Instant};

use rookery_e2e::{eventually, skipped};
use tokio::task::block_in_place;

use world::World;

/// How long panels may take until all of them show something: a few scrapes after what they show has happened.
const PATIENCE: Duration = Duration::from_secs(180);

#[tokio::test(flavor = "multi_thread")]
async fn every_panel_shows_something_of_a_cluster_in_use_and_every_metric_has_its_line() {
    let Some(world) = block_in_place(World::start) else { return };
    let Some(prometheus) = block_in_place(|| prometheus::Prometheus::start(&world.targets())) else { return };
    let traffic = traffic::Traffic::begin(&world).await;

    let mut empty = dashboards::queries();
    empty.retain(|query| world.operator.is_some() || !query.text.contains("rookery_operator_"));
    let deadline = Instant::now() + PATIENCE;
    while !empty.is_empty() {
        let mut still = Vec::new();
        for query in empty {
            if !prometheus.shows(&query).await {
                still.push(query);
            }
        }
        empty = still;
        assert!(
            Instant::now() < deadline,
            "panels that show nothing after {PATIENCE:?}:\n{}",
            dashboards::list(&empty)
        );
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let rules = eventually("Prometheus has evaluated every alert", async || {
        let rules = prometheus.rules().await;
        (!rules.is_empty() && rules.iter().all(|(_, health, _)| health != "unknown")).then_some(rules)
    })
    .await;
    let wrong: Vec<_> = rules.iter().filter(|(_, health, _)| health != "ok").collect();
    assert!(wrong.is_empty(), "alerts that cannot be evaluated: {wrong:?}");
    traffic.end().await;

    let mut seen = Vec::new();
    for (program, url) in world.programs() {
        let text =
            eventually(&format!("{program} tells its metrics"), async || prometheus::scrape(&url).await)
                .await;
        seen.extend(page::families(program, &text));
    }
    page::compare(&seen);
    block_in_place(|| drop((prometheus, world)));
}

/// Also without a cluster: what the sources register, and nothing else, is on the page.
#[test]
fn every_metric_of_the_sources_has_its_line() {
    page::compare_with_sources();
}

/// Says that the operator is left out.
fn without_operator() {
    skipped("dashboard of the operator", "there are no programs of Kubernetes");
}
