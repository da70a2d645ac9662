//! Everything that is watched: a cluster of three nodes with its servers, a mailer, a translator, and the operator on an API server.

use std::{sync::Arc, time::Duration};

use rookery_e2e::server::{self, Options};
use rookery_testbed::{
    Bed, Cluster, ClusterOptions, ControlPlane, ControlPlaneOptions, Process, Smtp, SmtpOptions, eventually,
    free_port,
};

use crate::prometheus::Target;

/// The name of the cluster, also as ChatCluster.
const NAME: &str = "tea";

/// New connections that a node takes in a second, in bursts more: few enough to be met.
pub(crate) const CONNECTS: usize = 15;

/// All of it. It ends in this order.
pub(crate) struct World {
    pub(crate) operator: Option<Watched>,
    mailer: Watched,
    translator: Watched,
    pub(crate) cluster: Cluster,
    pub(crate) smtp: Arc<Smtp>,
    _plane: Option<ControlPlane>,
}

/// A program beside the nodes.
pub(crate) struct Watched {
    process: Process,
    management: String,
}

impl Watched {
    fn start(bed: &Bed, name: &str, command: &[&str], settings: &[(&str, String)]) -> Self {
        let program = server::program().with_file_name(format!("rookery-{name}"));
        assert!(program.exists(), "{} is missing: cargo build -p rookery-{name}", program.display());
        let management = format!("127.0.0.1:{}", free_port());
        let args = command.iter().map(ToString::to_string).collect();
        let mut process =
            bed.process(name, &program, args).with_env("ROOKERY_SERVER__MANAGEMENT", &management);
        for (key, value) in settings {
            process = process.with_env(key, value);
        }
        process.start();
        let watched = Self { process, management };
        eventually(
            &format!("the {name} tells how it is"),
            || watched.process.log_tail(20),
            || {
                watched.process.assert_running();
                std::net::TcpStream::connect(&watched.management).ok()
            },
        );
        watched
    }

    fn url(&self) -> String {
        format!("http://{}", self.management)
    }
}

impl World {
    /// `None`, said loudly: a server is not installed.
    pub(crate) fn start() -> Option<Self> {
        let smtp = Arc::new(Smtp::start(&SmtpOptions::default())?);
        let mut settings = Options::generous().set("server.drain_window_seconds", 1).environment().to_vec();
        settings.retain(|(key, _)| key != "ROOKERY_TRANSLATION__MODE");
        settings.push(("ROOKERY_TRANSLATION__MODE".into(), "nats".into()));
        settings.push(("ROOKERY_NOTICES__DELAY_SECONDS".into(), "1".into()));
        settings.push(("ROOKERY_EDGE__CONNECTS_PER_SECOND".into(), CONNECTS.to_string()));
        let cluster = Cluster::start(&ClusterOptions {
            name: NAME.to_owned(),
            shards: ["main"; 3].map(str::to_owned).to_vec(),
            nats_servers: 1,
            etcd_members: 1,
            settings,
            ..ClusterOptions::of(server::program())
        })?;
        let bed = Bed::temporary();
        let nats = cluster.nats().urls().join(",");
        let config = bed.dir().join("mailer.toml");
        let text = format!(
            "[cluster]\nname = '{NAME}'\n[nats]\nurls = ['{nats}']\nreplicas = 1\n[mail]\nfrom = 'chat@example.org'\n\
             [smtp]\nhost = '127.0.0.1'\nport = {}\nsecurity = 'plain'\n",
            smtp.port(),
        );
        std::fs::write(&config, text).expect("a configuration can be written");
        let mailer = Watched::start(&bed, "mailer", &["run", "--config", &config.to_string_lossy()], &[]);
        let translator = [
            ("ROOKERY_SERVER__CLUSTER", NAME.to_owned()),
            ("ROOKERY_NATS__URLS", nats),
            ("ROOKERY_REDIS__URL", cluster.redis().url()),
        ];
        let translator = Watched::start(&bed, "translator", &["serve"], &translator);
        let plane = ControlPlane::start(&ControlPlaneOptions::default());
        let operator = plane.as_ref().map(|plane| operator(&bed, plane));
        if operator.is_none() {
            crate::without_operator();
        }
        Some(Self { operator, mailer, translator, cluster, smtp, _plane: plane })
    }

    /// What Prometheus watches.
    pub(crate) fn targets(&self) -> Vec<Target> {
        let target = |url: &str, pod: String, chatcluster| Target {
            address: url.trim_start_matches("http://").to_owned(),
            pod,
            chatcluster,
        };
        let nodes = self.cluster.nodes().iter().enumerate();
        let mut all: Vec<_> = nodes
            .map(|(number, node)| target(&node.management_url(), format!("tea-main-{number}"), Some(NAME)))
            .collect();
        all.push(target(&self.cluster.etcd().endpoints()[0], "tea-etcd-0".into(), Some(NAME)));
        all.push(target(&self.mailer.url(), "tea-mailer-0".into(), Some(NAME)));
        all.push(target(&self.translator.url(), "tea-translator-0".into(), Some(NAME)));
        all.extend(
            self.operator.iter().map(|operator| target(&operator.url(), "rookery-operator-0".into(), None)),
        );
        all
    }

    /// Programs of ours, each with its management URL.
    pub(crate) fn programs(&self) -> Vec<(&'static str, String)> {
        let mut all = vec![
            ("node", self.cluster.nodes()[0].management_url()),
            ("node", self.cluster.nodes()[1].management_url()),
            ("node", self.cluster.nodes()[2].management_url()),
            ("mailer", self.mailer.url()),
            ("translator", self.translator.url()),
        ];
        all.extend(self.operator.iter().map(|operator| ("operator", operator.url())));
        all
    }
}

/// The operator, with a ChatCluster and a ChatRoom to look after.
fn operator(bed: &Bed, plane: &ControlPlane) -> Watched {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let read =
        |file: &str| std::fs::read_to_string(format!("{root}/{file}")).expect("it is in the repository");
    for definition in ["chatclusters", "chatrooms"] {
        plane.define(&read(&format!("crds/yaml/{definition}.yaml")));
    }
    let settings = [
        ("KUBECONFIG", plane.kubeconfig().to_string_lossy().into_owned()),
        // While nothing changes it looks again, so that rates are not zero for long.
        ("ROOKERY_OPERATOR__RESYNC_SECONDS", "10".to_owned()),
    ];
    let operator = Watched::start(bed, "operator", &["run"], &settings);
    // A chat, and a room of it, which waits for a node of that.
    let room = read("operator/examples/room.yaml").replace("name: chat\n", "name: tea\n");
    for object in [read("operator/examples/laptop.yaml"), room] {
        plane.kubectl(&["apply", "-f", "-"], &object).expect("the example is taken");
    }
    operator
}

/// So often what is asked for is asked for again.
pub(crate) const PACE: Duration = Duration::from_millis(300);
