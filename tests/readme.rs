//! Every README stays true: the settings table matches the program's, configurations load, command
//! lines and messages are accepted, links have a target, and the radio script works.

mod common {
    pub mod radio;
}

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Parser;
use common::radio::{Radio, Served};
use mixer::codec::Profile;
use mixminus::cli::Cli;
use mixminus::config::{self, Config};
use mixminus::floor::Mode;
use mixminus::protocol::CommandMessage;

/// One `README.md` of the repository.
struct Readme {
    /// Path relative to the repository's root.
    path: PathBuf,
    text: String,
}

/// Returns every README, the one at the root first.
fn readmes() -> Vec<Readme> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = vec![PathBuf::from("README.md")];
    for folder in ["src", "mixer", "tests", "benches", "fixtures"] {
        find_readmes(top, Path::new(folder), &mut paths);
    }
    let read = |path: PathBuf| Readme {
        text: fs::read_to_string(top.join(&path)).expect("readable"),
        path,
    };
    paths.into_iter().map(read).collect()
}

fn find_readmes(top: &Path, folder: &Path, paths: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(top.join(folder)).expect("a folder");
    for entry in entries.map(|entry| entry.expect("readable")) {
        let name = entry.file_name();
        let path = folder.join(&name);
        if name == "README.md" {
            paths.push(path);
        } else if entry.file_type().expect("known").is_dir() && name != "node_modules" {
            find_readmes(top, &path, paths);
        }
    }
}

impl Readme {
    /// Returns the text outside of fenced blocks.
    fn prose(&self) -> String {
        self.text.split("```").step_by(2).collect()
    }

    /// Returns the contents of the fenced blocks of one language.
    fn blocks(&self, language: &str) -> Vec<String> {
        let fence = format!("```{language}\n");
        (self.text.split(fence.as_str()).skip(1))
            .filter_map(|rest| Some(rest.split("```").next()?.to_owned()))
            .collect()
    }

    /// Returns the text between the comments `<!-- name -->` and `<!-- /name -->`, if the README
    /// has them.
    fn between_marks(&self, name: &str) -> Option<&str> {
        let (_, rest) = self.text.split_once(&format!("<!-- {name} -->\n"))?;
        let (inside, _) = rest.split_once(&format!("<!-- /{name} -->"))?;
        Some(inside)
    }

    /// Returns the target of every inline link.
    fn links(&self) -> Vec<String> {
        (self.prose().split("](").skip(1))
            .filter_map(|rest| Some(rest.split_once(')')?.0.to_owned()))
            .collect()
    }

    /// Returns the anchors of the README's headings.
    fn anchors(&self) -> Vec<String> {
        let prose = self.prose();
        let headings = prose.lines().filter(|line| line.starts_with('#'));
        let anchor = |heading: &str| {
            let text = heading.trim_start_matches('#').trim().to_lowercase();
            let kept = |letter: &char| letter.is_alphanumeric() || " -_".contains(*letter);
            text.chars()
                .filter(kept)
                .collect::<String>()
                .replace(' ', "-")
        };
        headings.map(anchor).collect()
    }
}

/// Returns the fenced blocks of one language in all READMEs.
fn blocks(language: &str) -> Vec<String> {
    let readmes = readmes();
    let blocks = readmes.iter().flat_map(|readme| readme.blocks(language));
    blocks.collect()
}

#[test]
fn readme_settings_table_matches_the_programs_settings() {
    let table = config::table();
    let readmes = readmes();
    let found: Vec<&str> = (readmes.iter())
        .filter_map(|readme| readme.between_marks("settings"))
        .collect();
    assert!(found == [&table], "put this between the marks:\n{table}");
}

#[test]
fn readme_configurations_load() {
    let blocks = blocks("toml");
    assert!(!blocks.is_empty());
    for block in blocks {
        if let Err(problems) = Config::load(Some(("README.md", &block)), Vec::new()) {
            panic!("{block}\n{problems:?}");
        }
    }
}

/// Returns the words of each call of `mixminus` in a shell block, starting with the program's name.
fn calls(block: &str) -> Vec<Vec<String>> {
    let block = block.replace("\\\n", " ");
    let parts = block.lines().flat_map(|line| line.split(['|', '&']));
    let calls = parts.filter_map(|part| {
        let arguments = (part.trim().strip_prefix("mixminus "))
            .or_else(|| Some(part.trim().strip_prefix("cargo run ")?.split_once("-- ")?.1))?;
        let words = ["mixminus"].into_iter().chain(arguments.split_whitespace());
        Some(words.map(str::to_owned).collect())
    });
    calls.collect()
}

#[test]
fn readme_command_lines_are_accepted() {
    let blocks = blocks("sh");
    let calls: Vec<Vec<String>> = blocks.iter().flat_map(|block| calls(block)).collect();
    for call in &calls {
        if let Err(error) = Cli::try_parse_from(call) {
            panic!("{}\n{error}", call.join(" "));
        }
    }
    // Each line of a shell block that has the program's name as a word of its own is a call.
    let named = |line: &&str| line.split_whitespace().any(|word| word == "mixminus");
    let lines = blocks.iter().flat_map(|block| block.lines());
    let (seen, expected) = (calls.len(), lines.filter(named).count());
    assert!(expected >= 10 && seen >= expected, "{seen} of {expected}");
}

#[test]
fn readme_messages_are_accepted() {
    let blocks = blocks("json");
    assert!(!blocks.is_empty());
    for message in blocks.iter().flat_map(|block| block.lines()) {
        if let Err((invalid, _)) = CommandMessage::parse(message) {
            panic!("{message}\n{invalid}");
        }
    }
}

#[test]
fn readme_links_have_a_target() {
    let (top, readmes) = (Path::new(env!("CARGO_MANIFEST_DIR")), readmes());
    let mut seen = 0;
    for readme in &readmes {
        let folder = top.join(readme.path.parent().expect("in a folder"));
        for link in readme.links() {
            if link.starts_with("https://") || link.starts_with("http://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let path = match file {
                "" => top.join(&readme.path),
                _ => folder.join(file),
            };
            let place = format!("{}: ({link})", readme.path.display());
            let path = path.canonicalize().unwrap_or_else(|_| panic!("{place}"));
            let other = readmes.iter().find(|other| top.join(&other.path) == path);
            let is_there = |other: &Readme| other.anchors().iter().any(|name| name == anchor);
            assert!(anchor.is_empty() || other.is_some_and(is_there), "{place}");
            seen += 1;
        }
    }
    assert!(seen >= 3, "{seen} links");
}

/// Returns the cells of the first column of the table that follows the text `before`.
fn first_cells(text: &str, before: &str) -> Vec<String> {
    let (_, rest) = text.split_once(before).expect("the table is there");
    let rows = rest.trim_start().lines().skip(1);
    let rows = rows.take_while(|line| line.starts_with('|'));
    let cell = |row: &str| row.split('|').nth(1).map(|cell| cell.trim().to_owned());
    rows.filter_map(cell).collect()
}

#[test]
fn root_readme_is_short_and_warns_on_its_first_screen() {
    let readmes = readmes();
    let text = &readmes[0].text;
    assert!(text.lines().count() < 200, "{} lines", text.lines().count());
    let first_screen = text.lines().take(30).collect::<Vec<_>>().join(" ");
    for warning in ["no accounts", "TURN", "Chromium and Firefox"] {
        assert!(first_screen.contains(warning), "{warning}");
    }
}

#[test]
fn root_readme_tables_match_the_program() {
    let readmes = readmes();
    let text = &readmes[0].text;
    let common = (readmes[0].between_marks("common settings")).expect("the marks are there");
    for row in common.lines().skip(2) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, name, default, ..] = cells[..] else {
            panic!("{row}");
        };
        let is_this = |line: &&str| line.starts_with(&format!("| {name} |"));
        let table = config::table();
        let line = table.lines().find(is_this);
        let line = line.unwrap_or_else(|| panic!("{name} is no setting"));
        assert_eq!(
            line.split('|').nth(3).map(str::trim),
            Some(default),
            "{name}"
        );
    }
    let profiles = first_cells(text, "| profile | bitrate | packet | for |");
    assert_eq!(profiles, Profile::ALL.map(|profile| format!("`{profile}`")));
    let modes = first_cells(text, "| mode | who may talk |");
    let modes: Vec<String> = (modes.iter())
        .map(|mode| mode.trim_matches('`').replace(":N", ":2"))
        .collect();
    let kinds = Mode::NAMES
        .split(", ")
        .map(|mode| mode.split(' ').next().unwrap_or(mode));
    let kinds: Vec<String> = kinds.map(|mode| mode.replace(":1", ":2")).collect();
    assert_eq!(modes, kinds);
}

/// Returns the only fenced block of a language, in all READMEs, that contains `word`.
fn block(language: &str, word: &str) -> String {
    let mut found = blocks(language).into_iter().filter(|it| it.contains(word));
    let block = found.next().unwrap_or_else(|| panic!("no {word}"));
    assert!(found.next().is_none(), "{word} stands in several blocks");
    block
}

#[test]
fn radio_systemd_unit_uses_existing_flags() {
    let unit = block("ini", "[Service]");
    let start = unit
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart=/usr/local/bin/radio "));
    let own = [
        "--ptt",
        "--events",
        "--play=/dev/zero",
        "--record=/dev/null",
    ];
    let words = ["mixminus", "join"]
        .into_iter()
        .chain(start.expect("it starts the script").split_whitespace())
        .chain(own);
    Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{error}"));
    for line in unit.lines().filter(|line| !line.is_empty()) {
        assert!(line.starts_with('[') || line.contains('='), "{line}");
    }
    for variable in ["RADIO_CHIP", "RADIO_LINE", "RADIO_SOUND"] {
        assert!(unit.contains(variable) && block("bash", "gpiomon").contains(variable));
    }
}

/// Runs the radio script of the README with a silent sound card and with a button that is lost
/// while it is pressed and then reappears.
#[test]
fn radio_script_takes_the_floor_when_its_button_is_pressed() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("readme-radio");
    fs::create_dir_all(&folder).expect("the target folder can be written to");
    let program = |name: &str, script: &str| {
        let path = folder.join(name);
        fs::write(&path, script).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("ours");
        path
    };
    let flags = folder.join("flags");
    let gpiomon = format!(
        "#!/bin/sh\necho \"$@\" >>{}\nsleep 2; echo falling; sleep 1\n\
         [ $(wc -l <{0}) = 1 ] && exit 1\necho rising; exec sleep 60\n",
        flags.display()
    );
    // The file may be left by an earlier run.
    let _ = fs::remove_file(&flags);
    program("gpiomon", &gpiomon);
    program("arecord", "#!/bin/sh\nexec cat /dev/zero\n");
    program("aplay", "#!/bin/sh\nexec cat >/dev/null\n");
    let radio = program("radio", &block("bash", "gpiomon"));
    let own = folder.join("mixminus");
    // The file may be left by an earlier run.
    let _ = fs::remove_file(&own);
    symlink(env!("CARGO_BIN_EXE_mixminus"), &own).expect("written");

    let served = Served::start();
    served.room("lobby", &serde_json::json!({ "mode": "ptt" }));
    let ear = Radio::join(&served.url("lobby"), "ear", &["--record", "/dev/null"]);
    let path = std::env::var("PATH").unwrap_or_default();
    let mut board = Command::new(radio)
        .args([&served.url("lobby"), "--name=board"])
        .env("PATH", format!("{}:{path}", folder.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("there is a bash");
    let (_, taken) = ear.wait("floor_taken", |_| true);
    assert_eq!(taken["name"], "board");
    let mark = ear.mark();
    ear.wait_after(mark, "floor_idle", |_| true);
    // The button is pressed again in the second call of `gpiomon`, after the first call has failed.
    ear.wait_after(mark, "floor_taken", |_| true);
    let mark = ear.mark();
    ear.wait_after(mark, "floor_idle", |_| true);
    // The script has replaced itself with mixminus, so the process that started it sees the exit
    // status.
    let process = board.id().to_string();
    let asked = Command::new("kill").args(["-s", "TERM", &process]).status();
    assert!(asked.expect("kill runs").success());
    assert!(board.wait().expect("our own child").success());
    ear.stop();
    let flags = fs::read_to_string(flags).expect("it was started");
    let expected =
        "--chip gpiochip0 --edges both --bias pull-up --debounce-period 10ms --format %E 17";
    assert_eq!(flags.lines().collect::<Vec<_>>(), [expected; 2]);
}

#[test]
fn readme_test_command_is_what_continuous_integration_runs() {
    let ci = include_str!("../.ci/run");
    let commands = readmes()[0].blocks("sh");
    assert!(commands.iter().any(|block| block.trim() == "tests/run"));
    assert!(ci.contains("exec tests/run"));
}
