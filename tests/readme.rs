//! The README stays true: its settings table is the program's, its configuration loads, its command
//! lines are accepted, its radio talks.

mod common {
    pub mod radio;
}

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use clap::Parser;
use common::radio::{Radio, Served};
use mixminus::cli::Cli;
use mixminus::config::{self, Config};

const README: &str = include_str!("../README.md");

/// The blocks of one language, without their fences.
fn blocks(language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    README
        .split(fence.as_str())
        .skip(1)
        .filter_map(|rest| Some(rest.split("```").next()?.to_owned()))
        .collect()
}

#[test]
fn the_settings_table_is_the_program_s() {
    let begin = README
        .find("<!-- settings -->\n")
        .expect("the mark is there")
        + "<!-- settings -->\n".len();
    let end = README
        .find("<!-- /settings -->")
        .expect("the mark is there");
    let table = config::table();
    assert!(
        README[begin..end] == table,
        "put this between the marks:
{table}"
    );
}

#[test]
fn its_configurations_load() {
    let blocks = blocks("toml");
    assert!(!blocks.is_empty());
    for block in blocks {
        if let Err(problems) = Config::load(Some(("README.md", &block)), Vec::new()) {
            panic!("{block}\n{problems:?}");
        }
    }
}

#[test]
fn its_command_lines_are_accepted() {
    let mut seen = 0;
    for line in blocks("sh").iter().flat_map(|block| block.lines()) {
        let Some(at) = line.find("mixminus ").or_else(|| line.find("-- serve")) else {
            continue;
        };
        let command = line[at..].split('|').next().unwrap_or_default();
        let words = command
            .split_whitespace()
            .map(|word| if word == "--" { "mixminus" } else { word });
        if command.contains("setcap") || line.starts_with("setcap") {
            continue;
        }
        if let Err(error) = Cli::try_parse_from(words) {
            panic!("{line}\n{error}");
        }
        seen += 1;
    }
    assert!(seen >= 5, "only {seen} command lines found");
}

/// The one block of a language that has a word in it.
fn block(language: &str, word: &str) -> String {
    let mut found = blocks(language).into_iter().filter(|it| it.contains(word));
    let block = found.next().unwrap_or_else(|| panic!("no {word}"));
    assert!(found.next().is_none(), "{word} stands in several blocks");
    block
}

#[test]
fn its_unit_starts_its_radio_with_flags_that_exist() {
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

/// The script as it stands there, with a sound card that is silent, and a button that is lost while it is pressed and
/// then is there again.
#[test]
fn its_radio_takes_the_floor_when_its_button_is_pressed() {
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
    // Left by an earlier run.
    let _ = fs::remove_file(&flags);
    program("gpiomon", &gpiomon);
    program("arecord", "#!/bin/sh\nexec cat /dev/zero\n");
    program("aplay", "#!/bin/sh\nexec cat >/dev/null\n");
    let radio = program("radio", &block("bash", "gpiomon"));
    let own = folder.join("mixminus");
    // Left by an earlier run.
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
    // The other button.
    ear.wait_after(mark, "floor_taken", |_| true);
    let mark = ear.mark();
    ear.wait_after(mark, "floor_idle", |_| true);
    // It is mixminus itself by now, so that whoever started it sees how it ends.
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
fn the_test_command_is_what_integration_runs() {
    let ci = include_str!("../.ci/run");
    assert!(blocks("sh").iter().any(|block| block.trim() == "tests/run"));
    assert!(ci.contains("exec tests/run"));
}
