//! kubectl in one namespace: objects as JSON, every call with a limit, errors with what kubectl said.

use std::io::Write;
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::lab::Lab;

/// Enough for one answer of a busy API server.
const USUAL_LIMIT: Duration = Duration::from_secs(60);
/// The checker's last reads may take a minute, and its scan of imported data longer.
const PROXY_LIMIT: Duration = Duration::from_secs(240);

/// What databases are called to kubectl.
pub(super) const DATABASE: &str = "distributeddatabases.skerry.io";

/// kubectl, as administrator, in one namespace.
#[derive(Debug, Clone)]
pub struct Kube<'a> {
    lab: &'a Lab,
    namespace: String,
}

impl<'a> Kube<'a> {
    /// Runs kubectl in this namespace.
    pub fn new(lab: &'a Lab, namespace: &str) -> Self {
        Self { lab, namespace: namespace.to_owned() }
    }

    /// The namespace that all calls are made in.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The same cluster, in another namespace.
    pub fn within(&self, namespace: &str) -> Self {
        Self::new(self.lab, namespace)
    }

    /// Runs kubectl and gives what it wrote.
    pub fn run(&self, args: &[&str]) -> Result<String> {
        self.run_within(USUAL_LIMIT, args)
    }

    /// Runs kubectl with these arguments and this limit of time.
    pub fn run_within(&self, limit: Duration, args: &[&str]) -> Result<String> {
        let args = [&["-n", &self.namespace], args].concat();
        succeeded("kubectl", &args, run(self.lab, limit, "kubectl", &args, None)?)
    }

    /// Expects that it is refused, and gives the reason.
    pub fn refused(&self, args: &[&str], input: Option<&Value>) -> Result<String> {
        let args = [&["-n", &self.namespace], args].concat();
        let output = run(self.lab, USUAL_LIMIT, "kubectl", &args, input.map(Value::to_string).as_deref())?;
        if output.status.success() {
            bail!("`kubectl {}` was not refused: {}", args.join(" "), String::from_utf8_lossy(&output.stdout).trim());
        }
        Ok(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }

    /// Applies an object.
    pub fn apply(&self, object: &Value) -> Result<String> {
        self.send(&["apply", "-f", "-"], object)
    }

    /// Applies objects that are given as YAML.
    pub fn apply_text(&self, yaml: &str) -> Result<String> {
        let args = ["-n", &self.namespace, "apply", "-f", "-"];
        succeeded("kubectl", &args, run(self.lab, USUAL_LIMIT, "kubectl", &args, Some(yaml))?)
    }

    /// Runs kubectl with an object as its input.
    pub fn send(&self, args: &[&str], object: &Value) -> Result<String> {
        let args = [&["-n", &self.namespace], args].concat();
        succeeded("kubectl", &args, run(self.lab, USUAL_LIMIT, "kubectl", &args, Some(&object.to_string()))?)
    }

    /// An object. `None` = there is none.
    pub fn get(&self, kind: &str, name: &str) -> Result<Option<Value>> {
        let text = self.run(&["get", kind, name, "-o", "json", "--ignore-not-found"])?;
        if text.trim().is_empty() {
            return Ok(None);
        }
        serde_json::from_str(&text).with_context(|| format!("failed to read {kind} {name}")).map(Some)
    }

    /// An object that must be there.
    pub fn get_known(&self, kind: &str, name: &str) -> Result<Value> {
        self.get(kind, name)?.with_context(|| format!("there is no {kind} {name}"))
    }

    /// All objects of a kind with these labels, in order of name.
    pub fn list(&self, kind: &str, selector: &str) -> Result<Vec<Value>> {
        let text = self.run(&["get", kind, "-l", selector, "--sort-by=.metadata.name", "-o", "json"])?;
        let mut list: Value =
            serde_json::from_str(&text).with_context(|| format!("failed to read the list of {kind}"))?;
        let Value::Array(items) = list["items"].take() else { bail!("the list of {kind} is none") };
        Ok(items)
    }

    /// Merges a patch into an object.
    pub fn patch(&self, kind: &str, name: &str, patch: &Value) -> Result<()> {
        self.run(&["patch", kind, name, "--type=merge", "-p", &patch.to_string()]).map(drop)
    }

    /// Sets the number of replicas of an object.
    pub fn scale(&self, kind: &str, name: &str, replicas: u32) -> Result<()> {
        self.run(&["scale", kind, name, &format!("--replicas={replicas}")]).map(drop)
    }

    /// Deletes an object and does not wait until it is gone. One that is not there is no error.
    pub fn delete(&self, kind: &str, name: &str) -> Result<()> {
        self.run(&["delete", kind, name, "--wait=false", "--ignore-not-found"]).map(drop)
    }

    /// Deletes a pod at once, as if its host had told that it is gone.
    pub fn kill_pod(&self, name: &str) -> Result<()> {
        self.run(&["delete", "pod", name, "--grace-period=0", "--force", "--wait=false"]).map(drop)
    }

    /// What a pod's HTTP server answers, through the API server.
    pub fn ask_pod(&self, post: bool, pod: &str, port: u16, path: &str) -> Result<String> {
        let address = format!("/api/v1/namespaces/{}/pods/http:{pod}:{port}/proxy/{path}", self.namespace);
        let args: &[&str] = if post { &["create", "--raw", &address, "-f", "-"] } else { &["get", "--raw", &address] };
        let limit = if post { PROXY_LIMIT } else { USUAL_LIMIT };
        succeeded("kubectl", args, run(self.lab, limit, "kubectl", args, post.then_some(""))?)
    }

    /// Runs `helm` in the namespace and returns what it prints.
    ///
    /// # Errors
    ///
    /// It could not be run, ended with an error, or took longer than `limit`.
    pub fn helm(&self, limit: Duration, args: &[&str]) -> Result<String> {
        let args = [&["-n", &self.namespace], args].concat();
        succeeded("helm", &args, run(self.lab, limit, "helm", &args, None)?)
    }

    /// Expects that `helm` is refused, and gives the reason.
    ///
    /// # Errors
    ///
    /// It could not be run, or was not refused.
    pub fn helm_refused(&self, limit: Duration, args: &[&str]) -> Result<String> {
        let args = [&["-n", &self.namespace], args].concat();
        let output = run(self.lab, limit, "helm", &args, None)?;
        if output.status.success() {
            bail!("`helm {}` was not refused", args.join(" "));
        }
        Ok(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}

/// Runs a program inside the lab's network; `timeout` ends it when its time is up.
fn run(lab: &Lab, limit: Duration, program: &str, args: &[&str], input: Option<&str>) -> Result<Output> {
    let mut command = lab.command("timeout");
    command.arg("--kill-after=5").arg(limit.as_secs().to_string()).arg(program).args(args);
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let said = || format!("`{program} {}`", args.join(" "));
    let mut child = command.spawn().with_context(|| format!("failed to start {}", said()))?;
    if let (Some(input), Some(mut pipe)) = (input, child.stdin.take()) {
        // A program that ends without reading says why itself. Inputs are small: the pipe takes them whole.
        let _ = pipe.write_all(input.as_bytes());
    }
    child.wait_with_output().with_context(|| format!("failed to run {}", said()))
}

fn succeeded(program: &str, args: &[&str], output: Output) -> Result<String> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = if said.trim().is_empty() { String::from_utf8_lossy(&output.stdout) } else { said };
    bail!("`{program} {}` failed ({}): {}", args.join(" "), output.status, said.trim())
}
