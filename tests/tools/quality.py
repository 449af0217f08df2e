#!/usr/bin/env python3
"""Scores the speech quality of recordings against their references: wide-band PESQ, optionally STOI. Prints JSON.

Give pairs: REF DEG [REF DEG ...]. Both are resampled to 16 kHz; the recording is aligned with the
reference by cross-correlation and cut to its length, so it may begin earlier or later, be longer,
or repeat the reference (the part that fits best is used).

Output: {"pairs": [{"reference", "recording", "lag_ms", "correlation", "compared_seconds", "pesq_wb",
"stoi", "lag_changes", "lag_range_ms"}], "pesq_wb_mean", "pesq_wb_min", "stoi_mean"}. lag_ms is how much later a sound stands in
the recording than in the reference. A correlation below 0.5 means another voice, or more than
that voice; a score is printed nevertheless.

--lags follows the lag through the recording, in windows of 0.4 s that hold speech: "lag_changes" is the
number of times that it differs by more than 1 ms from the window before, "lag_range_ms" the greatest lag less
the least. A receiver that stretches or cuts within words shows here; a codec does not.
"""

import argparse
import json
import multiprocessing
import os
import statistics

import numpy as np
import pesq
import pystoi
from scipy.signal import correlate

import pcm

RATE_HZ = 16_000

# A window this far below the loudest one is a pause; a window with a lower correlation is another sound.
SPEECH_UNDER_LOUDEST_DB = -20.0
LAG_LIKENESS = 0.6
LAG_CLEARLY = 0.25


def align(reference, recording):
    """Returns (lag in samples, correlation 0..1) of the best position of the reference in the recording.

    The correlation is normalised by the part of the recording that it is compared with, so that a loud
    passage at another position does not win by its level.
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
    """Returns the parts of the reference and of the recording that overlap, with the lag removed."""
    first = max(0, -lag)
    last = min(len(reference), len(recording) - lag)
    return reference[first:last], recording[first + lag : last + lag]


def lags_ms(reference, recording):
    """Returns the lag of each window with speech that is found in the recording, in order. Both at 16 kHz and aligned."""
    window, hop, reach = (int(RATE_HZ * seconds) for seconds in (0.4, 0.1, 0.15))
    loudest = max(np.mean(reference[at : at + window] ** 2) for at in range(0, len(reference) - window + 1, hop))
    found = []
    for at in range(reach, len(reference) - window - reach + 1, hop):
        spoken = reference[at : at + window]
        if np.mean(spoken**2) < loudest * 10 ** (SPEECH_UNDER_LOUDEST_DB / 10):
            continue
        around = recording[at - reach : at + window + reach]
        if len(around) < window + 2 * reach:
            break
        products = correlate(around, spoken, mode="valid", method="fft")
        energy = np.concatenate([[0.0], np.cumsum(around**2)])
        fit = products / np.sqrt((energy[window:] - energy[:-window] + 1e-12) * (spoken**2).sum())
        best = int(np.argmax(fit))
        # A voice resembles itself a few periods later: another position counts only if it fits clearly better.
        before = round((found[-1] if found else 0.0) * RATE_HZ / 1000) + reach
        near = slice(max(0, before - RATE_HZ // 1000), before + RATE_HZ // 1000 + 1)
        nearest = near.start + int(np.argmax(fit[near]))
        best = best if fit[best] > fit[nearest] + LAG_CLEARLY else nearest
        if fit[best] > LAG_LIKENESS:
            found.append(1000.0 * (best - reach) / RATE_HZ)
    return found


def lag_changes(lags):
    """Returns how often a lag differs by more than 1 ms from the one before, and the range of all lags."""
    changes = sum(abs(after - before) > 1.0 for before, after in zip(lags, lags[1:]))
    return changes, round(max(lags) - min(lags), 2) if lags else 0.0


def compare(reference, recording, with_stoi=False, with_lags=False):
    """Returns one entry of "pairs", without the names. Both at 16 kHz. Raises ValueError if they cannot be compared."""
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
    if with_lags:
        result["lag_changes"], result["lag_range_ms"] = lag_changes(lags_ms(reference, recording))
    return result


def compare_files(reference, recording, with_stoi, with_lags):
    """Returns one entry of "pairs", which has only an "error" if the files cannot be compared."""
    try:
        scores = compare(pcm.read_at(reference, RATE_HZ), pcm.read_at(recording, RATE_HZ), with_stoi, with_lags)
    except (ValueError, OSError, pesq.PesqError) as error:
        return {"error": f"{reference} against {recording}: {error}"}
    return {"reference": reference, "recording": recording, **scores}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", metavar="REF DEG", help="reference and recording, once or several times")
    parser.add_argument("--stoi", action="store_true", help="intelligibility as well")
    parser.add_argument("--lags", action="store_true", help="changes of the lag as well")
    arguments = parser.parse_args()
    if len(arguments.files) % 2:
        parser.error("files come in pairs: a reference and a recording")
    names = list(zip(arguments.files[::2], arguments.files[1::2]))
    # PESQ takes about a second for a few seconds of speech, on one processor.
    with multiprocessing.Pool(min(len(names), os.cpu_count() or 1)) as pool:
        pairs = pool.starmap(compare_files, [(*pair, arguments.stoi, arguments.lags) for pair in names])
    for error in (pair["error"] for pair in pairs if "error" in pair):
        parser.exit(1, f"{error}\n")
    scores = [pair["pesq_wb"] for pair in pairs]
    result = {"pairs": pairs, "pesq_wb_mean": round(statistics.mean(scores), 3), "pesq_wb_min": min(scores)}
    if arguments.stoi:
        result["stoi_mean"] = round(statistics.mean(pair["stoi"] for pair in pairs), 4)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
