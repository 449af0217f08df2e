use super::*;

const TICKS: [TickLength; 2] = [TickLength::Ms10, TickLength::Ms20];

/// A voice that is a function of the position, and never zero.
fn voice(at: u64) -> f32 {
    0.1 + (at % 7_919) as f32 / 10_000.0
}

fn sources(id: u32) -> Sources {
    let mut sources = Sources::default();
    sources.push(ParticipantId(id), Level::from_wire(20));
    sources
}

struct Pair {
    feed_writer: FeedWriter,
    reader: FeedReader,
    frame: Frame,
}

impl Pair {
    fn new(tick: TickLength) -> Pair {
        let feed = Arc::new(Feed::new(Layout::Mono, tick));
        let feed_writer = FeedWriter::new(feed.clone(), Layout::Mono, tick);
        let mut feed_writer = feed_writer.expect("made for it");
        // Nobody speaks yet.
        feed_writer.write_tick(0, None);
        Pair {
            feed_writer,
            reader: FeedReader::new(feed),
            frame: Frame::new(Layout::Mono, tick),
        }
    }

    fn write_tick(&mut self, at: u64) {
        for (position, sample) in (at..).zip(self.frame.samples_mut()) {
            *sample = voice(position);
        }
        self.feed_writer
            .write_tick(at, Some((&self.frame, &sources(7))));
    }

    fn hear(&mut self, at: u64, tick: TickLength) -> (bool, Vec<f32>) {
        let mut pcm = vec![0.0; tick.samples()];
        let place = TickSpan { at, tick };
        let is_heard = self.reader.advance(place);
        self.reader.read(place, is_heard, &mut pcm);
        (is_heard, pcm)
    }
}

#[test]
fn feed_gives_every_sample_once_at_all_phases_and_tick_lengths() {
    for writes in TICKS {
        for reads in TICKS {
            for phase in 0..reads.slots() as u64 {
                for writer_first in [true, false] {
                    check_pair(writes, reads, phase, writer_first);
                }
            }
        }
    }
}

fn check_pair(writes: TickLength, reads: TickLength, phase: u64, writer_first: bool) {
    let mut pair = Pair::new(writes);
    let mut heard = Vec::new();
    let (first, last) = (4_000u64, 4_000 + 8 * 40);
    for slot in first..last + 80 {
        let at = slot * 120;
        let spoken = slot < last && (slot - first).is_multiple_of(writes.slots() as u64);
        let silent = slot >= last && (slot - first).is_multiple_of(writes.slots() as u64);
        let write_tick = |pair: &mut Pair| {
            if spoken {
                pair.write_tick(at);
            } else if silent {
                pair.feed_writer.write_tick(at, None);
            }
        };
        if writer_first {
            write_tick(&mut pair);
        }
        if slot % reads.slots() as u64 == phase {
            heard.extend(pair.hear(at, reads).1);
        }
        if !writer_first {
            write_tick(&mut pair);
        }
    }
    let start = heard.iter().position(|&sample| sample != 0.0);
    let start = start.expect("it was heard");
    let spoken: Vec<f32> = (first * 120..last * 120).map(voice).collect();
    let got = &heard[start..][..spoken.len()];
    assert_eq!(got, spoken, "{writes:?} {reads:?} {phase} {writer_first}");
    let rest = &heard[start + spoken.len()..];
    assert!(rest.iter().all(|&sample| sample == 0.0));
}

#[test]
fn feed_run_keeps_its_beginning_when_the_writer_is_always_late() {
    for writes in TICKS {
        for reads in TICKS {
            for phase in 0..reads.slots() as u64 {
                for late in 0..8 {
                    check_late(writes, reads, phase, late);
                }
            }
        }
    }
}

/// Writes runs of 200 ms with pauses between them, each tick `late` slots after its time and after
/// the reader.
fn check_late(writes: TickLength, reads: TickLength, phase: u64, late: u64) {
    let mut pair = Pair::new(writes);
    let (mut heard, mut spoken) = (Vec::new(), Vec::new());
    let (first, run_slots, runs) = (4_000u64, 80, 5);
    for slot in first..first + runs * 2 * run_slots {
        if slot % reads.slots() as u64 == phase {
            heard.push(pair.hear(slot * 120, reads).1);
        }
        let Some(due) = (slot - first).checked_sub(late) else {
            continue;
        };
        if !due.is_multiple_of(writes.slots() as u64) {
            continue;
        }
        let at = (first + due) * 120;
        if due / run_slots % 2 == 0 {
            pair.write_tick(at);
            spoken.extend((at..at + writes.samples() as u64).map(voice));
        } else {
            pair.feed_writer.write_tick(at, None);
        }
    }
    let heard = heard.concat();
    let mut bursts = 0;
    let mut before = 0.0;
    for &sample in &heard {
        bursts += u64::from(before == 0.0 && sample != 0.0);
        before = sample;
    }
    let what = format!("{writes:?} {reads:?}, phase {phase}, {late} slots late");
    assert_eq!(bursts, runs, "{what}");
    let sounds = heard.into_iter().filter(|&sample| sample != 0.0);
    assert!(sounds.eq(spoken), "{what}");
}

#[test]
fn feed_reader_that_joins_mid_run_hears_a_late_writer_within_two_ticks() {
    for late in 0..8 {
        let mut pair = Pair::new(TickLength::Ms20);
        let mut silent = 0;
        for slot in 4_000u64..4_800 {
            if slot >= 4_400 && slot % 8 == 1 {
                let (_, pcm) = pair.hear(slot * 120, TickLength::Ms20);
                silent += usize::from(pcm.iter().all(|&sample| sample == 0.0));
            }
            if (slot - late).is_multiple_of(8) {
                pair.write_tick((slot - late) * 120);
            }
        }
        assert!(silent <= 1, "{late} slots late: {silent} ticks");
    }
}

#[test]
fn feed_writer_ramps_up_a_voice_that_starts_after_a_gap() {
    let mut pair = Pair::new(TickLength::Ms20);
    let begin = |pair: &mut Pair, turn: u64| {
        pair.write_tick(turn * 960);
        let feed = pair.reader.feed().clone();
        let mut pcm = [0.0; 960];
        feed.read(&feed.extent(), turn * 960, &mut pcm);
        assert_eq!(
            pcm[48..],
            (turn * 960..).map(voice).take(960).collect::<Vec<_>>()[48..]
        );
        pcm[0] / voice(turn * 960)
    };
    assert_eq!(begin(&mut pair, 100), 1.0, "after silence");
    assert_eq!(begin(&mut pair, 101), 1.0, "it goes on");
    assert_eq!(begin(&mut pair, 103), 1.0 / 48.0, "a tick was left out");
    assert_eq!(begin(&mut pair, 104), 1.0);
    pair.feed_writer.write_tick(105 * 960, None);
    assert_eq!(begin(&mut pair, 107), 1.0, "left out in a pause");
    let feed = pair.feed_writer.into_feed();
    let feed_writer = FeedWriter::new(feed, Layout::Mono, TickLength::Ms20);
    pair.feed_writer = feed_writer.expect("made for it");
    assert_eq!(begin(&mut pair, 108), 1.0 / 48.0, "given in the middle");
}

#[test]
fn feed_reader_fades_and_waits_when_the_writer_becomes_late() {
    let tick = TickLength::Ms20;
    let mut pair = Pair::new(tick);
    let tone = |at: u64| (std::f64::consts::TAU * 931.7 * at as f64 / 48_000.0).sin() as f32;
    let mut heard = Vec::new();
    for turn in 400..600u64 {
        // The reader's tick is a slot after the writer's. From tick 511 on the writer comes after
        // the reader every time; the tone does not cross zero there.
        let writer_at = turn * 960;
        let write = |pair: &mut Pair| {
            for (position, sample) in (writer_at..).zip(pair.frame.samples_mut()) {
                *sample = tone(position);
            }
            pair.feed_writer
                .write_tick(writer_at, Some((&pair.frame, &sources(7))));
        };
        if turn < 511 {
            write(&mut pair);
        }
        heard.extend(pair.hear(writer_at + 120, tick).1);
        if turn >= 511 {
            write(&mut pair);
        }
    }
    let steps = heard.windows(2).map(|pair| (pair[1] - pair[0]).abs());
    let steepest = steps.fold(0.0f32, f32::max);
    // The tone itself rises by 0.121 a sample.
    assert!(steepest < 0.15, "a step of {steepest}");
    let end = &heard[heard.len() - 960 * 85..];
    assert!(
        end.chunks(60)
            .all(|part| part.iter().any(|it| it.abs() > 0.5))
    );
}

#[test]
fn feed_read_of_overwritten_samples_is_silence() {
    let mut pair = Pair::new(TickLength::Ms20);
    for turn in 100..110 {
        pair.write_tick(turn * 960);
    }
    let feed = pair.reader.feed().clone();
    let seen = Extent {
        begin: 100 * 960,
        voiced: 110 * 960,
        end: 110 * 960,
    };
    let mut pcm = [1.0; 960];
    assert_eq!(feed.read(&seen, 101 * 960, &mut pcm), 0..0);
    assert!(pcm.iter().all(|&sample| sample == 0.0));
    assert_eq!(feed.read(&seen, 105 * 960, &mut pcm), 0..960);
    assert_eq!(pcm[5], voice(105 * 960 + 5));
    // The writer has claimed the next ticks, but not written them yet.
    feed.claimed.store(120 * 960, Relaxed);
    assert_eq!(feed.read(&seen, 105 * 960, &mut pcm), 0..0);
    assert!(feed.sources(&seen).is_none());
}

#[test]
fn feed_carries_the_ids_and_levels_of_its_voices() {
    let mut pair = Pair::new(TickLength::Ms20);
    pair.write_tick(96_000);
    assert!(pair.hear(96_240, TickLength::Ms20).0);
    assert_eq!(pair.reader.sources().ids(), [7]);
    assert_eq!(pair.reader.sources().levels(), [20]);
}

#[test]
fn feed_reader_thread_never_reads_a_tick_that_is_being_written() {
    let feed = Arc::new(Feed::new(Layout::Stereo, TickLength::Ms10));
    let feed_writer = FeedWriter::new(feed.clone(), Layout::Stereo, TickLength::Ms10);
    let mut feed_writer = feed_writer.expect("made for it");
    feed_writer.write_tick(0, None);
    #[expect(clippy::disallowed_methods, reason = "a test may have threads")]
    let writer = std::thread::spawn(move || {
        let mut frame = Frame::new(Layout::Stereo, TickLength::Ms10);
        for turn in 1..40_000u64 {
            frame.samples_mut().fill(turn as f32);
            feed_writer.write_tick(turn * 480, Some((&frame, &sources(turn as u32))));
        }
    });
    let mut pcm = [0.0; 960];
    let mut whole = 0;
    while !writer.is_finished() {
        let seen = feed.extent();
        let Some(from) = seen.end.checked_sub(4 * 480) else {
            continue;
        };
        let there = feed.read(&seen, from, &mut pcm);
        if there == (0..480) {
            whole += 1;
            let turn = from / 480;
            assert!(pcm.iter().all(|&sample| sample == turn as f32));
        }
        if let Some(sources) = feed.sources(&seen)
            && seen.end > 480
        {
            assert_eq!(u64::from(sources.ids()[0]), seen.end / 480 - 1);
        }
    }
    writer.join().expect("it does not panic");
    assert!(whole > 100, "{whole}");
}
