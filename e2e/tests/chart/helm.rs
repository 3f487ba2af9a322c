//! Helm, if it is here: from the path, or as built for the lab.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use serde_json::Value;

use super::chart;

/// The program. `None` = it is not here.
pub(crate) struct Helm(PathBuf);

/// The outcome of a run of Helm.
pub(crate) struct Told {
    pub(crate) succeeded: bool,
    /// What it printed; if it failed, why.
    pub(crate) text: String,
}

impl Helm {
    /// Looks for the program of Helm. `None` = it is not installed.
    pub(crate) fn find() -> Option<Self> {
        let mut folders: Vec<PathBuf> = env::split_paths(&env::var_os("PATH")?).collect();
        let cache = env::var_os("SKERRY_LAB_CACHE")
            .map(PathBuf::from)
            .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cache/skerry/lab")));
        // A build that is going on has another name.
        let builds = cache.and_then(|c| fs::read_dir(c).ok()).into_iter().flatten().filter_map(Result::ok);
        folders.extend(builds.filter(|b| b.file_name() != "unfinished").map(|b| b.path()));
        folders.into_iter().map(|f| f.join("helm")).find(|p| p.is_file()).map(Self)
    }

    /// Runs it on the chart. It reaches for no network.
    pub(crate) fn run(&self, args: &[&str]) -> Told {
        let home = tempfile::tempdir().expect("temporary folders can be made");
        let mut command = Command::new(&self.0);
        for kind in ["CACHE", "CONFIG", "DATA"] {
            command.env(format!("HELM_{kind}_HOME"), home.path().join(kind));
        }
        let output = command.args(args).env("KUBECONFIG", home.path().join("none")).output().expect("helm can be run");
        let succeeded = output.status.success();
        let bytes = if succeeded { output.stdout } else { output.stderr };
        Told { succeeded, text: String::from_utf8_lossy(&bytes).into_owned() }
    }

    /// What the chart becomes with these values, each as `key=value`.
    pub(crate) fn render(&self, set: &[&str]) -> Told {
        let chart = chart().display().to_string();
        let mut args = vec!["template", "keeper", &chart, "--namespace", "skerry-system"];
        args.extend(set.iter().flat_map(|s| ["--set-json", s]));
        self.run(&args)
    }

    /// The objects that the chart becomes with these settings.
    pub(crate) fn objects(&self, set: &[&str]) -> Vec<Value> {
        let told = self.render(set);
        assert!(told.succeeded, "{set:?}: {}", told.text);
        let documents = told.text.split("\n---\n").map(|text| {
            serde_yaml::from_str::<Value>(text.trim_start_matches("---\n"))
                .unwrap_or_else(|e| panic!("{set:?}: {e}\n{text}"))
        });
        documents.filter(|d| !d.is_null()).collect()
    }
}
