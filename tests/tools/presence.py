#!/usr/bin/env python3
"""Finds which of several known voices a recording contains, and at which level. Prints JSON.

Each reference is looked for at every lag by cross-correlation, in one band where speech has its
energy and codecs keep the waveform (200-3,400 Hz). Its level is that in the recording at the best
lag; 0 dB is the level of the reference. An absent voice reaches about -25 dB by chance (the best of many lags); a voice
that is present, among three others and after two Opus legs, is within 3 dB of 0. References and
recording should be 10 s or longer.

Output: {"file", "voices": [{"reference", "lag_ms", "level_db", "present"}]}; present is
level_db > --threshold.
"""

import argparse
import json

import numpy as np
from scipy.signal import butter, correlate, sosfiltfilt

import pcm

RATE_HZ = 16_000
BAND_HZ = (200.0, 3_400.0)


def banded(samples):
    """Returns the samples, limited to the band."""
    return sosfiltfilt(butter(4, BAND_HZ, "bandpass", fs=RATE_HZ, output="sos"), samples)


def find(reference, recording):
    """Returns (lag in samples, level in dB) of the reference in the recording, both limited to the band."""
    if not np.any(reference) or not np.any(recording):
        return 0, -200.0
    products = correlate(recording, reference, mode="full", method="fft")
    best = int(np.argmax(np.abs(products)))
    lag = best - (len(reference) - 1)
    heard = reference[max(0, -lag) : max(0, len(recording) - lag)]
    # Below half of an overlap the energy of the whole reference counts: a loud syllable at the edge proves nothing.
    energy = max((heard**2).sum(), 0.5 * (reference**2).sum())
    return lag, pcm.decibels(abs(products[best]) / energy)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", help="recording")
    parser.add_argument("references", nargs="+", metavar="reference", help="what each of the voices said")
    parser.add_argument("--threshold", type=float, default=-12.0, help="level from which a voice is there, dB (default -12)")
    arguments = parser.parse_args()
    recording = banded(pcm.read_at(arguments.file, RATE_HZ))
    voices = []
    for reference in arguments.references:
        lag, level_db = find(banded(pcm.read_at(reference, RATE_HZ)), recording)
        voices.append(
            {
                "reference": reference,
                "lag_ms": round(1000 * lag / RATE_HZ, 2),
                "level_db": round(level_db, 1),
                "present": level_db > arguments.threshold,
            }
        )
    print(json.dumps({"file": arguments.file, "voices": voices}))


if __name__ == "__main__":
    main()
