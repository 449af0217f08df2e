//! Checks against the source which module of the server uses which, and how long the files are.

#[path = "../mixer/tests/source/mod.rs"]
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use source::{Edge, Modules, files, wrong_lengths};

/// Files that may exceed the length limit, and how long each may be.
const LONG: &[(&str, usize)] = &[];

/// What one row of the table in `lib.rs` says about a module.
#[derive(Default)]
struct Row {
    /// All words of the third column, among them the modules that may be used.
    may_know: BTreeSet<String>,
    /// All words of the fourth column.
    must_never_see: BTreeSet<String>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the rows of the table "Who knows whom", merged by module: some modules have several
/// rows.
fn table() -> BTreeMap<String, Row> {
    let text = fs::read_to_string(root().join("src/lib.rs")).expect("a library");
    let (_, after) = text.split_once("# Who knows whom").expect("the table");
    let words = |cell: &str| {
        let is_name = |letter: char| letter.is_alphanumeric() || letter == '_';
        let words = cell.split(|letter| !is_name(letter)).map(str::to_owned);
        words.collect::<BTreeSet<String>>()
    };
    let mut table = BTreeMap::<String, Row>::new();
    for line in after.lines().filter(|line| line.starts_with("//! | [`")) {
        let line = line.trim_start_matches("//! |").trim_end_matches('|');
        let cells: Vec<&str> = line.split(" | ").collect();
        let [of, _, may, never] = cells[..] else {
            panic!("four columns: {line}");
        };
        let links = of
            .split("[`")
            .skip(1)
            .filter_map(|link| link.split('`').next());
        for module in links {
            let module = module.trim_start_matches("mod@").to_owned();
            let row = table.entry(module).or_default();
            row.may_know.extend(words(may));
            row.must_never_see.extend(words(never));
        }
    }
    table
}

#[test]
fn modules_form_no_cycle() {
    let modules = Modules::of(&root().join("src"));
    assert!(modules.edges.len() > 20, "{} uses", modules.edges.len());
    assert!(modules.unknown.is_empty(), "{:#?}", modules.unknown);
    if let Some(cycle) = modules.cycle(&BTreeSet::new()) {
        panic!("a cycle:{}", modules.show(&cycle));
    }
}

/// A module may use the modules that its row names and those that use no other module.
#[test]
fn modules_use_only_modules_that_the_module_table_allows() {
    let (modules, table) = (Modules::of(&root().join("src")), table());
    let missing: Vec<_> = (modules.names.iter())
        .filter(|name| !table.contains_key(*name))
        .collect();
    assert!(missing.is_empty(), "{missing:?} have no row in the table");
    let is_leaf = |name: &str| modules.edges.keys().all(|edge| edge.from != name);
    let is_allowed = |edge: &Edge| {
        let Row {
            may_know,
            must_never_see,
        } = &table[&edge.from];
        let is_named = may_know.contains(&edge.to) || may_know.contains("all");
        let is_free = is_leaf(&edge.to) && !must_never_see.contains("everything");
        (is_named || is_free) && !must_never_see.contains(&edge.to)
    };
    let wrong: Vec<_> = (modules.edges.keys())
        .filter(|edge| !is_allowed(edge))
        .map(|edge| modules.show(std::slice::from_ref(edge)))
        .collect();
    assert!(wrong.is_empty(), "not in the table:{}", wrong.concat());
}

/// If a row allowed a use that does not occur, that use could come back unnoticed.
#[test]
fn every_use_that_the_module_table_allows_occurs() {
    let (modules, table) = (Modules::of(&root().join("src")), table());
    for (from, row) in &table {
        let named = row
            .may_know
            .iter()
            .filter(|word| modules.names.contains(*word) && *word != from);
        for to in named.cloned() {
            let from = from.clone();
            let edge = Edge { from, to };
            assert!(modules.edges.contains_key(&edge), "{edge:?} is not used");
        }
    }
}

/// The state machine of the conference gets the time as an argument: only its owner reads the
/// clock, and the conference has no mutex.
#[test]
fn only_the_conference_owner_reads_the_clock_or_locks_a_mutex() {
    let around = ["src/conference/owner.rs"];
    let mut read_by = BTreeSet::new();
    for file in files(&root().join("src/conference"), &["rs"]) {
        let name = file.strip_prefix(root()).expect("it is below");
        let name = name.to_string_lossy().into_owned();
        let text = fs::read_to_string(&file).expect("readable");
        let (code, _) = text
            .split_once("#[cfg(test)]\nmod tests")
            .unwrap_or((&text, ""));
        let is_test = name.contains("/tests/");
        if !is_test && (code.contains("Instant::now") || code.contains("Mutex")) {
            read_by.insert(name);
        }
    }
    assert!(
        read_by.iter().all(|name| around.contains(&name.as_str())),
        "{read_by:?}"
    );
    assert!(!read_by.is_empty());
}

#[test]
fn source_files_keep_the_length_limit() {
    let folders = ["src", "tests", "benches"].map(|folder| root().join(folder));
    let found = folders
        .iter()
        .flat_map(|folder| files(folder, &["rs", "js", "mjs", "py"]));
    let wrong = wrong_lengths(root(), &found.collect::<Vec<_>>(), LONG);
    assert!(wrong.is_empty(), "{wrong:#?}");
}
