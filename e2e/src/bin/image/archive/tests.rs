//! What engines rely on holds in the tar that is written.

use std::io::Read;

use super::*;
use crate::layer::{Entry, build};

fn archive(name: &str) -> BTreeMap<String, Vec<u8>> {
    let reference = Reference::new(name, "0.1.0").unwrap();
    let layer =
        build(vec![Entry { path: "/skerry-node".to_owned(), executable: true, bytes: b"elf".to_vec() }]).unwrap();
    let image = Image { reference: &reference, architecture: "amd64", entrypoint: "/skerry-node".to_owned(), layer };
    let tar = image.archive().unwrap();
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(tar.as_slice()).entries().unwrap() {
        let mut entry = entry.unwrap();
        assert_eq!(entry.header().mtime().unwrap(), 0);
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        files.insert(entry.path().unwrap().display().to_string(), bytes);
    }
    files
}

fn json_of(files: &BTreeMap<String, Vec<u8>>, path: &str) -> Value {
    serde_json::from_slice(&files[path]).unwrap()
}

/// Follows a descriptor, and checks all that it says.
fn followed<'a>(files: &'a BTreeMap<String, Vec<u8>>, descriptor: &Value) -> &'a [u8] {
    let stated = descriptor["digest"].as_str().unwrap();
    let bytes = &files[&blob(stated)];
    assert_eq!(stated, digest(bytes));
    assert_eq!(descriptor["size"], bytes.len());
    bytes
}

#[test]
fn layout_leads_from_the_index_to_the_program() {
    let files = archive("skerry-node");
    assert_eq!(json_of(&files, "oci-layout")["imageLayoutVersion"], "1.0.0");
    let index = json_of(&files, "index.json");
    let manifest: Value = serde_json::from_slice(followed(&files, &index["manifests"][0])).unwrap();
    let config: Value = serde_json::from_slice(followed(&files, &manifest["config"])).unwrap();
    let layer = followed(&files, &manifest["layers"][0]);
    assert_eq!(config["rootfs"]["diff_ids"], json!([digest(layer)]));
    assert_eq!(config["config"]["User"], "10001:10001");
    assert_eq!(config["config"]["Entrypoint"], json!(["/skerry-node"]));
    let mut layer = tar::Archive::new(layer);
    let entry = layer.entries().unwrap().next().unwrap().unwrap();
    assert_eq!(entry.path().unwrap().to_str(), Some("skerry-node"));
}

#[test]
fn saved_manifest_names_the_same_files_as_the_layout() {
    let files = archive("skerry-node");
    let saved = json_of(&files, "manifest.json");
    let manifest: Value =
        serde_json::from_slice(followed(&files, &json_of(&files, "index.json")["manifests"][0])).unwrap();
    let path = |descriptor: &Value| blob(descriptor["digest"].as_str().unwrap());
    assert_eq!(saved[0]["Config"], path(&manifest["config"]));
    assert_eq!(saved[0]["Layers"], json!([path(&manifest["layers"][0])]));
    assert_eq!(saved[0]["RepoTags"], json!(["skerry-node:0.1.0"]));
}

#[test]
fn containerd_finds_the_name_that_kubernetes_asks_for() {
    for (name, full) in [
        ("skerry-node", "docker.io/library/skerry-node:0.1.0"),
        ("skerry/skerry-node", "docker.io/skerry/skerry-node:0.1.0"),
        ("registry.test:5000/skerry-node", "registry.test:5000/skerry-node:0.1.0"),
        ("localhost/skerry-node", "localhost/skerry-node:0.1.0"),
    ] {
        let index = json_of(&archive(name), "index.json");
        assert_eq!(index["manifests"][0]["annotations"]["io.containerd.image.name"], full);
    }
}

#[test]
fn same_files_give_the_same_image() {
    assert_eq!(archive("skerry-node"), archive("skerry-node"));
}

#[test]
fn names_and_tags_that_engines_refuse_are_refused() {
    for (name, tag) in [("", "1"), ("Skerry", "1"), ("a//b", "1"), ("a", ""), ("a", "-1"), ("a", "a:b")] {
        assert!(Reference::new(name, tag).is_err(), "{name} {tag}");
    }
}
