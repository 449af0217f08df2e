//! Runs the binary as a process: its exit status, its output and how it ends.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn mixminus(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mixminus"));
    command.args(arguments).env_remove("MIXMINUS_CONFIG");
    command
}

fn output(arguments: &[&str]) -> Output {
    mixminus(arguments).output().expect("it runs")
}

#[test]
fn serve_check_prints_a_configuration_that_serve_check_accepts() {
    let checked = output(&[
        "serve",
        "--check",
        "--max-rooms",
        "7",
        "--announce",
        "192.0.2.1",
    ]);
    assert_eq!(checked.status.code(), Some(0));
    let printed = String::from_utf8(checked.stdout).expect("text");
    assert!(
        printed.contains("max_rooms = 7\n") && printed.contains("announce = [\"192.0.2.1\"]\n"),
        "{printed}"
    );
    let file = std::env::temp_dir().join(format!("mixminus-{}.toml", std::process::id()));
    std::fs::write(&file, &printed).expect("written");
    let again = output(&["serve", "--check", "--config", file.to_str().expect("text")]);
    let _ = std::fs::remove_file(&file);
    assert_eq!(String::from_utf8(again.stdout).expect("text"), printed);
}

#[test]
fn serve_check_reports_every_mistake_and_exits_with_status_two() {
    let mut command = mixminus(&["serve", "--check", "--tick-ms", "15", "--http", "nowhere"]);
    let checked = command
        .env("MIXMINUS_MAX_ROOMS", "none")
        .output()
        .expect("it runs");
    assert_eq!(checked.status.code(), Some(2));
    let told = String::from_utf8(checked.stderr).expect("text");
    for beginning in [
        "--tick-ms: invalid value `15` of `tick_ms`",
        "--http: invalid value `nowhere` of `http`",
        "MIXMINUS_MAX_ROOMS: invalid value `none` of `max_rooms`",
    ] {
        assert!(
            told.lines()
                .any(|line| line.starts_with(beginning) && line.ends_with('.')),
            "{told}"
        );
    }
    assert_eq!(output(&["serve", "--no-such-flag"]).status.code(), Some(2));
    assert_eq!(
        output(&["serve", "--config", "/nowhere"]).status.code(),
        Some(2)
    );
    let no_pem = [
        "serve",
        "--check",
        "--tls-cert=Cargo.toml",
        "--tls-key=Cargo.toml",
    ];
    assert_eq!(output(&no_pem).status.code(), Some(2));
    #[cfg(feature = "join")]
    assert_eq!(output(&["join", "no address"]).status.code(), Some(2));
}

#[test]
fn serve_check_reports_an_invalid_certificate() {
    let (cert, key) = ("Cargo.toml", "README.md");
    for check in [&["--check"][..], &[]] {
        let arguments = ["serve", "--http", "127.0.0.1:0", "--media", "127.0.0.1:0"];
        let arguments = [&arguments, check, &["--tls-cert", cert, "--tls-key", key]].concat();
        let ended = output(&arguments);
        assert_eq!(ended.status.code(), Some(2));
        let told = String::from_utf8_lossy(&ended.stderr);
        assert!(told.contains("Cargo.toml has no certificate"), "{told}");
    }
}

#[test]
fn serve_prints_its_addresses_and_ends_on_sigint_and_sigterm() {
    for signal in ["TERM", "INT"] {
        let mut server = mixminus(&[
            "serve",
            "--http",
            "127.0.0.1:0",
            "--media",
            "127.0.0.1:0",
            "--realtime=false",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it runs");
        let mut lines = BufReader::new(server.stdout.take().expect("piped")).lines();
        let first = lines.next().expect("a line").expect("text");
        assert!(first.contains(" is ready: http://127.0.0.1:"), "{first}");
        let process = server.id().to_string();
        let told = Command::new("kill").args(["-s", signal, &process]).status();
        assert!(told.expect("kill runs").success());
        let started = Instant::now();
        assert_eq!(server.wait().expect("it ends").code(), Some(0), "{signal}");
        assert!(started.elapsed() < Duration::from_secs(5));
    }
}

#[test]
fn serve_exits_with_status_one_if_the_port_is_taken() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let ended = output(&["serve", "--http", &address, "--media", "127.0.0.1:0"]);
    assert_eq!(ended.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("--http"));
}

#[test]
fn empty_environment_variables_are_ignored() {
    let plain = output(&["serve", "--check"]);
    let mut command = mixminus(&["serve", "--check"]);
    for setting in mixminus::config::SETTINGS {
        command.env(setting.variable(), "");
    }
    let checked = command.output().expect("it runs");
    let told = String::from_utf8_lossy(&checked.stderr);
    assert_eq!(checked.status.code(), Some(0), "{told}");
    assert_eq!(checked.stdout, plain.stdout);
    // An empty flag clears a list that an environment variable sets.
    let mut command = mixminus(&["serve", "--check", "--announce="]);
    command.env("MIXMINUS_ANNOUNCE", "192.0.2.1");
    let checked = command.output().expect("it runs");
    let printed = String::from_utf8_lossy(&checked.stdout);
    assert!(printed.contains("announce = []\n"), "{printed}");
}

#[test]
fn server_keeps_running_when_standard_output_is_closed() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = mixminus(&["serve", "--check"]);
    let checked = command.stdout(writer).output().expect("it runs");
    assert_eq!(checked.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&checked.stderr), "");

    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    // The server cannot print its address, so the test chooses one: a port that was free just now.
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = free.local_addr().expect("an address");
    drop(free);
    let http = format!("--http={address}");
    let mut command = mixminus(&["serve", &http, "--media=127.0.0.1:0", "--realtime=false"]);
    command.stdout(writer).stderr(Stdio::piped());
    let mut server = command.spawn().expect("it runs");
    while TcpStream::connect(address).is_err() {
        assert_eq!(server.try_wait().expect("it is ours"), None, "it has ended");
        std::thread::sleep(Duration::from_millis(20));
    }
    let process = server.id().to_string();
    let told = Command::new("kill").args(["-s", "TERM", &process]).status();
    assert!(told.expect("kill runs").success());
    let ended = server.wait_with_output().expect("it ends");
    assert_eq!(ended.status.code(), Some(0));
    let told = String::from_utf8_lossy(&ended.stderr);
    assert!(!told.contains("panicked"), "{told}");
}
