//! Runs the measuring tools and foreign clients in `tests/tools`: Python, Chromium, Firefox.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

/// Runs a Python tool and returns the JSON that it prints. Blocks.
pub fn python<S: AsRef<OsStr>>(tool: &str, arguments: impl IntoIterator<Item = S>) -> Value {
    let mut command = Command::new(interpreter());
    command.arg(tools().join(tool)).args(arguments);
    json(tool, &run(tool, command, "python3-venv python3-dev gcc"))
}

/// Runs schemathesis, which tests an HTTP interface against its OpenAPI document. Blocks.
pub fn schemathesis<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Output {
    let mut command = Command::new(interpreter().with_file_name("st"));
    let hooks = tools().join("schemathesis_hooks.py");
    command.args(arguments).env("SCHEMATHESIS_HOOKS", hooks);
    // schemathesis keeps files in its working directory.
    command.current_dir(env!("CARGO_TARGET_TMPDIR"));
    run("requirements.txt", command, "python3-venv python3-dev gcc")
}

/// Runs the GStreamer client, which needs the system's Python. Blocks.
pub fn gstreamer<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Value {
    let mut command = Command::new(tools().join("gstreamer_client.py"));
    command.args(arguments);
    let packages = "gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-nice \
                    python3-gi gir1.2-gst-plugins-bad-1.0";
    json(
        "gstreamer_client.py",
        &run("gstreamer_client.py", command, packages),
    )
}

/// Runs pages in Chromium and Firefox and returns what they report, also after a failure. Blocks.
pub fn browser<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Value {
    let mut command = Command::new(tools().join("browser.sh"));
    // Scripts that start servers of their own need the binary's path.
    command.env("MIXMINUS", env!("CARGO_BIN_EXE_mixminus"));
    command.args(arguments);
    json(
        "browser.sh",
        &run("browser.sh", command, "chromium firefox-esr nodejs npm"),
    )
}

/// Returns the command of a libwebrtc client, not yet started; the client prints one JSON object at
/// its end.
pub fn libwebrtc<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(tools().join("wrtc.sh"));
    command
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit());
    command
}

/// Blocks until a child prints this line to its standard error, which must be piped. Prints all
/// lines of the child.
pub fn until_it_says(child: &mut Child, line: &str) {
    let said = child.stderr.take().expect("it is piped");
    let mut said = BufReader::new(said).lines().map_while(Result::ok);
    let mut shown = said.by_ref().inspect(|it| eprintln!("{it}"));
    assert!(shown.any(|it| it == line), "it ended before it said {line}");
    std::thread::spawn(move || said.for_each(|line| eprintln!("{line}")));
}

/// Returns the JSON object that a client started by [`libwebrtc`] prints. Blocks until the client
/// has ended.
pub fn result_of(tool: &str, child: Child) -> Value {
    let output = child.wait_with_output().expect("it can be waited for");
    json(tool, &output)
}

/// Runs the page's unit tests, `tests/web/*.test.mjs`; panics unless all pass. Blocks.
pub fn page_unit_tests() {
    let folder = tools().with_file_name("web");
    let files = std::fs::read_dir(folder).expect("tests/web can be read");
    let files = files.map(|entry| entry.expect("tests/web can be read").path());
    let mut command = Command::new("node");
    command.arg("--test");
    command.args(files.filter(|path| path.to_string_lossy().ends_with(".test.mjs")));
    let output = run("../web", command, "nodejs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(!text.contains("# tests 0"), "no test ran: {text}");
}

/// Returns the path of Python in `target/venv`, and creates that environment if it is missing.
fn interpreter() -> PathBuf {
    let command = Command::new(tools().join("venv.sh"));
    let output = run("venv.sh", command, "python3-venv python3-dev gcc");
    assert!(
        output.status.success(),
        "tests/tools/venv.sh cannot make the Python of the tests, see above; it needs the Debian packages \
         python3-venv python3-dev gcc and the network. tests/run installs what is missing."
    );
    PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
}

fn run(tool: &str, mut command: Command, packages: &str) -> Output {
    let output = command.stderr(Stdio::inherit()).output();
    output.unwrap_or_else(|error| {
        panic!("tests/tools/{tool} does not start ({error}): it needs the Debian packages {packages}. tests/run installs what is missing.")
    })
}

fn json(tool: &str, output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).unwrap_or_else(|_| {
        panic!(
            "tests/tools/{tool} has no result ({}), see above: {text}",
            output.status
        )
    })
}

fn tools() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools")
}
