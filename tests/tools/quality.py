#!/usr/bin/env python3
"""Speech quality of recordings against what was spoken: PESQ wide-band, on request STOI. JSON out.

Give pairs: REF DEG [REF DEG ...]. Both are resampled to 16 kHz; the recording is aligned with the
reference by cross-correlation and cut to its length, so it may begin earlier or later, be longer,
or repeat the reference (the stretch that fits best is taken).

Output: {"pairs": [{"reference", "recording", "lag_ms", "correlation", "compared_seconds", "pesq_wb",
"stoi"}], "pesq_wb_mean", "pesq_wb_min", "stoi_mean"}. lag_ms is how much later a sound stands in
the recording than in the reference. A correlation below 0.5 means that this is not that voice, or
not that voice alone; a score is printed all the same.
"""

import argparse
import json
import statistics

import numpy as np
import pesq
import pystoi
from scipy.signal import correlate

import pcm

RATE_HZ = 16_000


def align(reference, recording):
    """(lag in samples, correlation 0..1) of the reference's best place in the recording.

    The place is that of the greatest correlation coefficient against the stretch it would be
    compared with, so that a loud passage elsewhere does not win by its loudness.
    """
    padded = np.concatenate([np.zeros(len(reference)), recording, np.zeros(len(reference))])
    products = correlate(padded, reference, mode="valid", method="fft")
    energy = np.concatenate([[0.0], np.cumsum(padded**2)])
    stretch = energy[len(reference) :] - energy[: -len(reference)]
    floor = 0.05 * stretch.max()
    fit = products / np.sqrt(np.maximum(stretch, floor + 1e-12) * (reference**2).sum())
    best = int(np.argmax(fit))
    return best - len(reference), float(fit[best])


def cut(reference, recording, lag):
    """The parts of both that exist in both, lag taken out."""
    first = max(0, -lag)
    last = min(len(reference), len(recording) - lag)
    return reference[first:last], recording[first + lag : last + lag]


def compare(reference, recording, with_stoi=False):
    """One entry of "pairs", without the names. Both at 16 kHz. Raises ValueError if they cannot be compared."""
    if not np.any(reference):
        raise ValueError("the reference is silent")
    if not np.any(recording):
        raise ValueError("the recording is silent")
    lag, correlation = align(reference, recording)
    reference, recording = cut(reference, recording, lag)
    if len(reference) < RATE_HZ:
        raise ValueError(f"only {len(reference) / RATE_HZ:.2f} s of the recording overlap with the reference")
    result = {
        "lag_ms": round(1000 * lag / RATE_HZ, 2),
        "correlation": round(correlation, 3),
        "compared_seconds": round(len(reference) / RATE_HZ, 2),
        "pesq_wb": round(float(pesq.pesq(RATE_HZ, pcm.to_int16(reference), pcm.to_int16(recording), "wb")), 3),
    }
    if with_stoi:
        result["stoi"] = round(float(pystoi.stoi(reference, recording, RATE_HZ)), 4)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", metavar="REF DEG", help="reference and recording, once or several times")
    parser.add_argument("--stoi", action="store_true", help="intelligibility as well")
    arguments = parser.parse_args()
    if len(arguments.files) % 2:
        parser.error("files come in pairs: a reference and a recording")
    pairs = []
    for reference, recording in zip(arguments.files[::2], arguments.files[1::2]):
        try:
            scores = compare(pcm.read_at(reference, RATE_HZ), pcm.read_at(recording, RATE_HZ), arguments.stoi)
        except (ValueError, OSError, pesq.PesqError) as error:
            parser.exit(1, f"{reference} against {recording}: {error}\n")
        pairs.append({"reference": reference, "recording": recording, **scores})
    scores = [pair["pesq_wb"] for pair in pairs]
    result = {"pairs": pairs, "pesq_wb_mean": round(statistics.mean(scores), 3), "pesq_wb_min": min(scores)}
    if arguments.stoi:
        result["stoi_mean"] = round(statistics.mean(pair["stoi"] for pair in pairs), 4)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
