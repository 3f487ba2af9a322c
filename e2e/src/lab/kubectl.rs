//! kubectl, as the lab itself uses it: as administrator, inside the control plane's namespace.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::run::run_within;
use super::{certificates, environment};

/// The API server may be busy, as all share one small machine.
const LIMIT: Duration = Duration::from_secs(60);

/// The program, and how it is called.
pub(super) struct Kubectl {
    program: PathBuf,
}

impl Kubectl {
    /// The kubectl in the folder of a build's programs.
    pub(super) fn new(programs: &Path) -> Kubectl {
        Kubectl { program: programs.join("kubectl") }
    }

    /// Runs a command and returns what it wrote.
    pub(super) fn run(&self, args: &[&str]) -> Result<String> {
        let config = format!("--kubeconfig={}", certificates::kubeconfig("admin").display());
        self.run_bare(&[&[config.as_str()], args].concat())
    }

    /// The same, for another server than the lab's.
    pub(super) fn run_bare(&self, args: &[&str]) -> Result<String> {
        let net = format!("--net=/run/netns/{}", environment::NAMESPACE);
        // Else it would write to the home of whoever runs the lab.
        let cache = format!("--cache-dir={}", environment::folder("kubectl").display());
        let program = self.program.display().to_string();
        run_within(LIMIT, "nsenter", &[&[net.as_str(), &program, &cache], args].concat())
    }

    /// Lists all objects of a kind that is in no namespace.
    pub(super) fn list(&self, kind: &str) -> Result<Vec<Value>> {
        let text = self.run(&["get", kind, "-o", "json"])?;
        let mut list: Value =
            serde_json::from_str(&text).with_context(|| format!("failed to read the list of {kind}"))?;
        Ok(match list["items"].take() {
            Value::Array(items) => items,
            _ => Vec::new(),
        })
    }

    /// Applies objects that are given as YAML.
    pub(super) fn apply(&self, name: &str, yaml: &str) -> Result<()> {
        let file = environment::folder(&format!("{name}.yaml"));
        fs::write(&file, yaml).with_context(|| format!("failed to write {}", file.display()))?;
        self.run(&["apply", "--server-side", "-f", &file.display().to_string()])?;
        Ok(())
    }
}
