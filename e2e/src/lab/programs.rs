//! The programs of the lab: those of the distribution, installed if they are missing, and those built from the Go module beside this
//! crate. What is built is kept in a cache outside the repository, under a key of all that goes into it.

use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::daemon::installed;
use super::run::{bounded, bounded_by_us, finish, run, run_within};
use super::{image, progress};

const HELM: &str = "helm.sh/helm/v4/cmd/helm@v4.3.1";
const VERSION: &str = "k8s.io/component-base/version";

/// Without the repository's state in the programs, which are not of the repository.
const PLAIN: &str = "-buildvcs=false";

/// The names under which the one binary of Kubernetes is called.
const NAMES: [&str; 7] =
    ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl"];

/// A program that must be there, and the Debian package that has it.
const PACKAGES: [(&str, &str); 10] = [
    ("containerd", "containerd"),
    ("runc", "runc"),
    ("nft", "nftables"),
    ("iptables", "iptables"),
    ("conntrack", "conntrack"),
    ("ip", "iproute2"),
    ("openssl", "openssl"),
    ("mkfs.ext4", "e2fsprogs"),
    ("sysctl", "procps"),
    ("nsenter", "util-linux"),
];

/// Where distributions put the network plugins.
const CNI_FOLDERS: [&str; 2] = ["/usr/lib/cni", "/opt/cni/bin"];

/// Longest time of an installation: there is much to download, perhaps over a slow line.
const INSTALL_LIMIT: Duration = Duration::from_secs(15 * 60);

/// Kubernetes takes eight minutes on two idle cores.
const BUILD_LIMIT: Duration = Duration::from_secs(60 * 60);

/// Sees to it that all programs are there, and returns the folder of those built.
pub(super) fn prepare() -> Result<PathBuf> {
    install()?;
    build()
}

/// Folder of the installed network plugins.
pub(super) fn network_plugins() -> Result<&'static str> {
    let has_it = |folder: &&&str| Path::new(folder).join("ptp").is_file();
    CNI_FOLDERS.iter().find(has_it).copied().context("the network plugins (ptp, host-local) are not installed")
}

fn install() -> Result<()> {
    let missing = |(program, _): &&(&str, &str)| installed(program).is_none();
    let mut packages: Vec<&str> = PACKAGES.iter().filter(missing).map(|(_, package)| *package).collect();
    if network_plugins().is_err() {
        packages.push("containernetworking-plugins");
    }
    if packages.is_empty() {
        return Ok(());
    }
    if installed("apt-get").is_none() {
        bail!(
            "the lab needs programs that are not here and cannot be installed without apt-get: {}",
            packages.join(", ")
        );
    }
    progress::tell(&format!("installing {}", packages.join(", ")));
    run_within(INSTALL_LIMIT, "apt-get", &["update", "-qq"])?;
    let mut command = bounded(INSTALL_LIMIT, "apt-get");
    command.args(["install", "-qq", "-y", "--no-install-recommends"]).args(&packages);
    finish(command.env("DEBIAN_FRONTEND", "noninteractive"), INSTALL_LIMIT)?;
    network_plugins().map(|_| ())
}

fn build() -> Result<PathBuf> {
    let cache = cache()?;
    let built = cache.join(key()?);
    if built.is_dir() {
        return Ok(built);
    }
    if Command::new("go").arg("version").output().is_err() {
        bail!("the lab builds Kubernetes from source and needs Go 1.26 or newer (https://go.dev/dl)");
    }
    // Complete folders only have the key's name, so that an interrupted build is never taken for one.
    let unfinished = cache.join("unfinished");
    if unfinished.is_dir() {
        fs::remove_dir_all(&unfinished).context("failed to remove an unfinished build")?;
    }
    fs::create_dir_all(&unfinished).with_context(|| format!("failed to create {}", unfinished.display()))?;
    progress::tell("building the programs of Kubernetes (the first time this takes about ten minutes)");
    let flags = format!("-s -w -X {VERSION}.gitVersion=v1.37.2 -X {VERSION}.gitMajor=1 -X {VERSION}.gitMinor=37");
    go(
        &unfinished,
        &["build", PLAIN, "-trimpath", "-ldflags", &flags, "-o", &text(&unfinished, "programs"), "./programs"],
    )?;
    for name in NAMES {
        symlink("programs", unfinished.join(name)).context("failed to link a program's name")?;
    }
    progress::tell("building CoreDNS");
    go(
        &unfinished,
        &["build", PLAIN, "-trimpath", "-ldflags", "-s -w", "-o", &text(&unfinished, "coredns"), "./coredns"],
    )?;
    progress::tell("building Helm");
    go(&unfinished, &["install", "-trimpath", "-ldflags", "-s -w", HELM])?;
    let pause = unfinished.join("pause");
    run("cc", &["-static", "-Os", "-o", &text(&unfinished, "pause"), &text(&source(), "pause.c")])?;
    image::write(&unfinished.join("pause.tar"), image::PAUSE, &[&pause])?;
    forget_others(&cache)?;
    fs::rename(&unfinished, &built).context("failed to name the finished build")?;
    Ok(built)
}

fn go(into: &Path, args: &[&str]) -> Result<()> {
    let mut command = bounded_by_us(BUILD_LIMIT, "go");
    finish(command.args(args).current_dir(source()).env("CGO_ENABLED", "0").env("GOBIN", into), BUILD_LIMIT)?;
    Ok(())
}

/// One build is a third of a gigabyte, and only the newest is of use.
fn forget_others(cache: &Path) -> Result<()> {
    for entry in fs::read_dir(cache).context("failed to list the lab's cache")? {
        let entry = entry.context("failed to list the lab's cache")?;
        if entry.file_name() != "unfinished" {
            fs::remove_dir_all(entry.path()).context("failed to remove an older build")?;
        }
    }
    Ok(())
}

/// A digest of all that the programs are made from.
fn key() -> Result<String> {
    let folder = source();
    let mut bytes = HELM.as_bytes().to_vec();
    for file in ["go.mod", "go.sum", "programs/main.go", "coredns/main.go", "pause.c"] {
        bytes.extend(fs::read(folder.join(file)).with_context(|| format!("failed to read {file} of the lab"))?);
    }
    // FNV-1a: the key tells versions apart and guards against nothing.
    let hash = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    Ok(format!("{hash:016x}"))
}

fn cache() -> Result<PathBuf> {
    if let Some(folder) = env::var_os("SKERRY_LAB_CACHE") {
        return Ok(PathBuf::from(folder));
    }
    let home = env::var_os("HOME").context("neither SKERRY_LAB_CACHE nor HOME is set")?;
    Ok(Path::new(&home).join(".cache/skerry/lab"))
}

/// Folder of the Go module that builds the programs.
fn source() -> PathBuf {
    crate::folder().join("lab")
}

fn text(folder: &Path, file: &str) -> String {
    folder.join(file).display().to_string()
}
