//! The playground with real node processes: comes up, answers, is scaled up and down without losing anything, survives a
//! kill, refuses bad files, goes down.
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test's own tools may fail loudly too")]

#[path = "playground/ground.rs"]
mod ground;
#[path = "playground/quorum.rs"]
mod quorum;
#[path = "playground/stuck.rs"]
mod stuck;

use std::fs;

use ground::{Ground, YAML};

#[test]
fn database_comes_up_scales_both_ways_keeps_its_data_and_goes_down() {
    let ground = Ground::new(YAML);
    ground.run(&["playground", "up", "-f", "shop.yaml", "--detach"]).good();
    ground.await_settled(3);
    ground.run(&["put", "sales", "store-1", "12.50", "--sort", "0001"]).good();
    ground.run(&["put", "customers", "Baker", "bread"]).good();

    let second = ground.run(&["playground", "up", "-f", "shop.yaml"]);
    second.bad("a playground already runs in");

    let plan = ground.write("four.yaml", &YAML.replace("replicas: 3 # nodes", "replicas: 4"));
    assert!(ground.run(&["plan", "-f", &plan]).good().contains("would move (the fewest)"));
    // The nodes of a cluster are named so: there is no file that the new one follows.
    let endpoint = ground.endpoint();
    assert!(ground.run(&["plan", "-f", &plan, "--endpoints", &endpoint]).good().contains("would move (the fewest)"));
    let fjall = YAML.replace("  tables:", "  storage: {engine: Fjall}\n  tables:");
    let other = ground.write("fjall.yaml", &fjall);
    ground.run(&["plan", "-f", &other, "--endpoints", &endpoint]).bad("the nodes have sled");
    ground.run(&["plan", "-f", &other]).bad("engine may not be changed");
    for nodes in [4, 3, 4] {
        ground.run(&["playground", "scale", &nodes.to_string()]).good();
        assert!(fs::read_to_string(ground.path("shop.yaml")).unwrap().contains(&format!("replicas: {nodes} # nodes")));
        ground.await_settled(nodes);
        assert_eq!(ground.run(&["get", "sales", "store-1", "--sort", "0001"]).good(), "12.50\n");
        assert_eq!(ground.run(&["get", "customers", "Baker"]).good(), "bread\n");
    }

    ground.run(&["playground", "kill", "shop-a-0"]).good();
    assert_eq!(ground.run(&["get", "customers", "Baker"]).good(), "bread\n");
    ground.await_settled(4);
    let status = ground.run(&["status"]).good();
    assert!(status.contains("survives the loss of 1 node"), "{status}");
    assert!(ground.run(&["shards"]).good().contains("customers"));

    ground.run(&["playground", "down"]).good();
    ground.run(&["get", "customers", "Baker"]).bad("is down");
    ground.run(&["playground", "up", "-f", "shop.yaml", "--detach"]).good();
    ground.await_settled(4);
    assert_eq!(ground.run(&["get", "customers", "Baker"]).good(), "bread\n");
    ground.run(&["playground", "down", "--delete-data"]).good();
    assert!(!ground.path(".skerry/shop").try_exists().unwrap());
}

#[test]
fn import_and_export_give_back_what_was_there() {
    let ground = Ground::new(YAML);
    ground.run(&["playground", "up", "-f", "shop.yaml", "--detach"]).good();
    ground.await_settled(3);
    let rows: String = (0..500).map(|i| format!("{},{i},{}\n", i % 7, i * 3)).collect();
    ground.write("sales.csv", &format!("store,number,cents\n{rows}"));
    let import = ["import", "sales", "sales.csv", "--partition", "store-{store}", "--sort", "{number:06}"];
    ground.run(&import).good();
    ground.run(&["export", "sales", "sales.jsonl.gz"]).good();
    let scanned = ground.run(&["scan", "sales", "--partition", "store-3", "--keys-only"]).good();
    assert_eq!(scanned.lines().count(), 71);
    assert!(scanned.lines().is_sorted());
    ground.run(&["delete", "sales", "store-3", "--sort", "000003"]).good();
    ground.run(&["put", "sales", "brief", "x", "--ttl-seconds", "3000"]).good();
    ground.run(&["export", "sales", "before.jsonl"]).good();
    ground.run(&["put", "sales", "brief", "y"]).good();
    ground.run(&["import", "sales", "before.jsonl"]).good();
    ground.run(&["export", "sales", "after.jsonl"]).good();
    assert_eq!(ground.records("before.jsonl"), ground.records("after.jsonl"));
    ground.run(&["import", "sales", "sales.jsonl.gz"]).good();
    let value = ground.run(&["get", "sales", "store-3", "--sort", "000003"]).good();
    assert_eq!(value, "{\"cents\":9,\"number\":3,\"store\":3}\n");
    let batch = ground.write(
        "batch.jsonl",
        "{\"expect\": \"store-9\", \"absent\": true}\n{\"put\": \"store-9\", \"value\": \"x\"}\n",
    );
    ground.run(&["batch", "sales", &batch]).good();
    ground
        .run(&["batch", "sales", &batch])
        .bad("the condition on store-9 did not hold: no record was to be there, and the record has version");
}

#[test]
fn imports_take_what_people_have_and_lose_nothing_silently() {
    let ground = Ground::new(YAML);
    ground.run(&["playground", "up", "-f", "shop.yaml", "--detach"]).good();
    ground.await_settled(3);

    ground.write("big.json", "[{\"id\": 18446744073709551616},\n {\"id\": 18446744073709551617}]");
    ground.run(&["import", "customers", "big.json", "--key", "{id}"]).good();
    assert_eq!(ground.run(&["get", "customers", "18446744073709551617"]).good(), "{\"id\":18446744073709551617}\n");

    ground.write("twice.csv", "a,b,a\n1,2,3\n");
    ground.run(&["import", "customers", "twice.csv", "--key", "{a}"]).bad("column \"a\" is there twice");

    let rows: String = (0..2_000).map(|i| format!("k{i};01234\n")).collect();
    ground.write("zip.csv", &format!("\u{feff}key;zip\n{rows}broken\nlast;90210\n"));
    let import = ["import", "customers", "zip.csv", "--key", "{key}", "--delimiter", ";"];
    ground.run(&import).bad("row 2,001 of zip.csv was not imported: the header has 2 columns and the row 1");
    ground.write("zip.csv", &format!("\u{feff}key;zip\n{rows}mended;5\nlast;90210\n"));
    ground.run(&import).good();
    assert_eq!(ground.run(&["get", "customers", "last"]).good(), "{\"key\":\"last\",\"zip\":\"90210\"}\n");

    ground.write("some.csv", "key,n\ngood,1\nbad\nlater,2\n");
    ground.run(&["import", "customers", "some.csv", "--key", "{key}", "--skip-bad", "bad.csv"]).good();
    assert_eq!(fs::read_to_string(ground.path("bad.csv")).unwrap(), "key,n\nbad\n");
    assert_eq!(ground.run(&["get", "customers", "later"]).good(), "{\"key\":\"later\",\"n\":2}\n");

    let stdin = ["import", "customers", "-", "--format", "csv", "--key", "{key}", "--types", "text"];
    ground.run_with(&stdin, "key,n\npiped,7\n").good();
    assert_eq!(ground.run(&["get", "customers", "piped"]).good(), "{\"key\":\"piped\",\"n\":\"7\"}\n");
}

#[test]
fn programs_can_name_every_key_and_tell_failures_apart() {
    let ground = Ground::new(YAML);
    ground.run(&["playground", "up", "-f", "shop.yaml", "--detach", "--wait"]).good();

    ground.run(&["put", "sales", "ff00", "raw", "--sort", "0a", "--hex"]).good();
    assert_eq!(ground.run(&["scan", "sales"]).good(), "\\xff\\x00 › \\x0a\traw\n");
    assert_eq!(ground.run(&["get", "sales", "\\xff\\x00", "-e", "--sort", "\\x0a", "--raw"]).good(), "raw");
    let shown = ground.run(&["get", "sales", "ff00", "--sort", "0a", "--hex", "-o", "json"]).good();
    let record: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let version = record["version"].as_str().unwrap().to_owned();

    let failed = |args: &[&str], code: i32, kind: &str| {
        let error = ground.run(&[args, &["-o", "json"]].concat()).failed(code);
        assert_eq!(error["error"]["kind"], kind, "{error}");
        error["error"].clone()
    };
    let condition =
        failed(&["put", "sales", "ff00", "x", "--sort", "0a", "--hex", "--if-absent"], 3, "conditionFailed");
    assert_eq!((&condition["keyHex"], &condition["versionFound"]), (&"ff00".into(), &version.into()));
    failed(&["get", "sales", "nobody"], 4, "notFound");
    failed(&["get", "nowhere", "x"], 4, "notFound");
    failed(&["put", "sales", "x", "y", "--ttl-seconds", "0"], 2, "usage");
    failed(&["status", "--endpoints", "localhost"], 2, "usage");
    let begun = std::time::Instant::now();
    let absent = failed(&["status", "--endpoints", "127.0.0.1:1", "--timeout", "60m"], 5, "unavailable");
    assert!(absent["message"].as_str().unwrap().contains("127.0.0.1:1: "), "{absent}");
    assert!(begun.elapsed() < std::time::Duration::from_secs(60));

    for slot in ground.slots_of(&[2, 3]) {
        ground.run(&["playground", "kill", &slot, "--stay-down"]).good();
    }
    let outage = ground.run(&["status", "--timeout", "1s"]);
    for said in ["n1", "answers, version", "refused", "s0", "customers", "n2, n3"] {
        assert!(outage.stdout().contains(said), "no {said:?} in {}", outage.stdout());
    }
    assert_eq!(outage.code(), Some(5));
}

#[test]
fn bad_files_are_refused_by_name_and_nothing_starts() {
    let refused = |from: &str, to: &str, why: &str| {
        let ground = Ground::new(&YAML.replace(from, to));
        ground.run(&["playground", "up", "-f", "shop.yaml"]).bad(why);
        assert!(!ground.path(".skerry").try_exists().unwrap(), "{why}: something was started");
    };
    refused(
        "replicationFactor",
        "replicationFacter",
        "spec.replicationFacter: is not a field; did you mean replicationFactor?",
    );
    refused(
        "replicationFactor: 3",
        "replicationFactor: 5",
        "spec.replicationFactor: replicationFactor must be at most replicas",
    );
    refused("[H, P]", "[P, H]", "splitPoints must rise, such as [D, M, T]");
    refused("[H, P]", "[H, H]", "splitPoints: must name everything once, \"H\" is there twice");
    refused("name: sales", "name: customers", "must hold every name once, \"customers\" is there twice");
    if !skerry_api::QUORUM_TABLES {
        refused("type: Leader", "type: Quorum", "Quorum tables are not available yet");
    }
}

#[test]
fn edit_that_is_refused_leaves_the_last_good_one_in_force() {
    let whole = YAML.replace("  tables:", "  tableRemoval: Drop\n  tableRemovalDelaySeconds: 0\n  tables:");
    let ground = Ground::new(&whole);
    ground.run(&["playground", "up", "-f", "shop.yaml", "--detach"]).good();
    ground.await_settled(3);
    ground.run(&["put", "customers", "Miller", "flour"]).good();
    ground.run(&["playground", "scale", "2"]).bad("replicationFactor must be at most replicas");
    assert_eq!(fs::read_to_string(ground.path("shop.yaml")).unwrap(), whole, "the file stays as it is");
    let half = whole.split_once("      fragmentation").unwrap().0;
    let refused = [
        (whole.replace("replicas: 3 # nodes", "replicas: 2"), "replicationFactor must be at most replicas"),
        (whole.replace("  zones:", "  replicas: 4\n  zones:"), "duplicate entry with key \"replicas\""),
        (half.to_owned(), "spec.tables[0].fragmentation: is required"),
        (String::new(), "apiVersion and kind are missing"),
    ];
    for (text, why) in refused {
        ground.write("shop.yaml", &text);
        ground.await_status("Refused: ");
        ground.await_status(why);
        assert_eq!(ground.run(&["get", "customers", "Miller"]).good(), "flour\n", "{why}");
    }
    ground.write("shop.yaml", &whole);
    ground.await_settled(3);
    assert_eq!(ground.run(&["get", "customers", "Miller"]).good(), "flour\n");
}

/// Regression test: a new, empty database was founded under the id of the one that was lost, and all was well.
#[test]
fn database_of_one_node_whose_folder_was_deleted_is_not_founded_anew() {
    let one =
        YAML.replace("replicas: 3 # nodes", "replicas: 1").replace("replicationFactor: 3", "replicationFactor: 1");
    let ground = Ground::new(&one.replace("zones: [a, b, c]", "zones: [a]"));
    ground.run(&["playground", "up", "-f", "shop.yaml", "--detach", "--wait"]).good();
    ground.run(&["put", "customers", "Miller", "flour"]).good();
    ground.run(&["playground", "down"]).good();
    fs::remove_dir_all(ground.path(".skerry/shop/nodes/shop-a-0/data")).unwrap();
    ground.run(&["playground", "up", "-f", "shop.yaml", "--detach", "--wait", "--wait-seconds", "10"]).bad("settle");
    ground.await_status("shop/nodes/shop-a-0/data has no identity");
    let status = ground.run(&["playground", "status"]).stdout();
    assert!(!status.contains("Settled"), "{status}");
}

/// Two of three nodes with their volumes, so a majority of everything: the system shard first, then the tables.
#[test]
fn database_goes_on_from_one_node_of_three_and_is_rebuilt() {
    const DO: [&str; 5] = ["recover", "--lost", "n2,n3", "--yes-lose-data", "shop"];
    let ground = Ground::new(YAML);
    ground.run(&["playground", "up", "-f", "shop.yaml", "--detach"]).good();
    ground.await_settled(3);
    for number in 0..20 {
        ground.run(&["put", "customers", &format!("Baker {number}"), "bread"]).good();
    }
    assert!(ground.run(&["recover"]).good().contains("nothing to recover"));
    for slot in ground.slots_of(&[2, 3]) {
        ground.run(&["playground", "kill", &slot, "--stay-down"]).good();
        fs::remove_dir_all(ground.path(".skerry/shop/nodes").join(&slot).join("data")).unwrap();
    }
    ground.await_output(&["recover", "--lost", "n2,n3"], |said| said.contains("s0") && said.contains("n1"));
    ground.run(&["recover", "--lost", "n2,n3", "--yes-lose-data", "other"]).bad("the database is \"shop\"");
    ground.run(&["recover", "--yes-lose-data", "shop"]).bad("failed to have shard s0 go on");
    ground.await_output(&DO, |said| said.contains("s0 goes on from"));
    ground.await_output(&["status"], |said| {
        // Refused until the others have been silent for long enough.
        ground.run(&DO);
        said.contains("8 shards went on from one copy")
    });
    ground.await_output(&["get", "customers", "Baker 7"], |said| said == "bread\n");
    for slot in ["shop-a-0", "shop-b-0", "shop-c-0"] {
        ground.run(&["playground", "start", slot]);
    }
    ground.await_settled(3);
    for number in 0..20 {
        assert_eq!(ground.run(&["get", "customers", &format!("Baker {number}")]).good(), "bread\n");
    }
    let status = ground.run(&["status"]).good();
    assert!(status.contains("survives the loss of 1 node"), "{status}");
}
