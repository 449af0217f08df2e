//! The fuzz targets run over their corpus and over thousands of mutations of it: fuzzing on stable
//! Rust, in every test run.
//!
//! `fixtures/corpus/<target>/` holds hostile inputs written by hand, inputs that the fuzzer kept
//! because they reach new code, and every input that ever broke the server. `tests/fuzz/run` is the
//! fuzzer.

#[path = "fuzz/targets.rs"]
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mixminus::bench::procfs::Sample;

/// The number of mutations of each target's corpus, unless `MUTATION_TIME` is over before.
const MUTATIONS: usize = 20_000;

/// Time limit for the mutations; the environment variable `CORPUS_SECONDS` overrides it.
const MUTATION_TIME: Duration = Duration::from_millis(2_500);

/// The longest input: HTTP bodies and datagrams are no longer.
const MAX_INPUT_BYTES: usize = 64 * 1024;

/// The memory that a target may still hold after all inputs: its statics and the allocator's slack.
const MAX_GROWTH_KIB: u64 = 64 * 1024;

macro_rules! replayed {
    ($($target:ident: $($also:literal),*;)*) => {
        $(
            #[test]
            fn $target() {
                replay(stringify!($target), targets::$target, &[$($also),*]);
            }
        )*

        #[test]
        fn every_fuzz_corpus_has_its_fuzz_target() {
            let targets = [$(stringify!($target)),*];
            for folder in std::fs::read_dir(at("fixtures/corpus")).expect("the corpus") {
                let name = folder.expect("a folder").file_name();
                assert!(targets.iter().any(|target| name == *target), "{name:?}");
            }
            for target in targets {
                let wrapper = at(&format!("tests/fuzz/fuzz_targets/{target}.rs"));
                assert!(wrapper.exists(), "{}", wrapper.display());
            }
        }
    };
}

replayed! {
    command: ;
    config: ;
    decoder: ;
    demux: ;
    engine: ;
    json: ;
    media: ;
    offer: "tests/offers";
    playout: ;
    sdpfrag: ;
    stun: ;
}

/// Runs a target over every file of its corpus, then over mutations of these files.
fn replay(name: &str, target: fn(&[u8]), also: &[&str]) {
    let corpus = format!("fixtures/corpus/{name}");
    let folders = std::iter::once(corpus.as_str()).chain(also.iter().copied());
    let seeds: Vec<Vec<u8>> = folders.flat_map(files).map(|file| read(&file)).collect();
    assert!(!seeds.is_empty(), "{corpus} is empty");
    for seed in &seeds {
        run(name, target, seed);
    }
    let before_kib = resident_kib();
    let end = Instant::now() + time();
    let mut mutator = Mutator::new(name);
    let mut mutations = 0;
    let mut slowest = Duration::ZERO;
    while mutations < MUTATIONS && Instant::now() < end {
        let input = mutator.mutate(&seeds);
        let begin = Instant::now();
        run(name, target, &input);
        slowest = slowest.max(begin.elapsed());
        mutations += 1;
    }
    // The other targets run in parallel in the same process, so the bound includes their memory.
    let grown_kib = resident_kib().saturating_sub(before_kib);
    println!(
        "{name}: {} files, {mutations} mutations, slowest {slowest:?}, {grown_kib} KiB more",
        seeds.len()
    );
    assert!(grown_kib < MAX_GROWTH_KIB, "{grown_kib} KiB kept");
}

fn run(name: &str, target: fn(&[u8]), input: &[u8]) {
    if catch_unwind(AssertUnwindSafe(|| target(input))).is_err() {
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.crash"));
        std::fs::write(&kept, input).expect("the target directory can be written");
        panic!(
            "{name} breaks on {}: mend it and keep the file in fixtures/corpus/{name}",
            kept.display()
        );
    }
}

fn time() -> Duration {
    let asked = std::env::var("CORPUS_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok());
    asked.map_or(MUTATION_TIME, Duration::from_secs)
}

fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn files(folder: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(at(folder)) else {
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("a file").path()).collect();
    files.sort();
    files
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn resident_kib() -> u64 {
    Sample::of(std::process::id()).expect("Linux").rss_bytes() / 1024
}

/// Mutates inputs as fuzzers do, in the same way in every run.
struct Mutator(u64);

impl Mutator {
    fn new(name: &str) -> Mutator {
        Mutator(name.bytes().fold(0x9e37_79b9_7f4a_7c15, |seed, byte| {
            (seed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        }))
    }

    /// Returns a pseudo-random number below `bound` (xorshift, Marsaglia 2003).
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % bound.max(1)
    }

    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        let longest = (length - start).min(1 << self.below(9));
        start..start + self.below(longest + 1)
    }

    fn mutate(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut input = seeds[self.below(seeds.len())].clone();
        for _ in 0..1 + self.below(6) {
            self.change(&mut input, seeds);
        }
        input.truncate(MAX_INPUT_BYTES);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        const EDGES: [u8; 10] = [0, 1, 0x7f, 0x80, 0xff, b'\n', b':', b'"', b' ', b'9'];
        let at = self.below(input.len());
        match self.below(10) {
            0 if !input.is_empty() => input[at] ^= 1 << self.below(8),
            1 if !input.is_empty() => input[at] = self.below(256) as u8,
            2 | 3 if !input.is_empty() => input[at] = EDGES[self.below(EDGES.len())],
            4 => {
                let gone = self.range(input.len());
                input.drain(gone);
            }
            5 => {
                let again = self.range(input.len());
                let copy = input[again].to_vec();
                let times = 1 + self.below(3) * self.below(40);
                let to = self.below(input.len() + 1);
                input.splice(to..to, copy.repeat(times).into_iter().take(MAX_INPUT_BYTES));
            }
            6 | 7 => {
                let other = &seeds[self.below(seeds.len())];
                let piece = other[self.range(other.len())].to_vec();
                let over = self.range(input.len());
                input.splice(over, piece);
            }
            8 => input.truncate(at),
            _ => {
                let fresh: Vec<u8> = (0..self.below(9)).map(|_| self.below(256) as u8).collect();
                let to = self.below(input.len() + 1);
                input.splice(to..to, fresh);
            }
        }
    }
}
