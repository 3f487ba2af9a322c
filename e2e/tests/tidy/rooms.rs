//! The walls: which of our crates and which outside ones a room may name, and which files alone may name a crate.

use std::fs;

use super::tree::{Source, root};

/// A crate of the workspace, and what it may depend on.
pub(crate) struct Room {
    pub(crate) folder: &'static str,
    /// Of ours, what it may depend on.
    ours: &'static [&'static str],
    /// Of outside crates, what it must not depend on; a name ending in `*` stands for all that begin so.
    never: &'static [&'static str],
}

const PURE: &[&str] = &[
    "tokio*", "tonic*", "prost*", "axum", "kube*", "sled", "fjall", "rand*", "futures*", "tracing*", "rustix",
    "tempfile",
];
const NO_KUBERNETES: &[&str] = &["kube*", "k8s-openapi"];
const NO_STORE: &[&str] = &["sled", "fjall", "raft"];

/// All crates of the workspace.
pub(crate) const ROOMS: [Room; 12] = [
    // Itself, for the tests that stand beside it.
    Room { folder: "node/core", ours: &["skerry-core"], never: PURE },
    Room { folder: "node/proto", ours: &[], never: &["tokio*", "kube*", "sled", "fjall", "rand*"] },
    // The operator's decisions run in the simulator, too.
    Room {
        folder: "node/sim",
        ours: &["skerry-core", "skerry-api", "skerry-operator-core"],
        never: &["tokio*", "tonic*", "kube*", "sled", "fjall"],
    },
    // Beside core and proto the client, whose conversions to and from the wire are the server's too. For its tests the
    // readers and writers that the tour and the scenarios have, so that there is one check of what clients see.
    Room {
        folder: "node",
        ours: &["skerry-core", "skerry-proto", "skerry-client", "skerry-program", "skerry-workload"],
        never: NO_KUBERNETES,
    },
    // What it is a program for, it does not know.
    Room { folder: "node/program", ours: &[], never: &["kube*", "k8s-openapi", "tonic*", "sled", "fjall", "raft"] },
    Room {
        folder: "node/client",
        ours: &["skerry-core", "skerry-proto"],
        never: &["kube*", "k8s-openapi", "sled", "fjall", "raft"],
    },
    Room { folder: "operator/api", ours: &[], never: &["tokio*", "tonic*", "sled", "fjall", "rand*"] },
    Room {
        folder: "operator/core",
        ours: &["skerry-api", "skerry-core"],
        never: &[
            "tokio*",
            "tonic*",
            "prost*",
            "axum",
            "kube-client",
            "kube-runtime",
            "sled",
            "fjall",
            "rand*",
            "futures*",
            "tracing*",
        ],
    },
    Room {
        folder: "operator",
        ours: &["skerry-api", "skerry-core", "skerry-operator-core", "skerry-client", "skerry-program"],
        never: &["tonic*", "prost*", "sled", "fjall", "raft"],
    },
    Room {
        folder: "operator/cli",
        ours: &[
            "skerry-api",
            "skerry-core",
            "skerry-operator-core",
            "skerry-operator",
            "skerry-client",
            "skerry-proto",
            "skerry-workload",
        ],
        never: NO_STORE,
    },
    Room {
        folder: "e2e/workload",
        ours: &["skerry-client", "skerry-core", "skerry-operator-core"],
        never: &["sled", "fjall", "raft", "kube-client", "kube-runtime"],
    },
    // The core for the values that the client's functions take and give: map, targets, status.
    Room {
        folder: "e2e",
        ours: &["skerry-api", "skerry-client", "skerry-core", "skerry-operator-core", "skerry-workload"],
        never: NO_STORE,
    },
];

/// Files that alone may name a crate, within a folder.
pub(crate) struct Fence {
    folder: &'static str,
    word: &'static str,
    allowed: &'static [&'static str],
}

/// The words that only some files of a folder may use.
pub(crate) const FENCES: [Fence; 6] = [
    Fence { folder: "node/src", word: "sled::", allowed: &["node/src/engine/"] },
    Fence { folder: "node/src", word: "fjall::", allowed: &["node/src/engine/"] },
    Fence { folder: "node/core/src", word: "raft::", allowed: &["node/core/src/replica", "node/core/src/message"] },
    Fence { folder: "node", word: "kube::", allowed: &[] },
    Fence {
        folder: "operator",
        word: "kube::Client",
        allowed: &["operator/src/", "operator/tests/", "operator/examples/"],
    },
    // One place speaks to nodes; the others hand values to it.
    Fence { folder: "operator/src", word: "skerry_client::", allowed: &["operator/src/node_admin.rs"] },
];

/// True for the files of the rooms that do no input or output.
pub(crate) fn is_pure(path: &str) -> bool {
    path.starts_with("node/core/src/") || path.starts_with("operator/core/src/")
}

impl Room {
    /// What it depends on and must not, tests included.
    pub(crate) fn broken(&self) -> Vec<String> {
        let manifest = root().join(self.folder).join("Cargo.toml");
        let text = fs::read_to_string(&manifest).unwrap_or_else(|e| panic!("{}: {e}", manifest.display()));
        let mut broken = Vec::new();
        for (section, dependency) in dependencies(&text) {
            // A crate's tests may use what they like of outside crates, but the walls between ours hold.
            let foreign = section != "dev-dependencies" && self.never.iter().any(|n| is_named(n, &dependency));
            let own = dependency.starts_with("skerry") && !self.ours.contains(&dependency.as_str());
            if foreign || own {
                broken.push(format!("{} must not depend on {dependency} ({section})", self.folder));
            }
        }
        broken
    }
}

impl Fence {
    /// Where the word stands outside its files.
    pub(crate) fn broken(&self, files: &[Source]) -> Vec<String> {
        let inside =
            |f: &&Source| f.path.starts_with(self.folder) && !self.allowed.iter().any(|a| f.path.starts_with(a));
        let mut broken = Vec::new();
        for file in files.iter().filter(inside) {
            for (i, line) in file.text.lines().enumerate() {
                let code = line.split("//").next().unwrap_or_default();
                if names(code, self.word) {
                    broken.push(format!("{}:{}: {} belongs into {:?}", file.path, i + 1, self.word, self.allowed));
                }
            }
        }
        broken
    }
}

/// True if the word stands there, not as the end of a longer one.
fn names(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':'))
}

fn is_named(pattern: &str, dependency: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == dependency, |start| dependency.starts_with(start))
}

/// The names in a manifest's tables of dependencies, each with its table.
fn dependencies(manifest: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut section = None;
    for line in manifest.lines().map(str::trim) {
        if let Some(header) = line.strip_prefix('[') {
            let header = header.trim_end_matches(']');
            section = ["dependencies", "dev-dependencies", "build-dependencies"].into_iter().find(|s| header == *s);
        } else if let Some(section) = section
            && let Some((name, _)) = line.split_once(['=', '.', ' '])
            && !line.starts_with('#')
        {
            found.push((section.to_owned(), name.trim().to_owned()));
        }
    }
    found
}
