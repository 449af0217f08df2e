//! How the engine's modules use each other, and how long its files are, read from the source.

mod source;

use std::collections::BTreeMap;
use std::path::Path;

use source::{Modules, files, wrong_lengths};

/// The modules in the order of the picture: each may use those before it and none after it.
const ORDER: &[&str] = &[
    "format",
    "memory",
    "units",
    "frame",
    "packet",
    "gain_ramp",
    "permit",
    "codec",
    "meter",
    "schedule",
    "ingest",
    "source",
    "output",
    "monitor",
    "mix",
    "room",
    "engine",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn modules_use_only_those_before_them() {
    let modules = Modules::of(&root().join("src"));
    assert!(modules.edges.len() > 40, "{} uses", modules.edges.len());
    let places: BTreeMap<&str, usize> = ORDER.iter().copied().zip(0..).collect();
    let place = |name: &str| places.get(name).copied();
    let mut wrong = Vec::new();
    for edge in modules.edges.keys() {
        match (place(&edge.from), place(&edge.to)) {
            (Some(from), Some(to)) if to < from => {}
            _ => wrong.push(modules.show(std::slice::from_ref(edge))),
        }
    }
    assert!(
        wrong.is_empty(),
        "these use what comes after them:{}",
        wrong.concat()
    );
}

#[test]
fn every_path_from_the_top_leads_to_a_module() {
    let modules = Modules::of(&root().join("src"));
    assert!(modules.unknown.is_empty(), "{:#?}", modules.unknown);
}

#[test]
fn no_file_is_too_long() {
    let mut found = files(&root().join("src"), &["rs"]);
    found.extend(files(&root().join("tests"), &["rs"]));
    let wrong = wrong_lengths(root(), &found, &[]);
    assert!(wrong.is_empty(), "{wrong:#?}");
}
