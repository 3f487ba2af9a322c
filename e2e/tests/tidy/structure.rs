//! How much one object holds: state has small owners. An object with more fields than this is two or more; plain data, of
//! which every field is `pub`, may be as wide as what it tells of.

use syn::visit::{Visit, visit_item};
use syn::{Fields, Item, ItemStruct, Visibility};

use super::circles::is_for_tests;
use super::tree::Source;

/// Highest number of fields of one object.
const FIELDS_MAX: usize = 12;

/// The rooms whose objects are counted: they hold no more than what they decide on.
const ROOMS: [&str; 2] = ["node/core/src/", "operator/core/src/"];

/// The objects that are wider than they may be.
pub(crate) fn too_wide(files: &[Source]) -> Vec<String> {
    let counted = files.iter().filter(|file| ROOMS.iter().any(|room| file.path.starts_with(room)));
    let objects = counted.filter(|file| !file.path.contains("/tests")).flat_map(objects);
    let wide = objects.filter(|(.., fields)| *fields > FIELDS_MAX);
    wide.map(|(file, name, fields)| format!("{file}: {name} has {fields} fields, over {FIELDS_MAX}")).collect()
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
        format!("pub struct {name} {{ {private} {public} }}\n")
    };
    let told = |file: &str, text: String| too_wide(&[Source { path: file.to_owned(), text }]).len();
    let file = "node/core/src/a.rs";
    assert_eq!(told(file, object("A", FIELDS_MAX, 0)), 0);
    assert_eq!(told(file, object("A", FIELDS_MAX + 1, 0)), 1);
    assert_eq!(told(file, object("A", 1, FIELDS_MAX)), 1, "one that is not told makes it an object");
    assert_eq!(told(file, object("A", 0, FIELDS_MAX + 9)), 0);
    assert_eq!(told(file, format!("mod tests {{ {} }}", object("A", 20, 0))), 1);
    assert_eq!(told(file, format!("#[cfg(test)] mod tests {{ {} }}", object("A", 20, 0))), 0);
    assert_eq!(told("node/sim/src/a.rs", object("A", 20, 0)), 0);
}
