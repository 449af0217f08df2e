//! Checks against the source which queues the real-time threads and the code around them use.

use std::path::{Path, PathBuf};

/// The files with the code of the mixer threads, the network thread and what exchanges messages
/// with them.
const REAL_TIME: [&str; 5] = [
    "src/audio",
    "src/conference",
    "src/queues.rs",
    "src/rtc",
    "src/server.rs",
];

/// Names of queues in which one end may wait for the other end, or for another thread at its own
/// end.
const MAY_WAIT: [&str; 5] = [
    "crossbeam_channel",
    "crossbeam_queue",
    "mpsc",
    "flume",
    "kanal",
];

/// Permitted uses of these queues: the file, and the name of the queue.
const EXCEPT: [(&str, &str); 3] = [
    // The mixers report by this queue, before their first slot, whether they have real-time
    // priority.
    ("src/audio/mod.rs", "mpsc"),
    // Neither end of this queue is a real-time thread.
    ("src/conference/handle.rs", "mpsc"),
    ("src/conference/owner.rs", "mpsc"),
];

#[test]
fn real_time_threads_use_only_queues_that_never_wait() {
    let mut found = Vec::new();
    for file in REAL_TIME.iter().flat_map(|path| files(path)) {
        let text = std::fs::read_to_string(&file).expect("it is there");
        let name = file.to_string_lossy();
        for queue in MAY_WAIT {
            let is_excepted = EXCEPT.contains(&(name.as_ref(), queue));
            if text.contains(queue) && !is_excepted {
                found.push(format!("{name} uses {queue}"));
            }
        }
    }
    assert!(found.is_empty(), "use queues::ring instead: {found:?}");
}

#[test]
fn every_ring_is_created_where_its_bound_is_declared() {
    let makers = files("src").into_iter().filter(|file| {
        let text = std::fs::read_to_string(file).expect("it is there");
        text.contains("RingBuffer")
    });
    let makers: Vec<PathBuf> = makers.collect();
    assert_eq!(makers, [Path::new("src/queues.rs")]);
}

/// Returns all Rust files below a path, or the path itself if it is a file.
fn files(path: &str) -> Vec<PathBuf> {
    let path = Path::new(path);
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let entries = std::fs::read_dir(path).expect("it is there");
    let paths = entries.map(|entry| entry.expect("readable").path());
    let below = paths.flat_map(|path| files(&path.to_string_lossy()));
    let mut all: Vec<PathBuf> = below
        .filter(|file| file.extension().is_some_and(|end| end == "rs"))
        .collect();
    all.sort();
    all
}
