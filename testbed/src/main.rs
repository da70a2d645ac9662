//! `rookery-testbed cluster`: a whole cluster as local processes, until Ctrl-C.

mod show;

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use clap::{Args, Parser, Subcommand};
use rookery_testbed::{Bed, ClusterOptions, Ports};

/// Signals within this time are one.
const ONE_WISH: Duration = Duration::from_millis(300);

/// Runs what Rookery's tests run on, for people.
#[derive(Debug, Parser)]
#[command(name = "rookery-testbed", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start 3 NATS servers, 3 etcd members, Redis, and nodes in two shards, all on 127.0.0.1; Ctrl-C stops them.
    Cluster(ClusterArgs),
}

#[derive(Debug, Args)]
struct ClusterArgs {
    /// Directory for data, configurations and logs; a cluster that was there goes on
    #[arg(long, value_name = "DIR", default_value = "data/cluster")]
    data: PathBuf,
    /// The shard of each node, as many nodes as are named
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "blue,blue,green")]
    shards: Vec<String>,
    /// Moves all ports up by so many, for a second cluster beside a first one; `any`: free ones, for one that does not last
    #[arg(long, value_name = "N", default_value = "0", value_parser = ports)]
    ports: Ports,
    /// The node's program [default: rookery-node next to this one]
    #[arg(long, value_name = "FILE", env = "ROOKERY_NODE")]
    node: Option<PathBuf>,
    /// A setting of all nodes, as in docs/configuration.md; as often as there are settings
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE", value_parser = setting)]
    settings: Vec<(String, String)>,
    /// Translators beside the nodes, with the engines that are installed; none if none is
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(0..=9))]
    translators: u8,
    /// The translator's program [default: rookery-translator next to this one]
    #[arg(long, value_name = "FILE")]
    translator: Option<PathBuf>,
}

fn ports(text: &str) -> Result<Ports, String> {
    match text.parse() {
        Ok(moved) if moved <= 9_000 => Ok(Ports::Fixed(moved)),
        _ if text == "any" => Ok(Ports::Free),
        _ => Err("must be 0 to 9000, or any".to_owned()),
    }
}

/// The variable that says the same: `ROOKERY_EDGE__URL_TOKEN` for `edge.url_token`. Whether there is such a key, nodes say when they start.
fn setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("must be SECTION.KEY=VALUE")?;
    let is_key = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    if !key.contains('.') || !key.split('.').all(is_key) {
        return Err("the key must be one of docs/configuration.md, as edge.url_token".to_owned());
    }
    Ok((format!("ROOKERY_{}", key.to_ascii_uppercase().replace('.', "__")), value.to_owned()))
}

fn main() -> ExitCode {
    let Command::Cluster(args) = Cli::parse().command;
    // The library panics with a sentence, for tests; whoever typed a command gets the sentence alone.
    std::panic::set_hook(Box::new(|panic| {
        let text = panic.payload_as_str().unwrap_or("a defect");
        show::error(text);
    }));
    let signals = Arc::new(AtomicU32::new(0));
    count_signals(&signals);
    // What has begun ends with this process, whatever happens.
    std::panic::catch_unwind(|| cluster(&args, &signals)).unwrap_or(ExitCode::FAILURE)
}

fn cluster(args: &ClusterArgs, signals: &AtomicU32) -> ExitCode {
    let own = std::env::current_exe().expect("a program knows itself");
    let program = args.node.clone().unwrap_or_else(|| own.with_file_name("rookery-node"));
    let has_engines = rookery_testbed::find_modes().is_some() || rookery_testbed::find_models().is_some();
    let translators = if has_engines { usize::from(args.translators) } else { 0 };
    if translators < usize::from(args.translators) {
        show::error(
            "nothing is translated: there is no engine (apt install apertium apertium-eng-spa, or scripts/models)",
        );
    }
    // The README's session can be typed against it, too. What is said later wins.
    let mut settings = vec![("ROOKERY_EDGE__URL_TOKEN".into(), "true".into())];
    settings.extend(args.settings.iter().cloned());
    let options = ClusterOptions {
        translators,
        translator: Some(args.translator.clone().unwrap_or_else(|| own.with_file_name("rookery-translator"))),
        shards: args.shards.clone(),
        durable_redis: true,
        ports: args.ports,
        bed: Some(Bed::lasting(&args.data)),
        settings,
        ..ClusterOptions::of(program)
    };
    let translator = (translators > 0).then(|| options.translator_program());
    let mut programs = [Some(options.program.clone()), translator].into_iter().flatten();
    if let Some(missing) = programs.find(|file| !file.exists()) {
        show::error(&format!("{} is missing: cargo build --workspace", missing.display()));
        return ExitCode::FAILURE;
    }
    let taken = options.taken_ports();
    if !taken.is_empty() {
        show::error(&format!(
            "somebody listens on port {taken:?} already: is a cluster running? --ports N moves all ports up by N"
        ));
        return ExitCode::FAILURE;
    }
    show::run(&options, &args.data, || signals.load(Ordering::Relaxed))
}

/// The first one asks for an orderly end, which the caller sees; the second one ends this process at once, and with it
/// all that it has started.
fn count_signals(count: &Arc<AtomicU32>) {
    let count = count.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime can be made");
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let mut terminate = signal(SignalKind::terminate()).expect("signals can be caught");
            let mut hangup = signal(SignalKind::hangup()).expect("signals can be caught");
            let mut interrupt = signal(SignalKind::interrupt()).expect("signals can be caught");
            let mut first = None;
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {}
                }
                // Some tools send a signal to a process and to its group: that is one wish.
                let since = first.get_or_insert_with(std::time::Instant::now).elapsed();
                if count.fetch_add(1, Ordering::Relaxed) > 0 && since > ONE_WISH {
                    std::process::exit(130);
                }
            }
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_the_variable_of_its_key() {
        let is = |text: &str| setting(text).ok().map(|(name, value)| format!("{name}={value}"));
        let named = is("accounts.limits.login_per_address=5 / 1m = x");
        assert_eq!(named.as_deref(), Some("ROOKERY_ACCOUNTS__LIMITS__LOGIN_PER_ADDRESS=5 / 1m = x"));
        assert_eq!(is("edge.url_token=").as_deref(), Some("ROOKERY_EDGE__URL_TOKEN="));
        for wrong in
            ["edge.url_token", "url_token=true", "Edge.Url=1", ".a=1", "edge..x=1", "=1", "edge.a b=1"]
        {
            assert!(setting(wrong).is_err(), "{wrong}");
        }
    }
}
