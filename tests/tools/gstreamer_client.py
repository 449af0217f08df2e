#!/usr/bin/python3
"""Joins a room with GStreamer's webrtcbin: one POST, takes the floor over HTTP, talks, releases it, DELETE.

URL is where the offer is posted, as in WHIP: http://127.0.0.1:8080/v1/rooms/channel/participants?name=Ann. The offer
holds all candidates; on a loopback URL only loopback candidates are gathered.

Runs under the system's Python, whose GObject bindings come as Debian packages, and uses nothing else:
gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-nice python3-gi
gir1.2-gst-plugins-bad-1.0

Output (JSON, also when it fails): {"ok", "error", "post_status", "participant_id", "connected_ms", "floor_status",
"floor", "release_status", "heard_buffers", "loudest_dbfs", "delete_status"}; floor is the response to the PUT,
loudest_dbfs the level of the loudest tenth of a second that was heard.

Exit code 0 if the client joined, connected, was granted the floor if it requested the floor, and left; 1 otherwise.
"""

import argparse
import ipaddress
import json
import pathlib
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

CONNECT_SECONDS = 15
ENCODERS = {
    "opus": "audio/x-raw,rate=48000,channels=1 ! opusenc frame-size=20 ! rtpopuspay pt=97 ! "
    "application/x-rtp,media=audio,encoding-name=OPUS,clock-rate=48000,payload=97",
    "pcmu": "audio/x-raw,rate=8000,channels=1 ! mulawenc ! rtppcmupay pt=0 min-ptime=20000000 max-ptime=20000000 ! "
    "application/x-rtp,media=audio,encoding-name=PCMU,clock-rate=8000,payload=0",
}
DECODERS = {"opus": "rtpopusdepay ! opusdec", "pcmu": "rtppcmudepay ! mulawdec"}
# A closed valve still passes the caps to the pad, so that an offer can be made before any sound is sent.
PIPELINE = (
    "webrtcbin name=peer bundle-policy=max-bundle "
    "audiotestsrc is-live=true wave=sine freq={freq} volume=0.25 ! audioconvert ! audioresample ! {encoder} ! "
    "valve name=valve drop=true drop-mode=forward-sticky-events ! peer."
)


class Peer:
    """A peer connection, whose methods are called on another thread than GLib's."""

    def __init__(self, arguments):
        self.pipeline = Gst.parse_launch(PIPELINE.format(freq=arguments.freq, encoder=ENCODERS[arguments.codec]))
        self.decoder = DECODERS[arguments.codec]
        self.bin = self.pipeline.get_by_name("peer")
        self.valve = self.pipeline.get_by_name("valve")
        self.gathered, self.connected, self.failed = (threading.Event() for _ in range(3))
        self.heard_buffers, self.loudest_dbfs = 0, None
        # GStreamer 1.22 returns its agent without counting the reference: the agent must live as long as the bin.
        self.agent = self.bin.get_property("ice-agent")
        if is_loopback(arguments.url):
            self.agent.emit("add-local-ip-address", "127.0.0.1")
        self.bin.connect("on-negotiation-needed", self.negotiate)
        self.bin.connect("notify::ice-gathering-state", self.gathering)
        self.bin.connect("notify::connection-state", self.connecting)
        self.bin.connect("pad-added", self.hear)
        bus = self.pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message::element", self.measured)
        bus.connect("message::error", lambda _, message: self.fail(message.parse_error()))

    def fail(self, error):
        print(error, file=sys.stderr)
        self.failed.set()

    def negotiate(self, _):
        def offered(promise, _):
            # The description is freed with the reply, so its text is copied and parsed again.
            reply = promise.get_reply()
            self.describe("local", GstWebRTC.WebRTCSDPType.OFFER, reply.get_value("offer").sdp.as_text())

        self.bin.emit("create-offer", None, Gst.Promise.new_with_change_func(offered, None))

    def gathering(self, *_):
        if self.bin.get_property("ice-gathering-state") == GstWebRTC.WebRTCICEGatheringState.COMPLETE:
            self.gathered.set()

    def connecting(self, *_):
        state = self.bin.get_property("connection-state")
        if state == GstWebRTC.WebRTCPeerConnectionState.CONNECTED:
            self.connected.set()
        elif state == GstWebRTC.WebRTCPeerConnectionState.FAILED:
            self.fail("the connection has failed")

    def hear(self, _, pad):
        if pad.get_direction() != Gst.PadDirection.SRC:
            return
        line = f"queue ! {self.decoder} ! audioconvert ! level interval=100000000 ! fakesink name=ear signal-handoffs=true"
        ear = Gst.parse_bin_from_description(line, True)
        self.pipeline.add(ear)
        ear.get_by_name("ear").connect("handoff", self.count)
        ear.sync_state_with_parent()
        pad.link(ear.get_static_pad("sink"))

    def count(self, *_):
        self.heard_buffers += 1

    def measured(self, _, message):
        levels = message.get_structure()
        if levels.get_name() == "level":
            loudest = max(levels.get_value("rms"))
            self.loudest_dbfs = loudest if self.loudest_dbfs is None else max(self.loudest_dbfs, loudest)

    def offer(self):
        return self.bin.get_property("local-description").sdp.as_text()

    def answer(self, text):
        self.describe("remote", GstWebRTC.WebRTCSDPType.ANSWER, text)

    def describe(self, side, kind, text):
        _, sdp = GstSdp.SDPMessage.new_from_text(text)
        description = GstWebRTC.WebRTCSessionDescription.new(kind, sdp)
        self.bin.emit(f"set-{side}-description", description, Gst.Promise.new())

    def wait(self, event, what):
        end = time.monotonic() + CONNECT_SECONDS
        while not event.wait(0.05):
            if self.failed.is_set() or time.monotonic() > end:
                raise ConnectionError(what)


def is_loopback(url):
    host = urllib.parse.urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def ask(method, url, body=b"", media_type="application/json"):
    """Sends a request; returns (status, headers, text) of the response, also for an error status."""
    request = urllib.request.Request(url, data=body, method=method, headers={"Content-Type": media_type})
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, response.headers, response.read().decode()
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.headers, refusal.read().decode()


def take_part(arguments, result):
    """Joins, talks and leaves, filling `result` on the way."""
    peer = Peer(arguments)
    loop = GLib.MainLoop()
    threading.Thread(target=loop.run, daemon=True).start()
    peer.pipeline.set_state(Gst.State.PLAYING)
    session = None
    try:
        peer.wait(peer.gathered, "no candidates are gathered")
        offer = peer.offer()
        if arguments.offer:
            arguments.offer.write_text(offer)
        began = time.monotonic()
        result["post_status"], headers, text = ask("POST", arguments.url, offer.encode(), "application/sdp")
        if result["post_status"] != 201:
            raise ConnectionError(f"POST answered {result['post_status']}: {text[:500]}")
        session = urllib.parse.urljoin(arguments.url, headers["Location"])
        result["participant_id"] = headers["Participant-Id"]
        peer.answer(text)
        peer.wait(peer.connected, "it does not connect")
        result["connected_ms"] = round(1000 * (time.monotonic() - began), 1)
        time.sleep(arguments.wait)
        talk(peer, session, arguments, result)
    finally:
        result["heard_buffers"], result["loudest_dbfs"] = peer.heard_buffers, peer.loudest_dbfs
        if session:
            result["delete_status"] = ask("DELETE", session)[0]
        peer.pipeline.set_state(Gst.State.NULL)
        loop.quit()
    if result["delete_status"] != 200:
        raise ConnectionError(f"DELETE answered {result['delete_status']}")


def talk(peer, session, arguments, result):
    if arguments.floor:
        result["floor_status"], _, text = ask("PUT", f"{session}/floor")
        result["floor"] = json.loads(text)
        if result["floor_status"] != 200:
            raise ConnectionError(f"PUT answered {result['floor_status']}")
    peer.valve.set_property("drop", False)
    time.sleep(arguments.seconds)
    peer.valve.set_property("drop", True)
    if arguments.floor:
        result["release_status"] = ask("DELETE", f"{session}/floor")[0]
    time.sleep(arguments.wait)


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="where to post the offer")
    parser.add_argument("--freq", type=float, default=925.3, help="what to say: a sine of this frequency at -12 dBFS")
    parser.add_argument("--codec", choices=sorted(ENCODERS), default="opus", help="what to offer (default opus)")
    parser.add_argument("--floor", action="store_true", help="take the floor before talking, and let go of it afterwards")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long to talk (default 3)")
    parser.add_argument("--wait", type=float, default=1.0, help="how long to say nothing before and after that (default 1)")
    parser.add_argument("--offer", type=pathlib.Path, metavar="FILE", help="where to write the offer")
    return parser.parse_args(argv)


def main(argv=None):
    arguments = parse(argv)
    result = {
        "ok": False, "error": None, "post_status": None, "participant_id": None, "connected_ms": None,
        "floor_status": None, "floor": None, "release_status": None, "heard_buffers": 0, "loudest_dbfs": None,
        "delete_status": None,
    }  # fmt: skip
    Gst.init(None)
    try:
        take_part(arguments, result)
        result["ok"] = True
    except (OSError, ValueError) as error:
        result["error"] = f"{type(error).__name__}: {error}"
    print(json.dumps(result))
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
