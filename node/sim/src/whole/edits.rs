//! What users do to the resource: edits at random, some of which are taken back midway.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use skerry_api::{
    Approval, DistributedDatabaseSpec, Fragmentation, FragmentationType, Rebalance, Resources, Retention, SpreadByHost,
    Storage, Table, TableRemoval, VolumeRetention,
};

use super::resource::Resource;

/// For so long a node may be silent, where such are replaced.
pub(crate) const SILENT_SECONDS: u32 = 4;

/// Edits the resource of the database at random.
pub(crate) struct Edits {
    /// Copies, and so nodes, that it keeps at least. Where data may be lost with a machine, the rest of a shard must be
    /// able to go on.
    pub(crate) copies_min: u32,
    before: Option<DistributedDatabaseSpec>,
    images: u32,
}

impl Edits {
    pub(crate) fn new(copies_min: u32) -> Self {
        Self { copies_min, before: None, images: 0 }
    }

    /// Makes one random edit: it changes the spec, takes an earlier change back, restarts all nodes or approves a plan.
    pub(crate) fn edit(&mut self, resource: &mut Resource, now: u64, rng: &mut ChaCha8Rng) {
        let present = resource.now().spec.clone();
        let before = self.before.replace(present.clone());
        let kind = rng.random_range(0..100);
        let images = &mut self.images;
        match (kind, before) {
            (0..6, _) => resource.restart_all(now),
            _ if present.rebalance.approval == Approval::Manual && kind < 60 => resource.approve(now),
            (6..26, Some(before)) => resource.edit(now, |spec| {
                let storage = present.storage;
                *spec = DistributedDatabaseSpec { storage, ..before };
            }),
            _ => resource.edit(now, |spec| {
                change(spec, kind, images, rng);
                spec.replicas = spec.replicas.max(self.copies_min);
                spec.replication_factor = spec.replication_factor.max(self.copies_min);
            }),
        }
    }

    /// The last edit: whatever it is, it can be carried out, or says why not.
    pub(crate) fn last(&mut self, resource: &mut Resource, now: u64, rng: &mut ChaCha8Rng) {
        let stays_held = rng.random_bool(0.05);
        self.images += 1;
        let image = format!("image-{}", self.images);
        resource.edit(now, |spec| {
            spec.paused &= stays_held;
            if !stays_held {
                spec.rebalance.approval = Approval::Automatic;
            }
            if spec.image.as_deref().is_some_and(|image| image.starts_with("broken")) {
                spec.image = Some(image);
            }
            if !stays_held {
                spec.replication_factor = spec.replication_factor.min(spec.replicas);
            }
        });
    }
}

fn change(spec: &mut DistributedDatabaseSpec, kind: u32, images: &mut u32, rng: &mut ChaCha8Rng) {
    match kind {
        0..50 => {
            let most = if rng.random_bool(0.2) { 7 } else { 5 };
            spec.replicas = rng.random_range(1..=most);
            spec.replication_factor = spec.replication_factor.min(spec.replicas);
            spec.zones.truncate(spec.replicas as usize);
        }
        50..60 => spec.replication_factor = rng.random_range(1..=spec.replicas.min(5)),
        60..67 => {
            let zones = ["a", "b", "c"].into_iter().take(spec.replicas.min(3) as usize).map(str::to_owned);
            spec.zones = if rng.random_bool(0.3) { vec![] } else { zones.collect() };
        }
        67..79 => {
            *images += 1;
            let quality = if rng.random_bool(0.4) { "broken" } else { "image" };
            spec.image = Some(format!("{quality}-{images}"));
        }
        79..85 => match spec.tables.iter().position(|t| t.name == "extra") {
            Some(position) => drop(spec.tables.remove(position)),
            None => spec.tables.push(table("extra", FragmentationType::Hash)),
        },
        85 => spec.table_removal_delay_seconds = rng.random_range(0..3) * 4,
        86..88 => {
            spec.table_removal =
                if spec.table_removal == TableRemoval::Drop { TableRemoval::Retain } else { TableRemoval::Drop };
        }
        88..92 => {
            let retention = &mut spec.volume_retention.when_scaled;
            *retention = if *retention == Retention::Retain { Retention::Delete } else { Retention::Retain };
        }
        92..94 => spec.storage.size = "20Gi".to_owned(),
        94..96 => spec.paused = !spec.paused,
        96 => {
            let silent = spec.replace_silent_after_seconds.is_none().then_some(SILENT_SECONDS);
            spec.replace_silent_after_seconds = silent;
        }
        97 => {
            let approval = &mut spec.rebalance.approval;
            *approval = if *approval == Approval::Manual { Approval::Automatic } else { Approval::Manual };
        }
        // Refused, and says so.
        _ => spec.replication_factor = spec.replicas + 1,
    }
}

fn table(name: &str, layout: FragmentationType) -> Table {
    let (split_points, shards) = match layout {
        FragmentationType::Range => (vec!["h".to_owned()], None),
        FragmentationType::Hash => (vec![], Some(2)),
    };
    let fragmentation = Fragmentation { r#type: layout, split_points, shards };
    Table { name: name.to_owned(), fragmentation, consistency: Default::default(), replication_factor: None }
}

/// In a few words, for people.
pub(crate) fn told(spec: &DistributedDatabaseSpec) -> String {
    let tables: Vec<&str> = spec.tables.iter().map(|t| t.name.as_str()).collect();
    format!(
        "spec: {} nodes, {} copies, zones {:?}, {}, tables {tables:?} {:?}, after {} s, {:?} when scaled, {}, {:?}, silent {:?}{}",
        spec.replicas,
        spec.replication_factor,
        spec.zones,
        spec.image.as_deref().unwrap_or_default(),
        spec.table_removal,
        spec.table_removal_delay_seconds,
        spec.volume_retention.when_scaled,
        spec.storage.size,
        spec.rebalance.approval,
        spec.replace_silent_after_seconds,
        if spec.paused { ", paused" } else { "" },
    )
}

/// The spec that a run begins with.
pub(crate) fn first(copies_min: u32, rng: &mut ChaCha8Rng) -> DistributedDatabaseSpec {
    let replicas = rng.random_range(copies_min..=4);
    let zones = ["a", "b", "c"].into_iter().take(replicas.min(3) as usize).map(str::to_owned);
    DistributedDatabaseSpec {
        replicas,
        replication_factor: replicas.min(3),
        zones: if rng.random_bool(0.3) { vec![] } else { zones.collect() },
        storage: Storage::default(),
        tables: vec![table("ranges", FragmentationType::Range), table("hashes", FragmentationType::Hash)],
        rebalance: Rebalance::default(),
        volume_retention: VolumeRetention::default(),
        table_removal: if replicas.is_multiple_of(2) { TableRemoval::Drop } else { TableRemoval::Retain },
        table_removal_delay_seconds: 8,
        replace_after_seconds: 2,
        spread_by_host: SpreadByHost::default(),
        replace_silent_after_seconds: rng.random_bool(0.5).then_some(SILENT_SECONDS),
        image: Some("image-0".to_owned()),
        resources: Resources::default(),
        paused: false,
    }
}
