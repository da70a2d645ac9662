//! A chat on a real Kubernetes with real pods: installed by its charts, declared by a manifest, reached through its Ingress; then
//! everything that an administrator does to it, while clients write and follow. Every promise of the client API holds.
//!
//! `make e2e` runs it on the Kubernetes that `KUBECONFIG` names; docs/pods.md says what it needs, and is where the table goes.
//!
//! | variable | meaning |
//! | --- | --- |
//! | `KUBECONFIG` | which Kubernetes; whoever it names must be its administrator |
//! | `ROOKERY_E2E_IMAGES` | `rookery:0.1.0 rookery:0.1.0-next`: images that its machines have, and those to upgrade to |
//! | `ROOKERY_E2E_INGRESS` | where its ingress controller answers (`http://localhost:8080`); Ingress objects are made for that host |
//! | `ROOKERY_E2E_STEP` | only steps with this, or one of several with commas between, in their name; those that they need are done, too |
//!
//! Namespaces `rookery` (the operator) and `rookery-e2e-*` are its own. One step after the other, since all share the machines.

#![allow(clippy::print_stdout, reason = "what a long run does is shown while it runs")]

mod chat;
mod kubernetes;
mod report;
mod round;
mod settings;
mod steps;
mod transcripts;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use rookery_testbed::{Smtp, SmtpOptions};
use tokio::runtime::Runtime;

use kubernetes::{Kubernetes, until};
use report::{Report, Row};
use settings::{Images, Settings};

/// What all steps share.
pub(crate) struct World {
    settings: Settings,
    kubernetes: Kubernetes,
    runtime: Runtime,
    smtp: Arc<Smtp>,
}

impl World {
    /// Runs a script of this repository; what it writes. It must succeed.
    fn script(&self, name: &str, args: &[&str]) -> String {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        let done = Command::new(format!("{root}/{name}")).args(args).stdin(Stdio::null()).output();
        let done = done.unwrap_or_else(|error| panic!("{name}: {error}"));
        let text = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
        assert!(done.status.success(), "{name} {}: {text}", args.join(" "));
        text
    }

    /// Installs the operator of these images, or upgrades to it.
    fn deploy(&self, images: &Images) {
        // Whatever the machine: small requests. They are two, so that one can be killed.
        self.script("scripts/deploy", &[&images.text(), "--set", "resources.requests.cpu=20m"]);
    }

    /// A namespace of its own for a step, empty.
    fn namespace(&self, name: &str) -> Kubernetes {
        let kubernetes = self.kubernetes.in_namespace(&format!("rookery-e2e-{name}"));
        self.clean(&kubernetes);
        kubernetes.make();
        kubernetes
    }

    /// Deletes a namespace and waits until it is gone.
    fn clean(&self, kubernetes: &Kubernetes) {
        let namespace = kubernetes.namespace();
        kubernetes.kubectl(&["delete", "namespace", namespace, "--ignore-not-found", "--wait=false"]);
        until(&format!("the namespace {namespace} is gone"), || {
            kubernetes.get(&format!("namespace/{namespace}"), &[]).is_none().then_some(())
        });
        // Volumes without a provisioner are made anew.
        self.script("e2e/kubernetes/prepare", &[]);
    }
}

/// Does a step and writes its row down; what went wrong instead, if it did.
fn step(
    world: &World,
    report: &mut Report,
    what: &str,
    namespace: &str,
    act: impl FnOnce() -> Vec<Row>,
) -> bool {
    println!("{what}");
    let done = catch_unwind(AssertUnwindSafe(act));
    match done {
        Ok(rows) => {
            for row in &rows {
                println!("    {} in {:?}: {}; worst wait {:?}", row.what, row.took, row.said, row.wait);
            }
            report.rows.extend(rows);
            true
        }
        Err(panic) => {
            let said = panic.downcast_ref::<String>().cloned();
            let said = said.or_else(|| panic.downcast_ref::<&str>().map(|said| (*said).to_owned()));
            let evidence = world.kubernetes.in_namespace(&format!("rookery-e2e-{namespace}")).keep_evidence();
            println!("    FAILED; evidence is kept in {}", evidence.display());
            report.broken.push(format!("{what}: {}", said.unwrap_or_default()));
            false
        }
    }
}

#[test]
fn a_chat_on_kubernetes_keeps_its_promises() {
    let Some(settings) = Settings::from_environment() else {
        let why = "no Kubernetes is named by KUBECONFIG, with its images in ROOKERY_E2E_IMAGES; make e2e";
        return rookery_e2e::skipped("pods", why);
    };
    let kubernetes = Kubernetes::find("default").expect("kubectl is there");
    let host = Some(kubernetes.address_of_this_machine());
    let smtp = Smtp::start(&SmtpOptions { host, ..SmtpOptions::default() });
    let smtp = Arc::new(smtp.expect("the SMTP server of the tests is there: scripts/servers"));
    let runtime = Runtime::new().expect("a runtime");
    let world = World { settings, kubernetes, runtime, smtp };
    let mut report = Report { kubernetes: steps::about(&world), ..Report::default() };
    let began = Instant::now();
    steps::all(&world, &mut report);
    report.took = began.elapsed();
    println!("{}", report.page());
    rookery_e2e::report::write("ROOKERY_E2E_REPORT", &report.page());
    assert!(report.broken.is_empty(), "{}", report.broken.join("\n"));
}

/// A moment in which something would have begun that must not happen.
pub(crate) const MOMENT: Duration = Duration::from_secs(5);
