//! The operator as a process: two of them, one works.

use std::{path::Path, time::Duration};

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, api::DeleteParams};
use rookery_testbed::{Bed, Process};
use serde_json::json;

use crate::world::{PATIENCE, World, run};

fn operator(world: &World, bed: &Bed, name: &str) -> Process {
    let process =
        bed.process(name, Path::new(env!("CARGO_BIN_EXE_rookery-operator")), vec!["run".to_owned()]);
    let process = process
        .with_env("KUBECONFIG", world.operator.to_str().unwrap())
        .with_env("ROOKERY_SERVER__MANAGEMENT", "127.0.0.1:0")
        .with_env("ROOKERY_OPERATOR__NAMESPACES", &world.namespace)
        .with_env("ROOKERY_OPERATOR__LEASE_NAMESPACE", &world.namespace)
        .with_env("ROOKERY_OPERATOR__LEASE_SECONDS", "5")
        .with_env("ROOKERY_OPERATOR__IDENTITY", name);
    process.start();
    process
}

async fn eventually<T>(
    what: &str,
    context: impl Fn() -> String,
    mut ask: impl AsyncFnMut() -> Option<T>,
) -> T {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(std::time::Instant::now() < deadline, "waited in vain: {what}\n{}", context());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[test]
fn one_works_and_the_other_takes_over() {
    run(async |world| {
        let bed = Bed::temporary();
        let leases: Api<Lease> = Api::namespaced(world.client.clone(), &world.namespace);
        let holder = async || {
            let lease = leases.get_opt("rookery-operator").await.unwrap()?;
            lease.spec?.holder_identity
        };
        let first = operator(&world, &bed, "first");
        let logs = || first.log_tail(20);
        eventually("the first one leads", logs, async || (holder().await? == "first").then_some(())).await;
        let second = operator(&world, &bed, "second");
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
