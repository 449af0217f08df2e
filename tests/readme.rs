//! The README stays true: its settings table is the program's, its configuration loads, its command
//! lines are accepted.

use clap::Parser;
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

#[test]
fn the_test_command_is_what_integration_runs() {
    let ci = include_str!("../.ci/run");
    assert!(blocks("sh").iter().any(|block| block.trim() == "tests/run"));
    assert!(ci.contains("exec tests/run"));
}
