//! Module dependencies and file lengths of the engine crate, checked against its source.

mod source;

use std::collections::BTreeMap;
use std::path::Path;

use source::{Modules, files, wrong_lengths};

/// The engine's modules in order: each may use those before it and none after it.
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
fn modules_use_only_modules_earlier_in_the_order() {
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
fn every_crate_path_leads_to_a_known_module() {
    let modules = Modules::of(&root().join("src"));
    assert!(modules.unknown.is_empty(), "{:#?}", modules.unknown);
}

#[test]
fn source_files_stay_within_the_length_limit() {
    let mut found = files(&root().join("src"), &["rs"]);
    found.extend(files(&root().join("tests"), &["rs"]));
    let wrong = wrong_lengths(root(), &found, &[]);
    assert!(wrong.is_empty(), "{wrong:#?}");
}
