//! Reads a crate's source text: which module uses which, and how long its files are.
#![allow(dead_code, reason = "no test uses all of it")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// All files with one of these extensions in a folder and its subfolders, sorted; without `target`
/// and `node_modules`.
pub fn files(folder: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the folder is there");
    let mut all = Vec::new();
    for path in entries.map(|entry| entry.expect("readable").path()) {
        let ending = path.extension().and_then(|ending| ending.to_str());
        if path.ends_with("target") || path.ends_with("node_modules") {
            continue;
        }
        if path.is_dir() {
            all.extend(files(&path, endings));
        } else if ending.is_some_and(|ending| endings.contains(&ending)) {
            all.push(path);
        }
    }
    all.sort();
    all
}

/// Checks that no file has more than 500 lines, except for those on a list of long files. Returns
/// one message for each file that breaks the rule, and for each entry of the list that is no longer
/// needed.
///
/// - `long`: the list of long files, each with its largest number of lines.
pub fn wrong_lengths(root: &Path, found: &[PathBuf], long: &[(&str, usize)]) -> Vec<String> {
    const MOST: usize = 500;
    let mut listed: BTreeMap<&str, usize> = long.iter().copied().collect();
    let mut wrong = Vec::new();
    for file in found {
        let text = fs::read_to_string(file).expect("readable");
        let (name, lines) = (name_of(root, file), text.lines().count());
        let most = listed.remove(name.as_str());
        if most.is_some() && lines <= MOST {
            wrong.push(format!("{name} has {lines} lines: take it off the list"));
        } else if lines > most.unwrap_or(MOST) {
            let most = most.unwrap_or(MOST);
            wrong.push(format!("{name} has {lines} lines, more than {most}"));
        }
    }
    let gone = listed.keys();
    wrong.extend(gone.map(|name| format!("{name} is gone: take it off the list")));
    wrong
}

fn name_of(root: &Path, file: &Path) -> String {
    let name = file.strip_prefix(root).expect("it is below");
    name.to_string_lossy().into_owned()
}

/// The module `from` uses the module `to`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    pub from: String,
    pub to: String,
}

/// The top-level modules of a crate, and which module uses which.
pub struct Modules {
    pub names: BTreeSet<String>,
    /// For each use of one module by another: the first file and line where it occurs.
    pub edges: BTreeMap<Edge, String>,
    /// Paths from the crate root that lead to no module, with file and line.
    pub unknown: Vec<String>,
}

impl Modules {
    /// Reads the crate whose `lib.rs` is in `src`. A use of an item that `lib.rs` re-exports counts
    /// as a use of the module that defines the item.
    pub fn of(src: &Path) -> Modules {
        let lib = code_of(&fs::read_to_string(src.join("lib.rs")).expect("a library"));
        let words = words_of(&lib);
        let mut names = BTreeSet::new();
        for at in words.windows(3) {
            if at[0].text == "mod" && at[2].text == ";" {
                names.insert(at[1].text.to_owned());
            }
        }
        let exports = re_exports(&words, &names);
        let mut modules = Modules {
            names,
            edges: BTreeMap::new(),
            unknown: Vec::new(),
        };
        let found = files(src, &["rs"]);
        let tests = test_files(&found);
        let tops = ["lib.rs", "main.rs"].map(|name| src.join(name));
        for file in found.iter().filter(|file| !tops.contains(file)) {
            if !tests.iter().any(|test| file.starts_with(test)) {
                modules.read(src, file, &exports);
            }
        }
        modules
    }

    fn read(&mut self, src: &Path, file: &Path, exports: &BTreeMap<String, String>) {
        let path = file
            .strip_prefix(src)
            .expect("it is below")
            .with_extension("");
        let mut path: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
        path.pop_if(|last| last == "mod");
        let code = code_of(&fs::read_to_string(file).expect("readable"));
        for (to, line) in paths_from_top(&words_of(&code), path.len()) {
            let place = format!("{}:{line}", name_of(src, file));
            let to = exports.get(to).map_or(to, String::as_str);
            if !self.names.contains(to) {
                self.unknown.push(format!("{place}: crate::{to}"));
            } else if to != path[0] {
                let (from, to) = (path[0].clone().into_owned(), to.to_owned());
                self.edges.entry(Edge { from, to }).or_insert(place);
            }
        }
    }

    /// The first dependency cycle found, without the edges in `ignored`; `None` if there is none.
    pub fn cycle(&self, ignored: &BTreeSet<Edge>) -> Option<Vec<Edge>> {
        let mut done = BTreeSet::new();
        let mut names = self.names.iter();
        names.find_map(|name| self.cycle_from(name, ignored, &mut Vec::new(), &mut done))
    }

    fn cycle_from(
        &self,
        name: &str,
        ignored: &BTreeSet<Edge>,
        way: &mut Vec<Edge>,
        done: &mut BTreeSet<String>,
    ) -> Option<Vec<Edge>> {
        if let Some(begin) = way.iter().position(|edge| edge.from == name) {
            return Some(way[begin..].to_vec());
        }
        if done.contains(name) {
            return None;
        }
        let used = self.edges.keys().filter(|edge| edge.from == name);
        for edge in used.filter(|edge| !ignored.contains(edge)) {
            way.push(edge.clone());
            let cycle = self.cycle_from(&edge.to, ignored, way, done);
            if cycle.is_some() {
                return cycle;
            }
            way.pop();
        }
        done.insert(name.to_owned());
        None
    }

    /// Describes a chain of uses, one line for each, with file and line.
    pub fn show(&self, way: &[Edge]) -> String {
        let steps = way.iter().map(|edge| {
            let place = self.edges.get(edge).map_or("?", String::as_str);
            format!("\n  {} uses {} ({place})", edge.from, edge.to)
        });
        steps.collect()
    }
}

/// A token of the source: a name, `::` or a single other character.
struct Word<'a> {
    text: &'a str,
    line: usize,
}

fn words_of(code: &str) -> Vec<Word<'_>> {
    let is_name = |letter: char| letter.is_alphanumeric() || letter == '_';
    let mut words = Vec::new();
    for (line, mut rest) in (1..).zip(code.lines()) {
        while let Some(first) = rest.chars().next() {
            let end = match first {
                _ if is_name(first) => rest.find(|letter| !is_name(letter)),
                ':' if rest.starts_with("::") => Some(2),
                _ => Some(first.len_utf8()),
            };
            let (text, tail) = rest.split_at(end.unwrap_or(rest.len()));
            if !first.is_whitespace() {
                words.push(Word { text, line });
            }
            rest = tail;
        }
    }
    words
}

/// The first name of each path that begins at the crate root, with its line. The name follows
/// `crate`, or as many `super` as the file is deep.
fn paths_from_top<'a>(words: &[Word<'a>], depth: usize) -> Vec<(&'a str, usize)> {
    let mut found = Vec::new();
    let mut supers = 0;
    for at in 0..words.len().saturating_sub(2) {
        supers = match words[at].text {
            "super" => supers + 1,
            "::" => supers,
            _ => 0,
        };
        let is_top = words[at].text == "crate" || words[at].text == "super" && supers == depth;
        // `pub(in crate::x)` limits visibility and uses no module.
        let is_scope = at > 0 && words[at - 1].text == "in";
        if is_top && !is_scope && words[at + 1].text == "::" {
            let names = first_names(&words[at + 2..]);
            // A module inside the file stands between it and the top.
            let names = names.filter(|name| words[at].text == "crate" || name.text != "super");
            found.extend(names.map(|name| (name.text, name.line)));
        }
    }
    found
}

/// The name with which `words` begins or, if it begins with a list in braces, the first name of
/// each entry.
fn first_names<'w, 'a>(words: &'w [Word<'a>]) -> impl Iterator<Item = &'w Word<'a>> {
    let is_list = words[0].text == "{";
    let mut depth = 0;
    let mut names = Vec::new();
    for at in 0..words.len() {
        let begins = match at {
            0 => !is_list,
            _ => is_list && depth == 1 && ["{", ","].contains(&words[at - 1].text),
        };
        match words[at].text {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ if begins => names.push(&words[at]),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    names.into_iter()
}

/// The names that `lib.rs` re-exports, each with the module that defines it.
fn re_exports(words: &[Word<'_>], names: &BTreeSet<String>) -> BTreeMap<String, String> {
    let mut exports = BTreeMap::new();
    let uses = (0..words.len()).filter(|at| words[*at].text == "use");
    for at in uses {
        let rest = &words[at + 1..];
        let end = rest.iter().position(|word| word.text == ";");
        let path = &rest[..end.unwrap_or(rest.len())];
        let Some(top) = path.iter().find(|word| names.contains(word.text)) else {
            continue;
        };
        let ends = (0..path.len()).filter(|at| {
            let next = path.get(at + 1).map_or(";", |word| word.text);
            [";", ",", "}"].contains(&next) && !["}", ","].contains(&path[*at].text)
        });
        for end in ends {
            exports.insert(path[end].text.to_owned(), top.text.to_owned());
        }
    }
    exports
}

/// Files and folders of modules that are declared under `#[cfg(test)]`, so that they hold only
/// tests.
fn test_files(files: &[PathBuf]) -> Vec<PathBuf> {
    let mut tests = Vec::new();
    for file in files {
        let text = fs::read_to_string(file).expect("readable");
        let folder = match file.file_name().and_then(|name| name.to_str()) {
            Some("mod.rs" | "lib.rs" | "main.rs") => file.with_file_name(""),
            _ => file.with_extension(""),
        };
        let mut lines = text.lines().map(str::trim).peekable();
        while let Some(line) = lines.next() {
            let mut path = None;
            if !is_test_attribute(line) {
                continue;
            }
            while let Some(attribute) = lines.next_if(|line| line.starts_with("#[")) {
                path = attribute.strip_prefix("#[path = \"").or(path);
            }
            let item = lines.peek().unwrap_or(&"");
            let name = item.rsplit_once("mod ").map(|(_, name)| name);
            let Some(name) = name.and_then(|name| name.strip_suffix(';')) else {
                continue;
            };
            match path.and_then(|path| path.split('"').next()) {
                Some(path) => tests.push(file.with_file_name(path)),
                None => tests.extend([folder.join(name), folder.join(format!("{name}.rs"))]),
            }
        }
    }
    tests
}

fn is_test_attribute(line: &str) -> bool {
    line.starts_with("#[cfg(test)]") || line.starts_with("#[cfg(all(test")
}

/// The source without comments, literals and test code. The remaining code keeps its line numbers.
fn code_of(text: &str) -> String {
    let code = without_comments(text);
    let mut kept = String::new();
    let mut lines = code.lines();
    while let Some(line) = lines.next() {
        if !is_test_attribute(line.trim()) {
            kept.push_str(line);
            kept.push('\n');
            continue;
        }
        // Skips the item: up to its closing brace, semicolon or comma.
        kept.push('\n');
        let mut depth = 0i32;
        let mut line = line.trim().split_once(']').map_or("", |(_, item)| item);
        loop {
            let mut ends = false;
            for letter in line.chars() {
                match letter {
                    '{' | '(' | '[' => depth += 1,
                    '}' | ')' | ']' => depth -= 1,
                    _ => {}
                }
                ends |= depth == 0 && [';', ',', '}'].contains(&letter);
            }
            if ends || depth < 0 {
                break;
            }
            let Some(next) = lines.next() else { break };
            line = next;
            kept.push('\n');
        }
    }
    kept
}

/// Replaces each comment, string and character literal with a space; line numbers stay the same.
fn without_comments(text: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(hashes) = raw_text(rest) {
            let close = format!("\"{}", "#".repeat(hashes));
            let begin = hashes + 2;
            let end = rest[begin..].find(&close);
            end.map_or(rest.len(), |end| begin + end + close.len())
        } else if letter == '"' {
            quoted(rest, '"')
        } else if letter == '\'' && is_letter(rest) {
            quoted(rest, '\'')
        } else {
            // A whole name is taken at once: the `r` at its end does not begin a raw string.
            let is_name = |letter: char| letter.is_alphanumeric() || letter == '_';
            let name = rest.find(|letter| !is_name(letter)).unwrap_or(rest.len());
            let length = name.max(letter.len_utf8());
            kept.push_str(&rest[..length]);
            rest = &rest[length..];
            continue;
        };
        let (gone, tail) = rest.split_at(length);
        kept.extend(gone.chars().filter(|letter| *letter == '\n'));
        kept.push(' ');
        rest = tail;
    }
    kept
}

/// Number of `#` with which a raw string begins; `None` if `rest` does not begin with one.
fn raw_text(rest: &str) -> Option<usize> {
    let tail = rest.strip_prefix('r')?;
    let hashes = tail.len() - tail.trim_start_matches('#').len();
    tail[hashes..].starts_with('"').then_some(hashes)
}

/// Whether a quote begins a character literal and not a lifetime.
fn is_letter(rest: &str) -> bool {
    let mut letters = rest.chars().skip(1);
    letters.next() == Some('\\') || letters.next() == Some('\'')
}

/// Length of a string or character literal, quotes included.
fn quoted(rest: &str, quote: char) -> usize {
    let mut letters = rest.char_indices().skip(1);
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => drop(letters.next()),
            _ if letter == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

#[test]
fn path_scanner_reads_used_paths_and_nothing_else() {
    let code = code_of(
        "use crate::{a, b::{c, d}};\n\
         // crate::no\n\
         /* crate::no */ fn f() -> &'static str { \"crate::no \\\" // \"; crate::e::f('\"') }\n\
         pub(in crate::no) use super::super::g::h;\n\
         #[cfg(test)]\nuse crate::no;\n\
         #[cfg(test)]\nmod tests {\n    use crate::no;\n    fn f() {}\n}\n\
         use super::no; type X = r#\"crate::no\"#; use crate::z;\n",
    );
    let words = words_of(&code);
    let found: Vec<&str> = paths_from_top(&words, 2)
        .iter()
        .map(|path| path.0)
        .collect();
    assert_eq!(found, ["a", "b", "e", "g", "z"]);
    assert!(words.last().is_some_and(|word| word.line == 12));
}
