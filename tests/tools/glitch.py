#!/usr/bin/env python3
"""Finds damage to a steady tone: gaps, repeats, removed samples, clicks, clipping. Prints JSON.

The tone is cut into frames of 5 ms, two per frame length, and a sine is fitted to each by least
squares. Its frequency is estimated over the whole recording and then followed over half a second,
so that a slow drift of the clock is no event. An event is

- a step of the amplitude between frames 5 or 10 ms apart, below x0.7 or above x1.41,
- a step of the phase of more than 0.25 rad against the tone's own course,
- a residual of the fit of more than -22 dB against the tone.

Use 925 Hz: a repeated or dropped frame of 20 ms, 10 ms or 2.5 ms is no whole number of periods
then. At 1000 Hz it would be invisible.

The stretch from the first to the last frame with at least half the tone's median amplitude is
analysed, without --skip seconds at its start and --skip-end at its end. libopus needs up to 2 s of
a steady tone to settle on a mode, and the change from hybrid to CELT on the second of two legs turns
the phase by 0.3 rad: a real event, but one of the codec, so the default is 3 s.

Output: {"file", "freq_hz", "measured_freq_hz", "level_db", "analysed_seconds", "from_seconds",
"worst": {"phase_rad", "residual_db", "amplitude_ratio_low", "amplitude_ratio_high"},
"count", "events": [{"at_seconds", "until_seconds", "kinds": [...], "phase_rad", "residual_db",
"amplitude_ratio"}]}. Flags within 50 ms of each other are one event.

Exit code 0 whatever was found; 1 if the recording has no tone to analyse.
"""

import argparse
import json
import sys

import numpy as np
from scipy.ndimage import median_filter

import pcm

FRAME_SECONDS = 0.005
AMPLITUDE_LOW, AMPLITUDE_HIGH = 0.7, 1.41
PHASE_RAD = 0.25
RESIDUAL_DB = -22.0
MERGE_SECONDS = 0.05  # both edges of two swapped frames of 20 ms
FOLLOW_FRAMES = 201  # half a second of 2.5 ms hops: slower than any event, faster than a clock's drift


def estimate_frequency(samples, rate_hz, near_hz, span_hz=30.0):
    """Returns the frequency of the strongest spectral line within near_hz +- span_hz."""
    length = min(len(samples), 4 * rate_hz)
    middle = (len(samples) - length) // 2
    spectrum = np.abs(np.fft.rfft(samples[middle : middle + length] * np.hanning(length), 8 * length))
    lines_hz = np.fft.rfftfreq(8 * length, 1 / rate_hz)
    near = np.flatnonzero(np.abs(lines_hz - near_hz) <= span_hz)
    return float(lines_hz[near[np.argmax(spectrum[near])]])


def fit_frames(samples, rate_hz, freq_hz):
    """Returns amplitude, phase (against a steady freq_hz, not unwrapped) and residual RMS of each frame,
    and the hop in samples. There are two frames per frame length."""
    length = round(FRAME_SECONDS * rate_hz)
    hop = length // 2
    frames = np.lib.stride_tricks.sliding_window_view(samples, length)[::hop]
    turns = 2 * np.pi * freq_hz / rate_hz * np.arange(length)
    basis = np.stack([np.cos(turns), np.sin(turns)], axis=1)
    coefficients = frames @ np.linalg.pinv(basis).T
    residual = np.sqrt(((frames - coefficients @ basis.T) ** 2).mean(axis=1))
    amplitude = np.hypot(coefficients[:, 0], coefficients[:, 1])
    # x = c cos + s sin = A cos(turns + phase)
    phase = np.arctan2(-coefficients[:, 1], coefficients[:, 0])
    starts = np.arange(len(frames)) * hop
    return amplitude, wrapped(phase - 2 * np.pi * freq_hz / rate_hz * starts), residual, hop


def wrapped(angle):
    """Returns the angle within -pi..pi."""
    return np.angle(np.exp(1j * angle))


def steps(amplitude, phase, lag):
    """Returns the ratios of amplitudes and the differences of phases of frames `lag` hops apart, the phase
    against its own course over about half a second; each value belongs to the later frame."""
    ratio = np.ones_like(amplitude)
    ratio[lag:] = np.maximum(amplitude[lag:], 1e-9) / np.maximum(amplitude[:-lag], 1e-9)
    turn = np.zeros_like(phase)
    turn[lag:] = wrapped(phase[lag:] - phase[:-lag])
    turn[lag:] -= median_filter(turn[lag:], FOLLOW_FRAMES, mode="nearest")
    return ratio, wrapped(turn)


def analyse(samples, rate_hz, near_hz, skip=3.0, skip_end=0.5):
    """Returns the output described above, without the file's name. Raises ValueError if there is no tone."""
    if len(samples) < 0.5 * rate_hz:
        raise ValueError(f"{len(samples) / rate_hz:.2f} s are too short to analyse")
    freq_hz = estimate_frequency(samples, rate_hz, near_hz)
    amplitude, phase, residual, hop = fit_frames(samples, rate_hz, freq_hz)
    loud = amplitude[amplitude > 1e-4]
    if len(loud) == 0:
        raise ValueError(f"there is no tone near {near_hz:g} Hz")
    level = float(np.median(loud))
    sounding = np.flatnonzero(amplitude > 0.5 * level)
    first = sounding[0] + round(skip * rate_hz / hop)
    last = sounding[-1] - round(skip_end * rate_hz / hop)
    if (last - first) * hop < 0.5 * rate_hz:
        raise ValueError(f"less than half a second of {near_hz:g} Hz is left to analyse")
    amplitude, phase, residual = (series[first : last + 1] for series in (amplitude, phase, residual))

    flags = {"amplitude": np.zeros(len(phase), bool), "phase": np.zeros(len(phase), bool)}
    ratios, turns = np.ones(len(phase)), np.zeros(len(phase))
    for lag in (2, 4):
        ratio, turn = steps(amplitude, phase, lag)
        # Without a tone the phase means nothing; the amplitude has been flagged.
        turn[amplitude < 0.1 * level] = 0.0
        flags["amplitude"] |= (ratio < AMPLITUDE_LOW) | (ratio > AMPLITUDE_HIGH)
        flags["phase"] |= np.abs(turn) > PHASE_RAD
        ratios = np.where(np.abs(np.log(ratio)) > np.abs(np.log(ratios)), ratio, ratios)
        turns = np.where(np.abs(turn) > np.abs(turns), turn, turns)
    residual_db = 20 * np.log10(np.maximum(residual, 1e-9) / (level / np.sqrt(2)))
    flags["residual"] = residual_db > RESIDUAL_DB
    # A missing tone is one event until the tone returns.
    flags["missing"] = amplitude < 0.1 * level

    events = collect(flags, ratios, turns, residual_db, first, hop / rate_hz)
    return {
        "freq_hz": near_hz,
        "measured_freq_hz": round(freq_hz, 3),
        "level_db": round(pcm.decibels(level), 2),
        "analysed_seconds": round(len(phase) * hop / rate_hz, 3),
        "from_seconds": round(first * hop / rate_hz, 3),
        "worst": {
            "phase_rad": round(float(np.abs(turns).max()), 3),
            "residual_db": round(float(residual_db.max()), 1),
            "amplitude_ratio_low": round(float(ratios.min()), 3),
            "amplitude_ratio_high": round(float(ratios.max()), 3),
        },
        "count": len(events),
        "events": events,
    }


def collect(flags, ratios, turns, residual_db, first, hop_seconds):
    """Returns the events of the output: flagged frames, with frames less than 50 ms apart merged into one event."""
    flagged = np.flatnonzero(np.any(list(flags.values()), axis=0))
    if len(flagged) == 0:
        return []
    runs = np.split(flagged, np.flatnonzero(np.diff(flagged) * hop_seconds > MERGE_SECONDS) + 1)
    return [
        {
            "at_seconds": round((first + run[0]) * hop_seconds, 4),
            "until_seconds": round((first + run[-1]) * hop_seconds + FRAME_SECONDS, 4),
            "kinds": sorted(kind for kind, series in flags.items() if series[run].any()),
            "phase_rad": round(float(turns[run[np.argmax(np.abs(turns[run]))]]), 3),
            "residual_db": round(float(residual_db[run].max()), 1),
            "amplitude_ratio": round(float(ratios[run[np.argmax(np.abs(np.log(ratios[run])))]]), 3),
        }
        for run in runs
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", help="recording: WAV or anything FFmpeg decodes")
    parser.add_argument("--freq", type=float, default=925.0, help="the tone, Hz (default 925)")
    parser.add_argument("--skip", type=float, default=3.0, help="seconds of tone left out at the start (default 3)")
    parser.add_argument("--skip-end", type=float, default=0.5, help="seconds of tone left out at the end (default 0.5)")
    parser.add_argument("--channel", type=int, help="analyse this channel (default: the mean of all)")
    arguments = parser.parse_args()
    rate_hz, samples = pcm.read(arguments.file, arguments.channel)
    try:
        result = analyse(samples, rate_hz, arguments.freq, arguments.skip, arguments.skip_end)
    except ValueError as error:
        print(f"{arguments.file}: {error}", file=sys.stderr)
        return 1
    print(json.dumps({"file": arguments.file, **result}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
