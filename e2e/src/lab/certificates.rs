//! The lab's own authority, the certificates of all who talk to the API server, and their kubeconfigs.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::environment::{self, API_SERVICE_ADDRESS, CONTROL_ADDRESS};
use super::run::run;
use super::template;

const KUBECONFIG: &str = include_str!("../../lab/kubeconfig.yaml");
const CONFIG: &str = include_str!("../../lab/openssl.cnf");

/// Folder of the lab's certificates.
pub(super) fn folder() -> PathBuf {
    environment::folder("certificates")
}

/// The file of a user's kubeconfig.
pub(super) fn kubeconfig(user: &str) -> PathBuf {
    folder().join(format!("{user}.kubeconfig"))
}

/// Makes the authority, and all certificates but those of the hosts.
pub(super) fn create() -> Result<()> {
    fs::create_dir_all(folder()).context("failed to create the folder of certificates")?;
    template::write(&path("openssl.cnf"), CONFIG, &[])?;
    let mut args = request("ca", "/CN=skerry-lab");
    extend(&mut args, &["basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,digitalSignature"]);
    run("openssl", &args)?;
    let names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"];
    let names: Vec<String> = names.iter().map(|n| format!("DNS:{n}")).collect();
    let addresses = format!("IP:{CONTROL_ADDRESS},IP:{API_SERVICE_ADDRESS},IP:127.0.0.1");
    issue("kube-apiserver", "/CN=kube-apiserver", &format!("{},{addresses}", names.join(",")))?;
    user("admin", "/O=system:masters/CN=admin")?;
    for program in ["kube-controller-manager", "kube-scheduler", "kube-proxy"] {
        user(program, &format!("/CN=system:{program}"))?;
    }
    let (key, public) = (text("service-accounts.key"), text("service-accounts.pub"));
    run("openssl", &["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-out", &key])?;
    run("openssl", &["pkey", "-in", &key, "-pubout", "-out", &public])?;
    Ok(())
}

/// The certificate of a host, with which its kubelet both asks and answers.
pub(super) fn host(name: &str, address: &str) -> Result<()> {
    issue(name, &format!("/O=system:nodes/CN=system:node:{name}"), &format!("DNS:{name},IP:{address}"))?;
    write_kubeconfig(name)
}

fn user(name: &str, subject: &str) -> Result<()> {
    issue(name, subject, &format!("DNS:{name}"))?;
    write_kubeconfig(name)
}

fn write_kubeconfig(user: &str) -> Result<()> {
    let certificates = folder().display().to_string();
    let values = [("user", user), ("control", CONTROL_ADDRESS), ("certificates", &certificates)];
    template::write(&kubeconfig(user), KUBECONFIG, &values)
}

fn issue(name: &str, subject: &str, alternative_names: &str) -> Result<()> {
    let mut args = request(name, subject);
    args.extend(["-CA".to_owned(), text("ca.crt"), "-CAkey".to_owned(), text("ca.key")]);
    let names = format!("subjectAltName={alternative_names}");
    extend(&mut args, &["basicConstraints=critical,CA:FALSE", "extendedKeyUsage=clientAuth,serverAuth", &names]);
    run("openssl", &args)?;
    Ok(())
}

fn request(name: &str, subject: &str) -> Vec<String> {
    let mut args: Vec<String> =
        ["req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-days", "365"]
            .map(str::to_owned)
            .to_vec();
    args.extend(["-config".to_owned(), text("openssl.cnf"), "-subj".to_owned(), subject.to_owned()]);
    args.extend(["-keyout".to_owned(), text(&format!("{name}.key"))]);
    args.extend(["-out".to_owned(), text(&format!("{name}.crt"))]);
    args
}

fn extend(args: &mut Vec<String>, extensions: &[&str]) {
    args.extend(extensions.iter().flat_map(|e| ["-addext".to_owned(), (*e).to_owned()]));
}

fn path(file: &str) -> PathBuf {
    folder().join(file)
}

fn text(file: &str) -> String {
    path(file).display().to_string()
}
