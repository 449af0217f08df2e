#!/usr/bin/env python3
"""Measures the levels of given frequencies in a recording; prints JSON.

A level is the amplitude of the sine at that frequency in dBFS (0 dBFS is a full-scale sine), per
window and as the power mean over all windows. The windows are Hann windows, half overlapping: two
tones are told apart from 4 Hz / window-seconds on, and one leaks less than -90 dB into what is
30 Hz / window-seconds away. A short window shows when something happened, a long one sees deeper
into the codec's noise. To prove a tone present take the median window, absent the loudest: a
playout that corrects its delay by playing 2,000 ppm faster moves 1,471 Hz by 3 Hz for a second or
two, and a window of 1 s then reads 14 dB too little.

Output: {"file", "rate_hz", "measured_seconds", "peak_db", "rms_db", "full_scale_run",
"frequencies": [{"freq_hz", "level_db", "window_min_db", "window_median_db", "window_max_db",
"windows_db": [...]}]}. full_scale_run is the longest run of samples at full scale.
"""

import argparse
import json

import numpy as np

import pcm


def level_db(samples, rate_hz, freq_hz):
    """Returns the amplitude of the sine at freq_hz in dBFS, Hann-windowed: one frequency of a Fourier
    transform, which Goertzel's recursion computes as well."""
    window = np.hanning(len(samples))
    turns = np.exp(-2j * np.pi * freq_hz / rate_hz * np.arange(len(samples)))
    return pcm.decibels(2.0 * np.abs(np.dot(samples * window, turns)) / window.sum())


def windows(samples, length):
    """Returns half-overlapping windows of `length` samples; a remainder at the end is dropped."""
    return [samples[start : start + length] for start in range(0, len(samples) - length + 1, max(1, length // 2))]


def longest_full_scale_run(samples):
    """Returns the longest run of samples at full scale: 3 or more mean clipping."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], np.abs(samples) >= 32767 / 32768, [0]))))
    return int((edges[1::2] - edges[::2]).max(initial=0))


def measure(samples, rate_hz, freqs_hz, window_seconds=1.0, skip=0.0, skip_end=0.0):
    """Returns the output described above, without the file's name."""
    samples = samples[round(skip * rate_hz) : len(samples) - round(skip_end * rate_hz)]
    length = round(window_seconds * rate_hz)
    if len(samples) < length:
        raise ValueError(f"{len(samples) / rate_hz:.2f} s are left to measure, one window takes {window_seconds:.2f} s")
    frequencies = []
    for freq_hz in freqs_hz:
        series = [level_db(window, rate_hz, freq_hz) for window in windows(samples, length)]
        frequencies.append(
            {
                "freq_hz": freq_hz,
                "level_db": round(10 * float(np.log10(np.mean(10 ** (np.array(series) / 10)))), 2),
                "window_min_db": round(min(series), 2),
                "window_median_db": round(float(np.median(series)), 2),
                "window_max_db": round(max(series), 2),
                "windows_db": [round(level, 1) for level in series],
            }
        )
    return {
        "rate_hz": rate_hz,
        "measured_seconds": round(len(samples) / rate_hz, 3),
        "peak_db": round(pcm.decibels(np.abs(samples).max()), 2),
        "rms_db": round(pcm.decibels(np.sqrt((samples**2).mean())), 2),
        "full_scale_run": longest_full_scale_run(samples),
        "frequencies": frequencies,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", help="recording: WAV or anything FFmpeg decodes")
    parser.add_argument("--freqs", type=float, nargs="+", required=True, metavar="HZ", help="frequencies to measure")
    parser.add_argument("--window", type=float, default=1.0, help="window in seconds (default 1)")
    parser.add_argument("--skip", type=float, default=0.0, help="seconds left out at the start (default 0)")
    parser.add_argument("--skip-end", type=float, default=0.0, help="seconds left out at the end (default 0)")
    parser.add_argument("--channel", type=int, help="measure this channel (default: the mean of all)")
    parser.add_argument("--no-windows", action="store_true", help="leave the series per window out")
    arguments = parser.parse_args()
    rate_hz, samples = pcm.read(arguments.file, arguments.channel)
    try:
        result = measure(samples, rate_hz, arguments.freqs, arguments.window, arguments.skip, arguments.skip_end)
    except ValueError as error:
        parser.error(f"{arguments.file}: {error}")
    if arguments.no_windows:
        for frequency in result["frequencies"]:
            del frequency["windows_db"]
    print(json.dumps({"file": arguments.file, **result}))


if __name__ == "__main__":
    main()
