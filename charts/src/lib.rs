//! Renders the charts beside this crate by Helm itself, for tests.
//!
//! Here belongs how Helm is called and how its output is read; what the charts must look like is said in `tests/`. Helm is in
//! `$ROOKERY_SERVERS`, where `scripts/helm` puts it, or in `PATH`. Nothing here talks to a cluster.

use std::{
    ffi::OsStr,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

/// Helm, as it is installed.
#[derive(Debug)]
pub struct Helm {
    program: PathBuf,
}

impl Helm {
    /// Finds it, or says where it cannot be overlooked that it is missing: a test that needs it is not run.
    pub fn find_or_say() -> Option<Self> {
        Some(Self { program: rookery_testbed::find_program_or_say("helm")? })
    }

    /// What the chart of that name becomes with these values: `helm template`.
    ///
    /// # Errors
    /// What Helm says when it refuses, about the values for instance.
    pub fn template(&self, chart: &str, release: &Release<'_>, values: &Value) -> Result<String, String> {
        let chart = directory(chart);
        let mut arguments: Vec<&OsStr> = ["template", release.name, "--namespace", release.namespace]
            .into_iter()
            .map(OsStr::new)
            .collect();
        arguments.extend([chart.as_os_str(), "--values".as_ref(), "-".as_ref()]);
        self.call(&arguments, &values.to_string())
    }

    /// What Helm finds wrong with the chart, warnings and all, as its error: `helm lint --strict`.
    ///
    /// # Errors
    /// What Helm says when it finds something.
    pub fn lint(&self, chart: &str, values: &Value) -> Result<String, String> {
        let chart = directory(chart);
        let arguments =
            ["lint".as_ref(), "--strict".as_ref(), chart.as_os_str(), "--values".as_ref(), "-".as_ref()];
        self.call(&arguments, &values.to_string())
    }

    /// Packs the chart into a file in `into`: `helm package`.
    ///
    /// # Errors
    /// What Helm says when it cannot.
    pub fn package(&self, chart: &str, into: &Path) -> Result<String, String> {
        let chart = directory(chart);
        self.call(&["package".as_ref(), chart.as_os_str(), "--destination".as_ref(), into.as_os_str()], "")
    }

    fn call(&self, arguments: &[&OsStr], input: &str) -> Result<String, String> {
        let run = || -> io::Result<_> {
            let mut child = Command::new(&self.program)
                .args(arguments)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()?;
            // Values are smaller than a pipe holds, and a Helm that refuses its command line does not read them.
            let _ = child.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes()));
            child.wait_with_output()
        };
        let output = run().map_err(|error| format!("{}: {error}", self.program.display()))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(format!("{}{}", text(&output.stdout), text(&output.stderr)))
        }
    }
}

/// Under which name a chart is installed, and where.
#[derive(Debug, Clone, Copy)]
pub struct Release<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
}

/// The chart of that name.
pub fn directory(chart: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(chart)
}

/// The objects in a text of YAML documents, in its order. Empty documents are left out.
///
/// # Errors
/// What is wrong with the YAML.
pub fn objects(yaml: &str) -> Result<Vec<Value>, String> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(yaml).map_err(|error| error.to_string())?;
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}
