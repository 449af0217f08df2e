"""Encodes and decodes audio with the libopus of PyAV, as one leg of a call does.

For calibrating and testing the tools.
"""

import av
import numpy as np

import pcm

RATE_HZ = 48_000
FRAME_SAMPLES = 960
LOOKAHEAD_SAMPLES = 312


def coded(samples, bitrate_bps, lost=frozenset(), loss_percent=0, legs=1):
    """Encodes (VOIP, 20 ms, complexity 10) and decodes 48 kHz mono samples; the result is aligned with the input.

    - `lost`: numbers of lost packets, which are not concealed: 20 ms are missing for each.
    - `legs`: the number of encodings, for instance two through a mixing server.
    """
    for _ in range(legs):
        samples = _one_leg(samples, bitrate_bps, lost, loss_percent)
        lost = frozenset()
    return samples


def _one_leg(samples, bitrate_bps, lost, loss_percent):
    encoder = av.CodecContext.create("libopus", "w")
    encoder.sample_rate = RATE_HZ
    encoder.format = "s16"
    encoder.layout = "mono"
    encoder.bit_rate = bitrate_bps
    encoder.options = {
        "application": "voip",
        "frame_duration": "20",
        "compression_level": "10",
        "fec": "1" if loss_percent else "0",
        "packet_loss": str(loss_percent),
    }
    decoder = av.CodecContext.create("libopus", "r")
    decoder.sample_rate = RATE_HZ
    decoder.layout = "mono"
    padded = pcm.to_int16(np.concatenate([samples, np.zeros(2 * FRAME_SAMPLES)]))
    packets = []
    for number in range(len(padded) // FRAME_SAMPLES):
        piece = padded[number * FRAME_SAMPLES : (number + 1) * FRAME_SAMPLES]
        frame = av.AudioFrame.from_ndarray(piece.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = RATE_HZ
        frame.pts = number * FRAME_SAMPLES
        packets += encoder.encode(frame)
    out = []
    for number, packet in enumerate(packets):
        if number in lost:
            continue
        bare = av.Packet(bytes(packet))
        out += [frame.to_ndarray().mean(axis=0) for frame in decoder.decode(bare)]
    decoded = np.concatenate(out).astype(np.float64)
    if np.abs(decoded).max() > 2.0:
        decoded /= 32768.0
    return decoded[LOOKAHEAD_SAMPLES : LOOKAHEAD_SAMPLES + len(samples)]
