#!/usr/bin/env python3
"""Writes a sine as a 16-bit mono WAV file, for a fake microphone or `mixminus join --play`.

The default level and length suit a browser's fake microphone, which repeats the file: the length
is cut to whole periods, so that the seam cannot be heard.
"""

import argparse

import numpy as np

import pcm


def seamless(freq_hz, seconds, rate_hz=48_000, level_db=-12.0):
    """Returns a sine that can be repeated without a step: as long as possible within `seconds`, at most 2 s
    shorter, ending on a whole period (to the nearest sample)."""
    longest = round(seconds * rate_hz)
    lengths = np.arange(longest, max(1, longest - 2 * rate_hz) - 1, -1)
    periods = lengths * freq_hz / rate_hz
    from_whole = np.abs(periods - np.rint(periods))
    best = lengths[np.argmax(from_whole <= from_whole.min() + 1e-6)]
    return pcm.sine(freq_hz, best / rate_hz, rate_hz, level_db)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", help="WAV file to write")
    parser.add_argument("--freq", type=float, required=True, help="Hz")
    parser.add_argument("--seconds", type=float, default=10.0, help="length (default 10)")
    parser.add_argument("--rate", type=int, default=48_000, help="samples per second (default 48000)")
    parser.add_argument("--level", type=float, default=-12.0, help="amplitude in dBFS (default -12)")
    arguments = parser.parse_args()
    pcm.write(arguments.file, arguments.rate, seamless(arguments.freq, arguments.seconds, arguments.rate, arguments.level))


if __name__ == "__main__":
    main()
