//! The first start of a playground that is broken off: its folder stays its own.

use std::fs;
use std::process::Command;

const YAML: &str = "\
apiVersion: skerry.io/v1alpha1
kind: DistributedDatabase
metadata:
  name: shop
spec:
  replicas: 1
  replicationFactor: 1
  tables: []
";

#[test]
fn a_start_that_could_not_write_its_state_leaves_nothing_that_refuses_the_next() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("shop.yaml"), YAML).unwrap();
    let folder = home.path().join("shop");
    // No file can be written by this name, as on a full disk.
    fs::create_dir_all(folder.join("playground.json.new")).unwrap();
    let up = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skerry"));
        command.args(["playground", "up", "--file", "shop.yaml", "--dir", "shop"]).current_dir(home.path());
        let ended = command.env("SKERRY_NODE", env!("CARGO_BIN_EXE_skerry")).output().unwrap();
        assert!(!ended.status.success());
        String::from_utf8(ended.stderr).unwrap()
    };
    for _ in 0..2 {
        let said = up();
        assert!(said.contains("failed to use shop/playground.json"), "{said}");
        assert!(!folder.join("secret").try_exists().unwrap());
    }
}
