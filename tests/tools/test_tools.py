"""Tests of the tools themselves, because an unchecked instrument proves nothing.

Run: target/venv/bin/python -m pytest tests/tools
"""

import asyncio
import contextlib
import io
import json
import pathlib
import sys
import tempfile
import unittest
from unittest import mock

import numpy as np

import aiortc_client
import glitch
import goertzel
import opus_leg
import pcm
import presence
import quality
import tone
import trial

RATE_HZ = 48_000
FIXTURES = pathlib.Path(__file__).resolve().parents[2] / "fixtures"


def damaged(samples, spots, damage):
    """Applies `damage(samples, spot)` at each spot, the last first, so that earlier positions stay valid."""
    for spot in sorted(spots, reverse=True):
        samples = damage(samples, spot)
    return samples


def gap(length):
    return lambda x, at: np.concatenate([x[:at], np.zeros(length), x[at + length :]])


def removal(length):
    return lambda x, at: np.concatenate([x[:at], x[at + length :]])


def repeat(length):
    return lambda x, at: np.concatenate([x[:at], x[at - length : at], x[at:]])


def replay(length):
    """Replaces the next samples by the last `length` ones, so that the stream's clock is unchanged."""
    return lambda x, at: np.concatenate([x[:at], x[at - length : at], x[at + length :]])


def swap(length):
    return lambda x, at: np.concatenate([x[:at], x[at + length : at + 2 * length], x[at : at + length], x[at + 2 * length :]])


def click(height):
    return lambda x, at: np.concatenate([x[:at], [height], x[at + 1 :]])


def clip(length, share):
    def damage(x, at):
        ceiling = share * np.abs(x).max()
        return np.concatenate([x[:at], np.clip(x[at : at + length], -ceiling, ceiling), x[at + length :]])

    return damage


DAMAGES = {
    "gap 1.25 ms": gap(60),
    "gap 20 ms": gap(960),
    **{f"{length} samples removed": removal(length) for length in (5, 8, 13, 26, 40, 240, 960)},
    **{f"repeat {length / 48:g} ms": repeat(length) for length in (120, 240, 480, 960)},
    **{f"replay {length / 48:g} ms": replay(length) for length in (120, 240, 480, 960)},
    "swap 5 ms": swap(240),
    "swap 20 ms": swap(960),
    "click": click(0.6),
    "clipped to 0.7 for 10 ms": clip(480, 0.7),
}


class Glitch(unittest.TestCase):
    def setUp(self):
        rng = np.random.default_rng(925)
        # 40 spots, 0.25 s apart, each at a random phase of the tone.
        self.spots = (np.arange(40) * 0.25 * RATE_HZ + 1.5 * RATE_HZ + rng.integers(0, 960, 40)).astype(int)

    def analyse(self, samples, **options):
        return glitch.analyse(samples, RATE_HZ, 925.0, **{"skip": 0.5, **options})

    def test_clean_tone_has_no_events(self):
        for freq_hz in (925.0, 921.3, 440.0, 1503.7):
            result = glitch.analyse(pcm.sine(freq_hz, 10), RATE_HZ, freq_hz, skip=0.5)
            self.assertEqual(result["events"], [])
            self.assertAlmostEqual(result["measured_freq_hz"], freq_hz, places=1)

    def test_quiet_16_bit_tone_has_no_events(self):
        tone_16 = pcm.to_int16(pcm.sine(925, 5, level_db=-50)) / 32767
        self.assertEqual(self.analyse(tone_16)["count"], 0)

    def test_opus_adds_no_events_once_it_has_settled(self):
        for bitrate_bps in (16_000, 24_000, 32_000, 48_000, 64_000):
            for legs in (1, 2):
                coded = opus_leg.coded(pcm.sine(925, 12), bitrate_bps, legs=legs)
                with self.subTest(bitrate_bps=bitrate_bps, legs=legs):
                    self.assertEqual(self.analyse(coded, skip=3.0)["events"], [])

    def test_clock_drift_is_no_event(self):
        for ppm in (-5_000, -200, 200, 5_000):
            self.assertEqual(self.analyse(pcm.sine(925 * (1 + ppm * 1e-6), 10))["events"], [])
        moments = np.arange(20 * RATE_HZ) / RATE_HZ
        # The pitch slides from -1000 to +1000 ppm and back within 10 s.
        wandering = 0.25 * np.sin(2 * np.pi * 925 * (moments - 1e-3 * 10 / (2 * np.pi) * np.cos(2 * np.pi * moments / 10)))
        self.assertEqual(self.analyse(wandering)["events"], [])
        # A playout that catches up plays faster from one sample on, and a second later as before.
        rates = np.where((moments > 5) & (moments < 6), 1 + 2_000e-6, 1.0)
        self.assertEqual(self.analyse(0.25 * np.sin(2 * np.pi * 925 * np.cumsum(rates) / RATE_HZ))["events"], [])

    def test_slow_fade_is_no_event(self):
        fading = pcm.sine(925, 10) * np.interp(np.arange(10 * RATE_HZ), [0, 5 * RATE_HZ, 10 * RATE_HZ], [1.0, 0.7, 1.0])
        self.assertEqual(self.analyse(fading)["events"], [])

    def test_each_kind_of_damage_is_found_once(self):
        for name, damage in DAMAGES.items():
            with self.subTest(damage=name):
                result = self.analyse(damaged(pcm.sine(925, 13), self.spots, damage))
                self.assertEqual(result["count"], len(self.spots), result["worst"])

    def test_damage_between_two_opus_legs_is_found(self):
        for name in ("gap 20 ms", "26 samples removed", "960 samples removed", "repeat 10 ms", "replay 20 ms", "swap 20 ms"):
            first_leg = opus_leg.coded(pcm.sine(925, 14), 32_000)
            second_leg = opus_leg.coded(damaged(first_leg, self.spots[10:] + RATE_HZ // 2, DAMAGES[name]), 32_000)
            with self.subTest(damage=name):
                self.assertEqual(self.analyse(second_leg, skip=3.5)["count"], 30)

    def test_repeated_frame_is_invisible_at_1000_hz(self):
        tone_1000 = damaged(pcm.sine(1000, 13), (self.spots // 48) * 48, replay(960))
        self.assertEqual(glitch.analyse(tone_1000, RATE_HZ, 1000, skip=0.5)["count"], 0)

    def test_event_has_the_position_of_the_damage(self):
        result = self.analyse(damaged(pcm.sine(925, 5), [2 * RATE_HZ], gap(960)))
        (event,) = result["events"]
        self.assertAlmostEqual(event["at_seconds"], 2.0, delta=0.006)
        self.assertAlmostEqual(event["until_seconds"], 2.02, delta=0.02)
        self.assertIn("missing", event["kinds"])

    def test_silence_around_the_tone_is_not_analysed(self):
        silence = np.zeros(RATE_HZ)
        result = self.analyse(np.concatenate([silence, pcm.sine(925, 4), silence]))
        self.assertEqual(result["count"], 0)
        self.assertAlmostEqual(result["from_seconds"], 1.5, delta=0.01)

    def test_recording_without_a_tone_is_an_error(self):
        for samples in (np.zeros(RATE_HZ), pcm.sine(925, 0.5)):
            with self.assertRaises(ValueError):
                self.analyse(samples)


class Goertzel(unittest.TestCase):
    def test_level_of_each_tone_is_independent_of_the_others(self):
        mix = pcm.sine(613.7, 5, level_db=-12) + pcm.sine(925, 5, level_db=-40)
        result = goertzel.measure(mix, RATE_HZ, [613.7, 925, 1471.3])
        levels = [frequency["level_db"] for frequency in result["frequencies"]]
        self.assertAlmostEqual(levels[0], -12, delta=0.05)
        self.assertAlmostEqual(levels[1], -40, delta=0.05)
        self.assertLess(levels[2], -110)

    def test_windows_show_when_a_tone_is_present(self):
        late = np.concatenate([np.zeros(2 * RATE_HZ), pcm.sine(925, 2, level_db=-20)])
        (frequency,) = goertzel.measure(late, RATE_HZ, [925], window_seconds=0.2)["frequencies"]
        self.assertLess(frequency["windows_db"][0], -100)
        self.assertAlmostEqual(frequency["windows_db"][-1], -20, delta=0.1)
        self.assertAlmostEqual(frequency["window_max_db"], -20, delta=0.1)

    def test_full_scale_runs_are_counted(self):
        self.assertEqual(goertzel.longest_full_scale_run(np.array([0, 1, -1, 1, 0, 1, 1, 0.99])), 3)
        self.assertEqual(goertzel.longest_full_scale_run(np.zeros(4)), 0)

    def test_too_short_recording_is_an_error(self):
        with self.assertRaises(ValueError):
            goertzel.measure(np.zeros(100), RATE_HZ, [925])

    def test_command_prints_json(self):
        with tempfile.TemporaryDirectory() as folder:
            path = f"{folder}/tone.wav"
            with mock.patch.object(sys, "argv", ["tone.py", path, "--freq", "925", "--seconds", "3"]):
                tone.main()
            printed = io.StringIO()
            with mock.patch.object(sys, "argv", ["goertzel.py", path, "--freqs", "925"]), contextlib.redirect_stdout(printed):
                goertzel.main()
        self.assertAlmostEqual(json.loads(printed.getvalue())["frequencies"][0]["level_db"], -12, delta=0.05)


class Tone(unittest.TestCase):
    def test_repeated_tone_has_no_audible_seam(self):
        for freq_hz in (925.0, 613.7, 1234.5, 440.123):
            once = tone.seamless(freq_hz, 4)
            result = glitch.analyse(np.concatenate([once] * 4), RATE_HZ, freq_hz, skip=0.5)
            self.assertEqual(result["count"], 0, freq_hz)
            self.assertLess(result["worst"]["phase_rad"], 0.02)


class Quality(unittest.TestCase):
    def setUp(self):
        self.voice = pcm.read_at(FIXTURES / "voices/human-it-male.wav", quality.RATE_HZ)

    def test_reference_compared_with_itself_scores_highest(self):
        result = quality.compare(self.voice, self.voice)
        self.assertGreater(result["pesq_wb"], 4.6)
        self.assertEqual(result["lag_ms"], 0.0)

    def test_lag_is_found_and_removed(self):
        late = np.concatenate([np.zeros(round(0.8125 * quality.RATE_HZ)), 0.5 * self.voice, np.zeros(5000)])
        result = quality.compare(self.voice, late)
        self.assertAlmostEqual(result["lag_ms"], 812.5, delta=0.1)
        self.assertGreater(result["pesq_wb"], 4.6)

    def test_recording_that_starts_late_or_repeats_is_aligned(self):
        repeated = np.concatenate([self.voice[100_000:], self.voice, self.voice[:50_000]])
        result = quality.compare(self.voice, repeated)
        self.assertGreater(result["pesq_wb"], 4.5)

    def test_two_opus_legs_score_as_calibrated(self):
        voice = pcm.resampled(self.voice, quality.RATE_HZ, RATE_HZ)
        scores = [
            quality.compare(self.voice, pcm.resampled(opus_leg.coded(voice, bitrate_bps, legs=2), RATE_HZ, quality.RATE_HZ))["pesq_wb"]
            for bitrate_bps in (12_000, 24_000, 48_000)
        ]
        self.assertEqual(scores, sorted(scores))
        self.assertGreater(scores[2], 3.7)

    def test_another_voice_has_a_low_correlation(self):
        other = pcm.read_at(FIXTURES / "voices/human-fr-female.wav", quality.RATE_HZ)
        self.assertLess(quality.compare(self.voice, other)["correlation"], 0.3)

    def test_pairs_are_scored_in_order_and_an_unusable_pair_is_named(self):
        voice, other = FIXTURES / "voices/human-it-male.wav", FIXTURES / "voices/human-fr-female.wav"
        result = json.loads(self.printed([voice, voice, voice, other, other, other]))
        self.assertEqual([pair["correlation"] > 0.5 for pair in result["pairs"]], [True, False, True])
        self.assertEqual([pair["recording"] for pair in result["pairs"]], [str(voice), str(other), str(other)])
        with tempfile.TemporaryDirectory() as folder:
            silent = pathlib.Path(folder, "silent.wav")
            pcm.write(silent, RATE_HZ, np.zeros(RATE_HZ))
            said = io.StringIO()
            with contextlib.redirect_stderr(said), self.assertRaises(SystemExit) as ended:
                self.printed([voice, voice, voice, silent])
        self.assertEqual(ended.exception.code, 1)
        self.assertIn("silent.wav: the recording is silent", said.getvalue())

    def printed(self, files):
        printed = io.StringIO()
        with mock.patch.object(sys, "argv", ["quality.py", *map(str, files)]), contextlib.redirect_stdout(printed):
            quality.main()
        return printed.getvalue()


class Trial(unittest.TestCase):
    def test_each_run_has_its_own_seed(self):
        seeds = trial.seeds_of(None, 4) + trial.seeds_of(None, 4)
        self.assertEqual(len(set(seeds)), 8)

    def test_given_seed_is_incremented_for_each_run(self):
        self.assertEqual(trial.seeds_of("7", 3), [7, 8, 9])


class Presence(unittest.TestCase):
    def setUp(self):
        self.voices = {path.stem: pcm.read_at(path, RATE_HZ) for path in sorted((FIXTURES / "voices").glob("*.wav"))}

    def levels(self, recording):
        heard = presence.banded(pcm.resampled(recording, RATE_HZ, presence.RATE_HZ))
        return {
            name: presence.find(presence.banded(pcm.resampled(voice, RATE_HZ, presence.RATE_HZ)), heard)[1]
            for name, voice in self.voices.items()
        }

    def test_other_voices_are_found_after_two_opus_legs(self):
        for own in self.voices:
            mix = np.zeros(26 * RATE_HZ)
            for number, (name, voice) in enumerate(self.voices.items()):
                if name != own:
                    mix[number * 1234 :][: len(voice)] += opus_leg.coded(voice, 32_000)
            levels = self.levels(opus_leg.coded(mix, 32_000))
            self.assertLess(levels.pop(own), -20.0, own)
            self.assertGreater(min(levels.values()), -4.0, own)

    def test_quiet_residue_of_the_own_voice_is_found(self):
        mix = self.voices["human-fr-female"].copy()
        own = self.voices["human-it-male"][: len(mix)]
        self.assertAlmostEqual(self.levels(mix + 0.2 * own)["human-it-male"], -14.0, delta=1.5)

    def test_no_voice_is_found_in_silence(self):
        self.assertLess(max(self.levels(np.zeros(10 * RATE_HZ)).values()), -100.0)


class AiortcClient(unittest.TestCase):
    def test_player_ends_in_silence_or_repeats_the_file(self):
        ramp = np.arange(1500) / 1500
        once, again = aiortc_client.Player(ramp, repeat=False), aiortc_client.Player(ramp, repeat=True)
        self.assertEqual(once.frame_at(0).tolist(), again.frame_at(0).tolist())
        self.assertEqual(once.frame_at(1)[540:].tolist(), [0] * 420)
        self.assertEqual(again.frame_at(1)[540:].tolist(), pcm.to_int16(ramp[:420]).tolist())
        self.assertEqual(once.frame_at(7).tolist(), [0] * 960)

    def test_recorder_keeps_the_duration_of_pauses(self):
        recorder = aiortc_client.Recorder(limit_seconds=1)
        half = np.full(960, 0.5, np.float32)
        # 20 ms, a pause of 60 ms, 20 ms, and a timestamp an hour ahead.
        asyncio.run(recorder.run(FakeTrack([(96_000, half), (99_840, half), (96_000 + 3600 * RATE_HZ, half)])))
        heard = recorder.samples()
        self.assertEqual(len(heard), 4_800)
        self.assertEqual(np.flatnonzero(heard)[[0, 959, 960, -1]].tolist(), [0, 959, 3_840, 4_799])

    def test_recorder_keeps_levels(self):
        player = aiortc_client.Player(np.full(960, 0.5), repeat=False)
        said = asyncio.run(player.recv())
        self.assertEqual(said.layout.name, "stereo")
        recorder = aiortc_client.Recorder(limit_seconds=1)
        asyncio.run(recorder.run(FakeTrack([said])))
        np.testing.assert_allclose(recorder.samples(), np.full(960, 0.5), atol=1e-4)

    def test_missing_event_has_no_time(self):
        self.assertIsNone(aiortc_client.since(1.0, None))
        self.assertEqual(aiortc_client.since(1.0, 1.2345), 234.5)

    def test_loopback_url_is_recognised(self):
        for url, expected in (("http://127.0.0.1:80/x", True), ("https://[::1]/", True), ("http://localhost/", True), ("http://192.0.2.1/", False)):
            self.assertEqual(aiortc_client.is_loopback(url), expected, url)

    def test_refused_connection_is_reported(self):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            code = aiortc_client.main(["http://127.0.0.1:9/", "--seconds", "1"])
        self.assertEqual(code, 1)
        self.assertFalse(json.loads(printed.getvalue())["ok"])


class FakeTrack:
    """Frames as aiortc's decoder returns them; mono ones may be given as (pts at 48 kHz, samples)."""

    def __init__(self, frames):
        self.frames = list(frames)

    async def recv(self):
        if not self.frames:
            raise aiortc_client.MediaStreamError
        frame = self.frames.pop(0)
        if isinstance(frame, aiortc_client.av.AudioFrame):
            return frame
        pts, samples = frame
        frame = aiortc_client.av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="flt", layout="mono")
        frame.sample_rate, frame.pts = RATE_HZ, pts
        return frame


if __name__ == "__main__":
    unittest.main()
