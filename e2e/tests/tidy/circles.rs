//! Files that need each other, in a circle: neither can be read, or tested, without the other. A file may need those above
//! it and its parent; that a parent needs its children does not count.

use std::collections::{BTreeMap, BTreeSet};

use syn::visit::{Visit, visit_item, visit_path};
use syn::{Attribute, Item, Path, UseTree, Visibility};

use super::tree::Source;

/// A module by its path from the crate's root.
type Module = Vec<String>;

/// The crates without a circle, by the folders of their sources.
pub(crate) const CRATES: [&str; 7] = [
    "node/core/src",
    "node/sim/src",
    "node/src",
    "node/program/src",
    "operator/api/src",
    "operator/core/src",
    "e2e/workload/src",
];

/// All of them, each with its crate.
pub(crate) fn all_circles(files: &[Source]) -> Vec<String> {
    let circles = CRATES
        .iter()
        .flat_map(|sources| circles(files, sources).into_iter().map(move |circle| format!("{sources}: {circle}")));
    circles.collect()
}

/// The circles among the files of a crate: each the files of it that need one another.
fn circles(files: &[Source], sources: &str) -> Vec<String> {
    let modules: BTreeMap<Module, &Source> = files
        .iter()
        .filter(|file| !file.path.contains("/tests"))
        .filter_map(|file| Some((module(file.path.strip_prefix(sources)?)?, file)))
        .collect();
    let needs: BTreeMap<&Module, BTreeSet<Module>> =
        modules.iter().map(|(module, file)| (module, needed(module, file, &modules))).collect();
    let in_circle = |module: &Module| reached(module, &needs).contains(module);
    let mut found = BTreeSet::new();
    for module in modules.keys().filter(|module| in_circle(module)) {
        let others = reached(module, &needs);
        let back = others.into_iter().filter(|other| reached(other, &needs).contains(module));
        found.insert(back.map(|module| module.join("::")).collect::<Vec<_>>().join(" <-> "));
    }
    found.into_iter().collect()
}

/// The module that a file holds. `None` = the crate's root.
fn module(file: &str) -> Option<Module> {
    let module: Module = file.strip_suffix(".rs")?.trim_start_matches('/').split('/').map(str::to_owned).collect();
    (module != ["lib"]).then_some(module)
}

/// All that a module needs, directly or not.
fn reached(from: &Module, needs: &BTreeMap<&Module, BTreeSet<Module>>) -> BTreeSet<Module> {
    let mut reached = BTreeSet::new();
    let mut next = vec![from.clone()];
    while let Some(module) = next.pop() {
        next.extend(needs[&module].iter().filter(|other| reached.insert((*other).clone())).cloned());
    }
    reached
}

/// The modules that a file names, but for its own children.
fn needed(own: &Module, file: &Source, modules: &BTreeMap<Module, &Source>) -> BTreeSet<Module> {
    let parsed = syn::parse_file(&file.text).unwrap_or_else(|error| panic!("{}: {error}", file.path));
    let mut named = Named::default();
    named.visit_file(&parsed);
    let resolved = named.paths.iter().filter_map(|path| {
        let absolute = absolute(own, path)?;
        (1..=absolute.len()).rev().find_map(|length| modules.get_key_value(&absolute[..length].to_vec()))
    });
    resolved.map(|(module, _)| module.clone()).filter(|module| !module.starts_with(own)).collect()
}

/// A path that begins at the crate, at the module itself or above it. `None` = another crate's, or a child's.
fn absolute(own: &Module, path: &[String]) -> Option<Module> {
    let above = path.iter().take_while(|part| *part == "super").count();
    match path.first()?.as_str() {
        "crate" => Some(path[1..].to_vec()),
        "self" => Some([own, &path[1..]].concat()),
        "super" => Some([&own[..own.len().checked_sub(above)?], &path[above..]].concat()),
        _ => None,
    }
}

/// The paths of a file, without those of its tests.
#[derive(Default)]
struct Named {
    paths: Vec<Vec<String>>,
}

impl Named {
    fn add_uses(&mut self, before: &[String], tree: &UseTree) {
        let longer = |ident: &syn::Ident| [before, &[ident.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.add_uses(&longer(&path.ident), &path.tree),
            UseTree::Name(name) => self.paths.push(longer(&name.ident)),
            UseTree::Rename(name) => self.paths.push(longer(&name.ident)),
            UseTree::Glob(_) => self.paths.push(before.to_vec()),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.add_uses(before, tree)),
        }
    }
}

impl<'ast> Visit<'ast> for Named {
    fn visit_item(&mut self, item: &'ast Item) {
        match item {
            Item::Mod(of) if is_for_tests(&of.attrs) => {}
            Item::Use(of) if is_for_tests(&of.attrs) => {}
            Item::Use(of) => self.add_uses(&[], &of.tree),
            item => visit_item(self, item),
        }
    }

    /// To whom something is visible is no need of it.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}

    fn visit_path(&mut self, path: &'ast Path) {
        self.paths.push(path.segments.iter().map(|part| part.ident.to_string()).collect());
        visit_path(self, path);
    }
}

/// True for what is compiled for tests alone.
pub(crate) fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let mut is_test = false;
        // What cannot be read so is no plain `cfg(test)`.
        let _other = attribute.parse_nested_meta(|meta| {
            is_test |= attribute.path().is_ident("cfg") && meta.path.is_ident("test");
            Ok(())
        });
        is_test
    })
}

#[test]
fn a_planted_circle_is_found_and_a_child_that_needs_its_parent_is_none() {
    let file = |path: &str, text: &str| Source { path: format!("x/src/{path}"), text: text.to_owned() };
    let told = |files: &[Source]| circles(files, "x/src");
    let child = [file("a.rs", "mod b; use b::B; pub struct A;"), file("a/b.rs", "use super::A; pub struct B;")];
    assert!(told(&child).is_empty());
    let seen = [
        file("a.rs", "mod b; use crate::c::C;"),
        file("a/b.rs", "pub struct B { pub(super) x: u8 }"),
        file("c.rs", "use crate::a::b::B;"),
    ];
    assert!(told(&seen).is_empty());
    let two = [file("a.rs", "use crate::b::B;"), file("b.rs", "fn f() { crate::a::g() }")];
    assert_eq!(told(&two), ["a <-> b"]);
    let tests = [file("a.rs", "use crate::b::B;"), file("b.rs", "#[cfg(test)] mod tests { use crate::a::A; }")];
    assert!(told(&tests).is_empty());
    let three = [
        file("a/x.rs", "use crate::b;"),
        file("b.rs", "use crate::{c::{self, C}};"),
        file("c.rs", "use crate::a::x::{X, Y};"),
        file("d.rs", "use crate::c;"),
    ];
    assert_eq!(told(&three), ["a::x <-> b <-> c"]);
}
