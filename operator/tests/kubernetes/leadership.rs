//! The operator as a process: two of them, one works.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, api::DeleteParams};
use rookery_crds::yaml;
use rookery_testbed::{Bed, ControlPlane, ControlPlaneOptions, Process};
use serde_json::json;

use crate::world::{PATIENCE, World, run};

const LEASE: Duration = Duration::from_secs(5);
/// It ends with this when it has lost the lead.
const LOST: Option<i32> = Some(5);

fn operator(world: &World, bed: &Bed, name: &str) -> Process {
    operator_on(world.operator, &world.namespace, bed, name)
}

fn operator_on(kubeconfig: &Path, namespace: &str, bed: &Bed, name: &str) -> Process {
    let process =
        bed.process(name, Path::new(env!("CARGO_BIN_EXE_rookery-operator")), vec!["run".to_owned()]);
    let process = process
        .with_env("KUBECONFIG", kubeconfig.to_str().unwrap())
        .with_env("ROOKERY_SERVER__MANAGEMENT", "127.0.0.1:0")
        .with_env("ROOKERY_OPERATOR__NAMESPACES", namespace)
        .with_env("ROOKERY_OPERATOR__LEASE_NAMESPACE", namespace)
        .with_env("ROOKERY_OPERATOR__LEASE_SECONDS", &LEASE.as_secs().to_string())
        .with_env("ROOKERY_OPERATOR__IDENTITY", name);
    process.start();
    process
}

async fn eventually<T>(
    what: &str,
    context: impl Fn() -> String,
    mut ask: impl AsyncFnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}\n{}", context());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Who leads, by the lease.
async fn holder(world: &World) -> Option<String> {
    let leases: Api<Lease> = Api::namespaced(world.client.clone(), &world.namespace);
    let lease = leases.get_opt("rookery-operator").await.unwrap()?;
    lease.spec?.holder_identity
}

/// Two of them, of which the first leads.
async fn two(world: &World, bed: &Bed) -> (Process, Process) {
    let first = operator(world, bed, "first");
    let leads = async || (holder(world).await? == "first").then_some(());
    eventually("the first one leads", || first.log_tail(20), leads).await;
    (first, operator(world, bed, "second"))
}

#[test]
fn one_works_and_the_other_takes_over() {
    run(async |world| {
        let bed = Bed::temporary();
        let holder = async || holder(&world).await;
        let (first, second) = two(&world, &bed).await;
        let logs = || first.log_tail(20) + &second.log_tail(20);
        world.declare("tea", json!({ "version": "1.0.0", "replicas": 1 })).await.unwrap();
        eventually("it is made", logs, async || {
            world.objects("StatefulSet").get_opt("tea-main").await.unwrap()
        })
        .await;
        // Its own writes do not wake it again and again.
        let writes = || -> Vec<String> {
            world.writes().into_iter().filter(|write| !write.contains("leases/")).collect()
        };
        let mut before = Vec::new();
        eventually("it comes to rest", logs, async || {
            let now = writes();
            let rests = now == before;
            before = now;
            tokio::time::sleep(Duration::from_secs(1)).await;
            rests.then_some(())
        })
        .await;
        assert_eq!(holder().await.unwrap(), "first");

        first.kill();
        eventually("the second one leads", logs, async || (holder().await? == "second").then_some(())).await;
        world.objects("Service").delete("tea-client", &DeleteParams::default()).await.unwrap();
        eventually("it repairs", logs, async || {
            world.objects("Service").get_opt("tea-client").await.unwrap()
        })
        .await;
        second.terminate();
        let ended = tokio::task::block_in_place(|| second.wait(PATIENCE));
        assert_eq!(ended.and_then(|status| status.code()), Some(0), "{}", second.log_tail(20));
        assert_eq!(holder().await.unwrap(), "", "it gives up the lead at once");
    });
}

/// One that was paused for longer than its lease believes that it leads when it goes on. It notices that it does not.
#[test]
fn who_is_paused_for_too_long_leads_no_more() {
    run(async |world| {
        let bed = Bed::temporary();
        let holder = async || holder(&world).await;
        let (first, second) = two(&world, &bed).await;
        first.pause();
        let logs = || first.log_tail(20) + &second.log_tail(20);
        eventually("the second one leads", logs, async || (holder().await? == "second").then_some(())).await;
        first.resume();
        let ended = tokio::task::block_in_place(|| first.wait(PATIENCE));
        assert_eq!(ended.and_then(|status| status.code()), LOST, "{}", first.log_tail(20));
        // The other one goes on leading, and works.
        second.assert_running();
        assert_eq!(holder().await.unwrap(), "second");
        world.declare("tea", json!({ "version": "1.0.0", "replicas": 1 })).await.unwrap();
        eventually("it is made", logs, async || {
            world.objects("StatefulSet").get_opt("tea-main").await.unwrap()
        })
        .await;
    });
}

/// Without the API server nobody can say who leads: who led stops before another one may, and begins anew when it is back.
#[test]
fn without_an_api_server_nobody_leads_for_longer_than_the_lease() {
    let Some(plane) = ControlPlane::start(&ControlPlaneOptions::default()) else { return };
    for (_, text) in yaml::files().unwrap() {
        plane.define(&text);
    }
    let bed = Bed::temporary();
    let leads = |name: &str| {
        let holder = ["get", "lease", "rookery-operator", "-o", "jsonpath={.spec.holderIdentity}"];
        (plane.kubectl(&holder, "").ok()? == name).then_some(())
    };
    let first = operator_on(plane.kubeconfig(), "default", &bed, "first");
    rookery_testbed::eventually("it leads", || first.log_tail(20), || leads("first"));
    plane.kill_api_server();
    let away = Instant::now();
    let ended = first.wait(PATIENCE);
    let took = away.elapsed();
    assert_eq!(ended.and_then(|status| status.code()), LOST, "{}", first.log_tail(20));
    assert!(took < LEASE, "{took:?}: {}", first.log_tail(20));
    plane.start_api_server();
    let second = operator_on(plane.kubeconfig(), "default", &bed, "second");
    rookery_testbed::eventually("it leads again", || second.log_tail(20), || leads("second"));
}
