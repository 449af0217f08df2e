"""Reads and writes audio files for the other tools. Samples are float64, 1.0 is full scale."""

import pathlib
from fractions import Fraction

import numpy as np
from scipy.io import wavfile
from scipy.signal import resample_poly


def read(path, channel=None):
    """Returns (rate_hz, samples) of a WAV file, or of anything that FFmpeg decodes (Ogg Opus).

    Several channels are averaged unless `channel` picks one.
    """
    path = pathlib.Path(path)
    rate_hz, samples = _read_wav(path) if path.suffix.lower() == ".wav" else _read_coded(path)
    if samples.ndim > 1:
        samples = samples.mean(axis=1) if channel is None else samples[:, channel]
    return rate_hz, samples


def read_at(path, rate_hz, channel=None):
    """Returns the samples of a file, resampled to `rate_hz`."""
    own_rate_hz, samples = read(path, channel)
    return resampled(samples, own_rate_hz, rate_hz)


def write(path, rate_hz, samples):
    """Writes a 16-bit WAV file; samples beyond full scale are clipped."""
    wavfile.write(path, rate_hz, to_int16(samples))


def to_int16(samples):
    """Rounds and clips to 16 bit; -32768 is never used, so that the scale is symmetric."""
    return np.rint(np.clip(samples, -1.0, 1.0) * 32767.0).astype(np.int16)


def resampled(samples, from_hz, to_hz):
    """Converts samples to another sample rate."""
    if from_hz == to_hz:
        return samples
    ratio = Fraction(int(to_hz), int(from_hz))
    return resample_poly(samples, ratio.numerator, ratio.denominator)


def decibels(ratio):
    """Returns 20 log10 with a floor of -200 dB, so that silence is a number and JSON stays valid."""
    return float(20.0 * np.log10(np.maximum(ratio, 1e-10)))


def sine(freq_hz, seconds, rate_hz=48_000, level_db=-12.0):
    """Returns a sine with an amplitude (not RMS) of level_db relative to full scale."""
    moments = np.arange(round(seconds * rate_hz)) / rate_hz
    return 10 ** (level_db / 20) * np.sin(2 * np.pi * freq_hz * moments)


def _read_wav(path):
    rate_hz, samples = wavfile.read(path)
    if samples.dtype == np.uint8:
        return rate_hz, (samples.astype(np.float64) - 128.0) / 128.0
    if np.issubdtype(samples.dtype, np.integer):
        # 24 bit arrives left-aligned in int32.
        return rate_hz, samples.astype(np.float64) / (2.0 ** (8 * samples.dtype.itemsize - 1) - 1)
    return rate_hz, samples.astype(np.float64)


def _read_coded(path):
    import av

    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        resampler = av.AudioResampler(format="fltp", rate=stream.rate)
        frames = [ready for frame in container.decode(stream) for ready in resampler.resample(frame)]
        frames += resampler.resample(None)
        return stream.rate, np.concatenate([frame.to_ndarray() for frame in frames], axis=1).T.astype(np.float64)
