//! The control plane: etcd, the API server, the controllers, the scheduler, and the cluster's names.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};

use super::daemon::Daemon;
use super::environment::{self, CONTROL, CONTROL_ADDRESS, POD_RANGE, SERVICE_RANGE};
use super::kubectl::Kubectl;
use super::run::{Look, answered, tail, wait};
use super::{certificates, template};

const COREFILE: &str = include_str!("../../lab/Corefile");

/// Three seconds on an idle machine.
const START_LIMIT: Duration = Duration::from_secs(180);

/// Names of the control plane's daemons.
pub(super) const DAEMONS: [&str; 5] =
    ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "coredns"];

/// Starts it and waits until the API server serves.
pub(super) fn start(programs: &Path) -> Result<()> {
    let start = |name: &str, args: &[String]| daemon(name).start(&programs.join(name), args);
    start("etcd", &etcd())?;
    start("kube-apiserver", &api_server())?;
    let kubectl = Kubectl::new(programs);
    await_daemon("kube-apiserver", || answered(kubectl.run(&["get", "--raw", "/readyz"])))?;
    start("kube-controller-manager", &controllers())?;
    start("kube-scheduler", &scheduler())?;
    let file = environment::folder("Corefile");
    let folder = certificates::folder().display().to_string();
    template::write(&file, COREFILE, &[("certificates", &folder)])?;
    start("coredns", &["-conf".to_owned(), file.display().to_string()])
}

/// Waits until names are answered and pods may be made.
pub(super) fn await_rest(kubectl: &Kubectl) -> Result<()> {
    let ready = ["--kubeconfig=/dev/null", "--server=http://127.0.0.1:8181", "get", "--raw", "/ready"];
    await_daemon("coredns", || answered(kubectl.run_bare(&ready)))?;
    // Without this account no pod is admitted.
    let account = ["get", "serviceaccount", "default", "--namespace", "default"];
    await_daemon("kube-controller-manager", || answered(kubectl.run(&account)))
}

/// Names of the control plane's daemons that have ended.
pub(super) fn dead() -> Result<Vec<String>> {
    let mut dead = Vec::new();
    for name in DAEMONS {
        if !daemon(name).is_alive()? {
            dead.push(name.to_owned());
        }
    }
    Ok(dead)
}

fn daemon(name: &str) -> Daemon<'_> {
    Daemon { host: CONTROL, name }
}

fn await_daemon(name: &str, mut look: impl FnMut() -> Look) -> Result<()> {
    let daemon = daemon(name);
    wait(&format!("{name} to answer"), START_LIMIT, Some(&daemon.log()), || {
        let look = look();
        if matches!(look, Look::Missing(_)) && !daemon.is_alive()? {
            bail!("{name} has ended; {} ends so:\n{}", daemon.log().display(), tail(&daemon.log()));
        }
        Ok(look)
    })
}

fn etcd() -> Vec<String> {
    let folder = environment::folder("etcd").display().to_string();
    // What the lab holds is thrown away, and no crash of the machine is tested with it.
    flags(&["--unsafe-no-fsync", "--log-level=warn"], &[("--data-dir", &folder)])
}

fn api_server() -> Vec<String> {
    flags(
        &[
            "--etcd-servers=http://127.0.0.1:2379",
            "--secure-port=6443",
            "--allow-privileged=true",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            // Else exec and logs would look the hosts' names up.
            "--kubelet-preferred-address-types=InternalIP",
        ],
        &[
            ("--advertise-address", CONTROL_ADDRESS),
            ("--service-cluster-ip-range", SERVICE_RANGE),
            ("--service-account-key-file", &path("service-accounts.pub")),
            ("--service-account-signing-key-file", &path("service-accounts.key")),
            ("--client-ca-file", &path("ca.crt")),
            ("--tls-cert-file", &path("kube-apiserver.crt")),
            ("--tls-private-key-file", &path("kube-apiserver.key")),
            ("--kubelet-certificate-authority", &path("ca.crt")),
            ("--kubelet-client-certificate", &path("admin.crt")),
            ("--kubelet-client-key", &path("admin.key")),
        ],
    )
}

fn controllers() -> Vec<String> {
    let kubeconfig = path("kube-controller-manager.kubeconfig");
    flags(
        &[
            "--leader-elect=false",
            "--use-service-account-credentials=true",
            // A host that is silent for four of its reports is not ready.
            "--node-monitor-grace-period=16s",
            "--node-monitor-period=2s",
        ],
        &[
            ("--kubeconfig", &kubeconfig),
            ("--cluster-cidr", POD_RANGE),
            ("--service-cluster-ip-range", SERVICE_RANGE),
            ("--root-ca-file", &path("ca.crt")),
            ("--service-account-private-key-file", &path("service-accounts.key")),
        ],
    )
}

fn scheduler() -> Vec<String> {
    flags(&["--leader-elect=false"], &[("--kubeconfig", &path("kube-scheduler.kubeconfig"))])
}

fn flags(fixed: &[&str], with_values: &[(&str, &str)]) -> Vec<String> {
    let fixed = fixed.iter().map(|f| (*f).to_owned());
    fixed.chain(with_values.iter().map(|(flag, value)| format!("{flag}={value}"))).collect()
}

fn path(file: &str) -> String {
    certificates::folder().join(file).display().to_string()
}
