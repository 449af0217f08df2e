//! How the engine's modules use each other, and how long its files are, read from the source.

mod source;

use std::collections::BTreeSet;
use std::path::Path;

use source::{Edge, Modules, files, wrong_lengths};

/// Uses that close a cycle and have not been cut yet. An entry goes with the use it names.
const KNOWN: &[(&str, &str)] = &[
    ("codec", "profile"),
    ("listeners", "command"),
    ("listeners", "engine"),
    ("members", "interned"),
    ("members", "listeners"),
    ("participant", "command"),
    ("room", "command"),
    ("room", "engine"),
    ("stats", "command"),
];

/// Files that have not been split yet, and how long each may be.
const LONG: &[(&str, usize)] = &[("src/profile.rs", 544)];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn known() -> BTreeSet<Edge> {
    let edges = KNOWN.iter().map(|(from, to)| Edge {
        from: (*from).into(),
        to: (*to).into(),
    });
    edges.collect()
}

#[test]
fn no_module_uses_itself_by_way_of_others() {
    let modules = Modules::of(&root().join("src"));
    assert!(modules.edges.len() > 40, "{} uses", modules.edges.len());
    if let Some(cycle) = modules.cycle(&known()) {
        panic!("a cycle:{}", modules.show(&cycle));
    }
}

#[test]
fn every_path_from_the_top_leads_to_a_module() {
    let modules = Modules::of(&root().join("src"));
    assert!(modules.unknown.is_empty(), "{:#?}", modules.unknown);
}

#[test]
fn every_known_use_still_closes_a_cycle() {
    let modules = Modules::of(&root().join("src"));
    let known = known();
    for edge in &known {
        assert!(modules.edges.contains_key(edge), "{edge:?} is gone");
        let mut others = known.clone();
        others.remove(edge);
        let cycle = modules.cycle(&others);
        assert!(cycle.is_some(), "{edge:?} closes no cycle any more");
    }
}

#[test]
fn no_file_is_too_long() {
    let mut found = files(&root().join("src"), &["rs"]);
    found.extend(files(&root().join("tests"), &["rs"]));
    let wrong = wrong_lengths(root(), &found, LONG);
    assert!(wrong.is_empty(), "{wrong:#?}");
}
