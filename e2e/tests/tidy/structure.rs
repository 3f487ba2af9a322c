//! How much one object holds: state has small owners. An object with more fields than this is two or more; plain data, of
//! which every field is `pub`, may be as wide as what it tells of.

use syn::visit::{Visit, visit_item};
use syn::{Fields, Item, ItemStruct, Visibility};

use super::circles::is_for_tests;
use super::tree::Source;

/// Fields of one object.
const FIELDS_MAX: usize = 12;

/// The rooms whose objects are counted: they hold no more than what they decide on.
const ROOMS: [&str; 2] = ["node/core/src/", "operator/core/src/"];

/// An object that is too wide yet.
pub(crate) struct Wide {
    /// Its file.
    pub(crate) file: &'static str,
    pub(crate) name: &'static str,
    /// As many fields as it has. Each that it loses is one less here; with [`FIELDS_MAX`] it leaves the list.
    pub(crate) fields: usize,
}

/// None is left, and none is ever added.
pub(crate) const WIDE: [Wide; 0] = [];

/// The objects that are wider than they may be, and the exceptions that are none any more.
pub(crate) fn too_wide(files: &[Source], allowed: &[Wide]) -> Vec<String> {
    let counted = files.iter().filter(|file| ROOMS.iter().any(|room| file.path.starts_with(room)));
    let objects: Vec<(String, String, usize)> =
        counted.filter(|file| !file.path.contains("/tests")).flat_map(objects).collect();
    let allowed_of = |file: &str, name: &str| allowed.iter().find(|wide| (wide.file, wide.name) == (file, name));
    let mut broken = Vec::new();
    for (file, name, fields) in objects.iter().filter(|(.., fields)| *fields > FIELDS_MAX) {
        match allowed_of(file, name) {
            Some(wide) if wide.fields < *fields => {
                broken.push(format!("{file}: {name} has {fields} fields, and had {}", wide.fields));
            }
            Some(_) => {}
            None => broken.push(format!("{file}: {name} has {fields} fields, at most {FIELDS_MAX} are one owner's")),
        }
    }
    for wide in allowed {
        let now = objects.iter().find(|(file, name, _)| (wide.file, wide.name) == (file, name));
        let now = now.map_or(0, |(.., fields)| *fields);
        if now < wide.fields {
            broken.push(format!("{}: {} has {now} fields by now: say so in {}", wide.file, wide.name, file!()));
        }
    }
    broken
}

/// File, name and number of fields of each object; plain data is none.
fn objects(file: &Source) -> Vec<(String, String, usize)> {
    let parsed = syn::parse_file(&file.text).unwrap_or_else(|error| panic!("{}: {error}", file.path));
    let mut objects = Objects::default();
    objects.visit_file(&parsed);
    objects.found.into_iter().map(|(name, fields)| (file.path.clone(), name, fields)).collect()
}

#[derive(Default)]
struct Objects {
    found: Vec<(String, usize)>,
}

impl<'ast> Visit<'ast> for Objects {
    fn visit_item(&mut self, item: &'ast Item) {
        match item {
            Item::Mod(of) if is_for_tests(&of.attrs) => {}
            Item::Struct(of) if is_for_tests(&of.attrs) => {}
            Item::Struct(of) if !is_plain(of) => self.found.push((of.ident.to_string(), of.fields.len())),
            item => visit_item(self, item),
        }
    }
}

fn is_plain(of: &ItemStruct) -> bool {
    let is_public = |field: &syn::Field| matches!(field.vis, Visibility::Public(_));
    matches!(&of.fields, Fields::Named(_)) && of.fields.iter().all(is_public)
}

#[test]
fn an_object_that_is_too_wide_is_found_and_plain_data_is_not() {
    let object = |name: &str, private: usize, public: usize| {
        let private = (0..private).map(|i| format!("a{i}: u8,")).collect::<String>();
        let public = (0..public).map(|i| format!("pub b{i}: u8,")).collect::<String>();
        format!("//! A.\npub struct {name} {{ {private} {public} }}\n")
    };
    let told = |text: String, allowed: &[Wide]| {
        let path = "node/core/src/a.rs".to_owned();
        too_wide(&[Source { path, text }], allowed).len()
    };
    assert_eq!(told(object("A", FIELDS_MAX, 0), &[]), 0);
    assert_eq!(told(object("A", FIELDS_MAX + 1, 0), &[]), 1);
    assert_eq!(told(object("A", 1, FIELDS_MAX), &[]), 1, "one that is not told makes it an object");
    assert_eq!(told(object("A", 0, FIELDS_MAX + 9), &[]), 0);
    assert_eq!(told(format!("#[cfg(test)] mod tests {{ {} }}", object("A", 20, 0).replace("//! A.\n", "")), &[]), 0);
    let wide = |fields| [Wide { file: "node/core/src/a.rs", name: "A", fields }];
    assert_eq!(told(object("A", 14, 0), &wide(14)), 0);
    assert_eq!(told(object("A", 15, 0), &wide(14)), 1, "it has grown");
    assert_eq!(told(object("A", 13, 0), &wide(14)), 1, "it has shrunk, and the list does not say so");
    assert_eq!(told(object("B", 1, 0), &wide(14)), 1, "it is gone");
}
