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

/// The file at a path that is its digest, as the path says.
fn followed<'a>(files: &'a BTreeMap<String, Vec<u8>>, path: &Value) -> &'a [u8] {
    let path = path.as_str().unwrap();
    let bytes = &files[path];
    assert_eq!(path, blob(&digest(bytes)));
    bytes
}

#[test]
fn manifest_leads_to_the_program() {
    let files = archive("skerry-node");
    let saved = json_of(&files, "manifest.json");
    let config: Value = serde_json::from_slice(followed(&files, &saved[0]["Config"])).unwrap();
    let layer = followed(&files, &saved[0]["Layers"][0]);
    assert_eq!(config["rootfs"]["diff_ids"], json!([digest(layer)]));
    assert_eq!(config["config"]["User"], "10001:10001");
    assert_eq!(config["config"]["Entrypoint"], json!(["/skerry-node"]));
    let mut layer = tar::Archive::new(layer);
    let entry = layer.entries().unwrap().next().unwrap().unwrap();
    assert_eq!(entry.path().unwrap().to_str(), Some("skerry-node"));
}

#[test]
fn image_has_the_name_that_was_given_and_no_second_one() {
    for name in ["skerry-node", "skerry/skerry-node", "registry.test:5000/skerry-node", "localhost/skerry-node"] {
        let files = archive(name);
        assert_eq!(json_of(&files, "manifest.json")[0]["RepoTags"], json!([format!("{name}:0.1.0")]));
        // Where an index is, containerd reads that and needs a full name in it.
        assert!(!files.contains_key("index.json"), "{name}");
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
