//! What is kept of a round in which something was found: words, and all that the nodes wrote.

use std::{fs, path::Path};

use rookery_testbed::{Cluster, Node};

/// Copies the nodes' logs into a directory of the build, and says which.
pub(crate) fn keep(seed: u64, round: usize, cluster: &Cluster, broken: &[String]) {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("faults-{seed}-{round}"));
    let kept = fs::create_dir_all(&dir).and_then(|()| {
        fs::write(dir.join("found"), broken.join("\n"))?;
        for log in cluster.nodes().iter().map(Node::process).map(rookery_testbed::Process::log) {
            fs::copy(log, dir.join(log.file_name().unwrap_or_default()))?;
        }
        Ok(())
    });
    match kept {
        Ok(()) => println!("round {round}: {} findings; logs are kept in {}", broken.len(), dir.display()),
        Err(error) => println!("round {round}: the logs cannot be kept: {error}"),
    }
}
