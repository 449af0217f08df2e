#!/usr/bin/env python3
"""Joins a room with aiortc, a WebRTC stack that shares no code with the server: one POST, talk, hear, DELETE.

URL is where the offer is posted, as in WHIP: http://127.0.0.1:8080/v1/rooms/lobby/participants?name=Ann.
The offer holds all candidates. With a loopback URL only loopback candidates are gathered, and no other
host is contacted.

Output (JSON, also when it fails): {"ok", "error", "post_status", "content_type", "location", "etag",
"participant_id", "post_ms", "connected_ms", "first_packet_ms", "first_sound_ms", "connection_state",
"sent": {"packets", "bytes"}, "received": {"packets", "lost", "jitter", "frames"}, "recorded_seconds",
"texts": [...], "floor_status", "floor", "release_status", "delete_status"}; times in ms since the
POST was sent. first_sound_ms is the time of the first decoded frame above -50 dBFS. texts are the
messages of the data channel `control` (only with --control), floor is the response to the PUT (only
with --floor).

Exit code 0 if the client joined, connected and left; 1 otherwise.
"""

import argparse
import asyncio
import fractions
import ipaddress
import json
import pathlib
import socket
import sys
import time
import urllib.parse

import aiohttp
import aioice.ice
import av
import numpy as np
from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpSender, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

import pcm

RATE_HZ = 48_000
FRAME_SAMPLES = 960
MAX_TEXTS = 1_000
CONNECT_SECONDS = 15
AFTER_SECONDS = 1
SOUND_LEVEL = 10 ** (-50 / 20)


class Player(MediaStreamTrack):
    """Supplies a file or silence in frames of 20 ms, in real time."""

    kind = "audio"

    def __init__(self, samples, repeat):
        super().__init__()
        self.samples = pcm.to_int16(samples)
        self.repeat = repeat and len(samples) > 0
        self.number = 0
        self.began = None
        self.may_talk = True

    def frame_at(self, number):
        """Returns the samples of one frame; silence while the client may not talk, and after a file that does not repeat."""
        if not self.may_talk:
            return np.zeros(FRAME_SAMPLES, np.int16)
        first = number * FRAME_SAMPLES
        if self.repeat:
            return self.samples[np.arange(first, first + FRAME_SAMPLES) % len(self.samples)]
        part = self.samples[first : first + FRAME_SAMPLES]
        return np.concatenate([part, np.zeros(FRAME_SAMPLES - len(part), np.int16)])

    async def recv(self):
        if self.readyState != "live":
            raise MediaStreamError
        now = time.monotonic()
        if self.began is None:
            self.began = now
        due = self.began + self.number * FRAME_SAMPLES / RATE_HZ
        if due > now:
            await asyncio.sleep(due - now)
        # The same samples on both channels, because aiortc's own conversion from mono to stereo loses 3 dB.
        both = np.repeat(self.frame_at(self.number), 2).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(both, format="s16", layout="stereo")
        frame.sample_rate = RATE_HZ
        frame.pts = self.number * FRAME_SAMPLES
        frame.time_base = fractions.Fraction(1, RATE_HZ)
        self.number += 1
        return frame


class Recorder:
    """Records decoded frames, each at the position of its RTP timestamp, so that pauses keep their duration."""

    def __init__(self, limit_seconds):
        self.limit = round(limit_seconds * RATE_HZ)
        self.pieces = []
        self.first_pts = None
        self.first_packet_at = None
        self.first_sound_at = None

    async def run(self, track):
        # The channels are averaged here, because FFmpeg's conversion from stereo to mono adds 3 dB.
        resampler = av.AudioResampler(format="fltp", rate=RATE_HZ)
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            now = time.monotonic()
            pts, rate_hz = frame.pts, frame.sample_rate
            samples = np.concatenate([ready.to_ndarray().mean(axis=0) for ready in resampler.resample(frame)] or [np.zeros(0)])
            self.first_packet_at = self.first_packet_at or now
            if self.first_sound_at is None and np.abs(samples).max(initial=0.0) > SOUND_LEVEL:
                self.first_sound_at = now
            if self.first_pts is None:
                self.first_pts = pts
            self.pieces.append((round((pts - self.first_pts) * RATE_HZ / rate_hz), samples))

    def samples(self):
        """Returns the recording from the first frame on; wrong timestamps cannot make it longer than the limit."""
        kept = [(at, piece) for at, piece in self.pieces if 0 <= at < self.limit]
        length = min(self.limit, max((at + len(piece) for at, piece in kept), default=0))
        out = np.zeros(length)
        for at, piece in kept:
            piece = piece[: length - at]
            out[at : at + len(piece)] = piece
        return out


def gather_on_loopback_only():
    """Makes aioice gather candidates on loopback only, which it excludes by default.

    A test machine may have no other network.
    """
    aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"] if use_ipv4 else []


def is_loopback(url):
    host = urllib.parse.urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def take_part(arguments, result):
    """Joins, stays and leaves, filling `result` on the way."""
    samples = pcm.read_at(arguments.play, RATE_HZ) if arguments.play else np.zeros(0)
    recorder = Recorder(arguments.seconds + 5)
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    connected = asyncio.Event()
    recording = []

    @peer.on("connectionstatechange")
    def _():
        if peer.connectionState in ("connected", "failed", "closed"):
            connected.set()

    @peer.on("track")
    def _(track):
        if track.kind == "audio":
            recording.append(asyncio.ensure_future(recorder.run(track)))

    if arguments.direction != "recvonly":
        player = Player(samples, arguments.loop)
        player.may_talk = not arguments.floor
        peer.addTrack(player)
        peer.getTransceivers()[0].direction = arguments.direction
    else:
        peer.addTransceiver("audio", direction="recvonly")
    if arguments.codec:
        known = RTCRtpSender.getCapabilities("audio").codecs
        wanted = f"audio/{arguments.codec}"
        only = [codec for codec in known if codec.mimeType.lower() == wanted]
        peer.getTransceivers()[0].setCodecPreferences(only)
    if arguments.control:
        listen(peer.createDataChannel("control"), arguments.say, result["texts"])

    tls = False if arguments.insecure else None
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as http:
        session_url = None
        try:
            await peer.setLocalDescription(await peer.createOffer())
            began = time.monotonic()
            session_url, answer = await post(http, arguments.url, peer.localDescription.sdp, tls, result)
            result["post_ms"] = since(began, time.monotonic())
            await peer.setRemoteDescription(RTCSessionDescription(sdp=answer, type="answer"))
            await asyncio.wait_for(connected.wait(), CONNECT_SECONDS)
            result["connection_state"] = peer.connectionState
            if peer.connectionState != "connected":
                raise ConnectionError(f"the connection is {peer.connectionState}")
            result["connected_ms"] = since(began, time.monotonic())
            if arguments.floor:
                await take_floor(http, session_url, tls, result)
                player.may_talk = True
            await asyncio.sleep(max(0.0, arguments.seconds - (time.monotonic() - began)))
            if arguments.floor:
                player.may_talk = False
                async with http.delete(f"{session_url}/floor", ssl=tls) as response:
                    result["release_status"] = response.status
                await asyncio.sleep(AFTER_SECONDS)
            result["connection_state"] = peer.connectionState
            await count(peer, result)
            result["first_packet_ms"] = since(began, recorder.first_packet_at)
            result["first_sound_ms"] = since(began, recorder.first_sound_at)
        finally:
            if session_url and not arguments.stay:
                async with http.delete(session_url, ssl=tls) as response:
                    result["delete_status"] = response.status
            await peer.close()
            for task in recording:
                task.cancel()
            heard = recorder.samples()
            result["received"]["frames"] = len(recorder.pieces)
            result["recorded_seconds"] = round(len(heard) / RATE_HZ, 3)
            if arguments.record:
                pcm.write(arguments.record, RATE_HZ, heard)
    if not arguments.stay and result["delete_status"] not in (200, 204):
        raise ConnectionError(f"DELETE answered {result['delete_status']}")


async def take_floor(http, session_url, tls, result):
    """Requests the floor; raises an error unless it is granted at once."""
    async with http.put(f"{session_url}/floor", ssl=tls) as response:
        result["floor_status"] = response.status
        result["floor"] = await response.json(content_type=None)
        if response.status != 200:
            raise ConnectionError(f"PUT answered {response.status}: {result['floor']}")


async def post(http, url, offer, tls, result):
    """Joins; returns (URL of the session, SDP answer)."""
    async with http.post(url, data=offer, headers={"Content-Type": "application/sdp"}, ssl=tls) as response:
        body = await response.text()
        result["post_status"] = response.status
        result["content_type"] = response.headers.get("Content-Type")
        result["location"] = response.headers.get("Location")
        result["etag"] = response.headers.get("ETag")
        result["participant_id"] = response.headers.get("Participant-Id")
        if response.status != 201:
            raise ConnectionError(f"POST answered {response.status}: {body[:500]}")
        if not result["location"]:
            raise ConnectionError("the answer has no Location")
        return urllib.parse.urljoin(str(response.url), result["location"]), body


def listen(channel, say, texts):
    """Records the channel's messages, and sends `say`, line by line, as soon as the channel is open."""

    @channel.on("open")
    def _():
        for line in say:
            channel.send(line)

    @channel.on("message")
    def _(message):
        if len(texts) < MAX_TEXTS:
            texts.append(message if isinstance(message, str) else message.hex())


async def count(peer, result):
    """Returns the packet counters of getStats()."""
    for report in (await peer.getStats()).values():
        if report.type == "outbound-rtp":
            result["sent"] = {"packets": report.packetsSent, "bytes": report.bytesSent}
        elif report.type == "inbound-rtp":
            result["received"].update(packets=report.packetsReceived, lost=report.packetsLost, jitter=report.jitter)


def since(began, until):
    """Returns the milliseconds from `began` to `until`, with one decimal; None if `until` is None."""
    return None if until is None else round(1000 * (until - began), 1)


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="where to post the offer")
    parser.add_argument("--play", type=pathlib.Path, metavar="FILE", help="what to say: WAV or Ogg Opus (default: silence)")
    parser.add_argument("--loop", action="store_true", help="say it again and again")
    parser.add_argument("--record", type=pathlib.Path, metavar="WAV", help="where to write what is heard: 48 kHz mono 16 bit")
    parser.add_argument("--seconds", type=float, default=10.0, help="time from POST to DELETE (default 10)")
    parser.add_argument("--direction", choices=["sendrecv", "sendonly", "recvonly"], default="sendrecv")
    parser.add_argument("--codec", choices=["opus", "pcmu", "pcma"], help="offer nothing else (default: all it knows)")
    parser.add_argument("--floor", action="store_true", help="say nothing before the floor is granted over HTTP, and let go of it")
    parser.add_argument("--control", action="store_true", help="open the data channel `control` and keep what comes on it")
    parser.add_argument("--say", action="append", default=[], metavar="JSON", help="text to send on the data channel; may be repeated")
    parser.add_argument("--stay", action="store_true", help="leave without DELETE, by closing the connection (who is to vanish is killed)")
    parser.add_argument("--insecure", action="store_true", help="accept any TLS certificate")
    return parser.parse_args(argv)


def main(argv=None):
    arguments = parse(argv)
    result = {
        "ok": False, "error": None, "post_status": None, "content_type": None, "location": None, "etag": None,
        "participant_id": None, "post_ms": None, "connected_ms": None, "first_packet_ms": None,
        "first_sound_ms": None, "connection_state": None, "sent": {}, "received": {}, "recorded_seconds": 0.0,
        "texts": [], "floor_status": None, "floor": None, "release_status": None, "delete_status": None,
    }  # fmt: skip
    if is_loopback(arguments.url):
        gather_on_loopback_only()
    try:
        asyncio.run(take_part(arguments, result))
        result["ok"] = True
    except (OSError, asyncio.TimeoutError, aiohttp.ClientError, ValueError) as error:
        result["error"] = f"{type(error).__name__}: {error}"
    print(json.dumps(result))
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
