#!/usr/bin/env python3
"""Scores calls through servers between two libwebrtc clients by what the receiver plays (root, for network namespaces).

A way is the path of a call: through one of the servers, or direct. Every run of every way is one
call: one client talks, the other records what its jitter buffer plays. The ways alternate, so that
other load of the machine affects all of them. A run in which the machine stalled (a client's 10 ms
frame came more than --stall ms late) is discarded, counted and repeated, up to six times.

Ways: direct (no server), janus (Debian's package with its defaults), self (a mixminus that is started here),
self:PROFILE. Everything runs in one network namespace with an address that is not loopback, since Janus takes no
part in ICE over loopback. With --uplink the talker has a namespace of its own behind a relay that delays and loses
the packets that the talker sends; packets to the talker are untouched. Each run has its own seed for the relay, the
same for all ways, which its line of output names; seed=N gives the first run the seed N, the second N+1, and so on.

    trial.py --ways direct,janus,self,self:low-delay --runs 5
    trial.py --ways janus,self --runs 5 --uplink jitter=60,loss=2
    trial.py --ways self --runs 1 --uplink jitter=60,loss=2,seed=1234567
    trial.py --ways janus,self --scene dialogue

Prints a line of JSON for each run and a table of medians.
"""

import argparse
import contextlib
import json
import os
import pathlib
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

import pcm
import quality

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
RATE_HZ = 48_000
CALL_IP = "198.18.250.1"
RELAY_TALKER_IP, RELAY_SERVER_IP = "198.18.251.1", "198.18.251.2"
# A run that the machine disturbed is repeated up to this number of times, and then omitted.
TRIES = 6
JANUS_LIBRARIES = "/usr/lib/x86_64-linux-gnu/janus"


class Network:
    """The network namespace of the server and the listener, and with --uplink a second namespace for the talker."""

    def __init__(self, uplink):
        name = f"mixtrial{os.getpid()}"
        self.call, self.talker = name, name
        self.relay = None
        ip(f"netns add {name}")
        ip(f"-n {name} link set lo up")
        ip(f"-n {name} link add v0 type veth peer name v1")
        ip(f"-n {name} addr add {CALL_IP}/24 dev v0")
        for end in ("v0", "v1"):
            ip(f"-n {name} link set {end} up")
        if uplink:
            self.talker = name + "t"
            ip(f"netns add {self.talker}")
            ip(f"-n {self.talker} link set lo up")
            self.relay = subprocess.Popen(
                [sys.executable, HERE / "relay.py", self.talker, self.call, *(f"{key}={value}" for key, value in uplink.items())],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )
            if self.relay.stdout.readline().strip() != "ready":
                raise RuntimeError("the relay does not start")

    def seed_relay(self, seed):
        """Sets the seed of the relay's delays and losses."""
        self.relay.stdin.write(f"{seed}\n")
        self.relay.stdin.flush()
        told = self.relay.stdout.readline().strip()
        if told != f"seed {seed}":
            raise RuntimeError(f"the relay says {told!r} to the seed {seed}")

    @property
    def server_ip(self):
        """Returns the address at which the talker reaches the server."""
        return RELAY_SERVER_IP if self.relay else CALL_IP

    def run(self, command, talker=False, **options):
        """Starts a process in the namespace."""
        name = self.talker if talker else self.call
        return subprocess.Popen(["ip", "netns", "exec", name, *map(str, command)], **options)

    def wait_for_port(self, port):
        """Waits until a server in the namespace listens."""
        probe = f"import socket; socket.create_connection(('{CALL_IP}', {port}), 1)"
        for _ in range(150):
            if self.run([sys.executable, "-c", probe], stderr=subprocess.DEVNULL).wait() == 0:
                return
            time.sleep(0.2)
        raise RuntimeError(f"nothing listens on port {port}")

    def close(self):
        if self.relay:
            self.relay.stdin.close()
            self.relay.wait(timeout=5)
            ip(f"netns del {self.talker}")
        ip(f"netns del {self.call}")


def ip(line):
    subprocess.run(["ip", *line.split()], check=True)


@contextlib.contextmanager
def janus(network):
    """Starts Debian's Janus AudioBridge; returns the target that its clients join."""
    with tempfile.TemporaryDirectory() as folder:
        # Loads only the plugins that a call needs: other plugins have prevented Janus from
        # starting.
        for kind, library in [("plugins", "libjanus_audiobridge.so"), ("transports", "libjanus_websockets.so")]:
            chosen = pathlib.Path(folder, kind)
            chosen.mkdir()
            (chosen / library).symlink_to(f"{JANUS_LIBRARIES}/{kind}/{library}")
        files = {
            "janus.jcfg": f'general: {{ configs_folder="{folder}"; plugins_folder="{folder}/plugins"; '
            f'transports_folder="{folder}/transports"; events_folder="{folder}"; loggers_folder="{folder}"; '
            'debug_level=2; session_timeout=0; }\n'
            'media: { rtp_port_range="20000-59999"; }\n',
            "janus.plugin.audiobridge.jcfg": "general: {}\n",
            "janus.transport.websockets.jcfg": f'general: {{ ws=true; ws_port=8188; ws_ip="0.0.0.0"; }}\n',
        }
        for name, text in files.items():
            pathlib.Path(folder, name).write_text(text)
        process = network.run(["janus", "-o", "-F", folder], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            network.wait_for_port(8188)
            yield lambda room, listener: f"janus:ws://{CALL_IP if listener else network.server_ip}:8188#{room}"
        finally:
            end(process)


@contextlib.contextmanager
def mixminus(network, binary, profile, arguments):
    """Starts mixminus; returns the target that its clients join."""
    command = [binary, "serve", "--http", "0.0.0.0:8090", "--media", "0.0.0.0:7890", "--log", "error", *arguments]
    command += ["--announce", network.server_ip] if network.relay is None else ["--announce", f"{CALL_IP},{RELAY_SERVER_IP}"]
    query = f"?profile={profile}" if profile else ""
    process = network.run(command, stdout=subprocess.DEVNULL)
    try:
        network.wait_for_port(8090)
        yield lambda room, listener: (
            f"http://{CALL_IP if listener else network.server_ip}:8090/v1/rooms/r{room}/participants{query}"
        )
    finally:
        end(process)


def end(process):
    process.terminate()
    process.wait(timeout=10)


class Client:
    """A libwebrtc client: a process that runs wrtc.mjs."""

    def __init__(self, network, target, folder, name, talker=False, play=None, seconds=None, arguments=()):
        self.recording = pathlib.Path(folder, f"{name}.wav")
        command = [HERE / "wrtc.sh", target, "--record", self.recording, "--name", name, *arguments]
        if play:
            command += ["--play", play]
        if seconds:
            command += ["--seconds", seconds]
        self.process = network.run(command, talker, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def wait_for(self, word):
        said = []
        for line in self.process.stderr:
            if line.strip() == word:
                return
            said.append(line)
        raise RuntimeError(f"the client ended before it said {word}: {''.join(said)}")

    def result(self):
        """Waits for the end of the client; returns what it printed."""
        output, said = self.process.communicate(timeout=120)
        if self.process.returncode != 0:
            raise RuntimeError(said)
        return json.loads(output)


def call(network, target, room, says, folder, options):
    """Makes one call and returns a score for each file of `says`: the talker's and, in a dialogue, the listener's."""
    seconds = max(pcm.read(path)[0] and len(pcm.read(path)[1]) / pcm.read(path)[0] for path in says)
    listener = "serve:" + f"{CALL_IP if network.relay is None else RELAY_SERVER_IP}:9300" if target is None else target(room, True)
    # The listener joins before the talker and leaves after the talker.
    second = Client(network, listener, folder, "second", play=says[1] if len(says) > 1 else None,
                    seconds=seconds + options.settle + 4, arguments=options.listener_args)
    second.wait_for("listening" if target is None else "connected")
    if target is not None:
        time.sleep(1)
    talker = f"http://{network.server_ip}:9300/" if target is None else target(room, False)
    first = Client(network, talker, folder, "first", talker=True, play=says[0], seconds=seconds + 2, arguments=["--lead", str(options.settle)])
    clients = (first, second)
    results = [client.result() for client in clients]
    stall_ms = max(max(result["play"]["late_ms"], result["record"]["late_ms"]) for result in results)
    scores = []
    for said, (mouth, ear) in zip(says, ((0, 1), (1, 0))):
        score = quality.compare(
            pcm.read_at(said, quality.RATE_HZ), pcm.read_at(clients[ear].recording, quality.RATE_HZ), with_stoi=True, with_lags=True
        )
        begun_s = score["lag_ms"] / 1000
        starts_us = results[ear]["record"]["starts_us"][max(0, int(begun_s)) : int(begun_s + score["compared_seconds"]) + 1]
        heard_us = statistics.median(starts_us) + 1000 * score["lag_ms"]
        score["delay_ms"] = round((heard_us - results[mouth]["play"]["start_us"]) / 1000, 1)
        inbound = results[ear]["inbound"]
        for key in ("concealedSamples", "silentConcealedSamples", "insertedSamplesForDeceleration", "removedSamplesForAcceleration"):
            score[key] = inbound[key]
        score["buffer_ms"] = round(1000 * inbound["jitterBufferDelay"] / max(1, inbound["jitterBufferEmittedCount"]), 1)
        score["kbps"] = round(inbound["bytesReceived"] * 8 / 1000 / max(1, results[ear]["record"]["seconds"]), 1)
        scores.append(score)
    return stall_ms, scores


def dialogue(folder, voices, seed):
    """Writes two files of equal length in which the voices alternate, with pauses of 0.2 to 3 s."""
    chance = random.Random(seed)
    turns = [split_at_pauses(pcm.read_at(path, RATE_HZ)) for path in voices]
    tracks = [[], []]
    for turn in range(min(map(len, turns))):
        for speaker in (0, 1):
            said = turns[speaker][turn]
            gap = np.zeros(int(RATE_HZ * chance.uniform(0.2, 3.0)))
            tracks[speaker] += [said, gap]
            tracks[1 - speaker] += [np.zeros(len(said) + len(gap))]
    paths = []
    for number, track in enumerate(tracks):
        paths.append(pathlib.Path(folder, f"said{number}.wav"))
        pcm.write(paths[-1], RATE_HZ, np.concatenate(track))
    return paths


def split_at_pauses(samples):
    """Returns the utterances between pauses of at least 0.3 s, with 50 ms at either end."""
    hop = RATE_HZ // 100
    loud = np.array([np.sqrt(np.mean(samples[at : at + hop] ** 2)) > 0.003 for at in range(0, len(samples) - hop, hop)])
    turns, begun, quiet = [], None, 0
    for at, is_loud in enumerate(loud):
        if is_loud:
            begun = at if begun is None else begun
            quiet = 0
        elif begun is not None:
            quiet += 1
            if quiet == 30:
                turns.append(samples[max(0, begun - 5) * hop : (at - 24) * hop])
                begun = None
    if begun is not None:
        turns.append(samples[max(0, begun - 5) * hop :])
    return turns


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ways", default="direct,janus,self,self:low-delay")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--scene", choices=["monologue", "dialogue"], default="monologue")
    parser.add_argument("--voice", action="append", type=pathlib.Path, help="what is said; a dialogue takes two")
    parser.add_argument("--uplink", default="", help="jitter=MS,loss=PERCENT,ordered=0|1,seed=N")
    parser.add_argument("--binary", default=ROOT / "target/release/mixminus", type=pathlib.Path)
    parser.add_argument("--server-arg", action="append", default=[])
    parser.add_argument("--listener-arg", action="append", default=[], dest="listener_args")
    parser.add_argument("--settle", type=float, default=1.0, help="seconds between the connection and the first word")
    parser.add_argument("--stall", type=float, default=12.0, help="ms that a client's frame may be late")
    parser.add_argument("--keep", type=pathlib.Path, help="keeps the recordings here")
    options = parser.parse_args()
    voices = ROOT / "fixtures/voices"
    options.voice = options.voice or [voices / "human-en-female.wav", voices / "human-it-male.wav"]
    uplink = dict(part.split("=") for part in options.uplink.split(",") if part)
    seeds = seeds_of(uplink.pop("seed", None), options.runs)
    ways = options.ways.split(",")
    subprocess.run([HERE / "wrtc.sh", "--help"], check=True, stdout=subprocess.DEVNULL)
    rows = {way: [] for way in ways}
    discarded = {way: 0 for way in ways}
    with tempfile.TemporaryDirectory() as folder:
        said = options.voice[:1]
        if options.scene == "dialogue":
            said = dialogue(folder, options.voice[:2], seed=5)
        else:
            at_48 = pathlib.Path(folder, "said.wav")
            pcm.write(at_48, RATE_HZ, pcm.read_at(said[0], RATE_HZ))
            said = [at_48]
        network = Network(uplink)
        try:
            with contextlib.ExitStack() as stack:
                targets = {}
                for way in ways:
                    if way == "janus":
                        targets[way] = stack.enter_context(janus(network))
                    elif way != "direct" and "self" not in targets:
                        targets["self"] = stack.enter_context(mixminus(network, options.binary, None, options.server_arg))
                room = 1000
                for number, seed in enumerate(seeds):
                    for way in ways:
                        for _ in range(TRIES):
                            room += 1
                            target = targets.get(way)
                            if way.startswith("self"):
                                profile = way.partition(":")[2]
                                query = f"?profile={profile}" if profile else ""
                                target = lambda room, listener, query=query: targets["self"](room, listener) + query
                            if network.relay:
                                network.seed_relay(seed)
                            stall_ms, scores = call(network, target, room, said, folder, options)
                            stalled = stall_ms > options.stall
                            result = {"way": way, "run": number, "stall_ms": round(stall_ms, 1), "discarded": stalled, "scores": scores}
                            print(json.dumps({**result, "seed": seed} if network.relay else result), flush=True)
                            if options.keep:
                                options.keep.mkdir(parents=True, exist_ok=True)
                                for name in ("first", "second"):
                                    shutil.copy(pathlib.Path(folder, f"{name}.wav"), options.keep / f"{way.replace(':', '-')}.{room}.{name}.wav")
                            if not stalled:
                                rows[way] += scores
                                break
                            discarded[way] += 1
        finally:
            network.close()
    table(ways, rows, discarded)


def seeds_of(first, runs):
    """Returns a seed for each run: incremented from the given text, or random."""
    if first is None:
        return [random.SystemRandom().randrange(2**32) for _ in range(runs)]
    return [int(first) + number for number in range(runs)]


def table(ways, rows, discarded):
    columns = ("pesq_wb", "stoi", "lag_changes", "lag_range_ms", "delay_ms", "buffer_ms", "kbps",
               "concealedSamples", "insertedSamplesForDeceleration", "removedSamplesForAcceleration")
    print(f"\n{'median of':16}" + "".join(f"{name[:12]:>14}" for name in columns) + f"{'runs':>6}{'discarded':>10}   PESQ of each")
    for way in ways:
        if not rows[way]:
            print(f"{way:16}   every run was disturbed ({discarded[way]})")
            continue
        medians = [statistics.median(score[name] for score in rows[way]) for name in columns]
        each = " ".join(f"{score['pesq_wb']:.2f}" for score in rows[way])
        print(f"{way:16}" + "".join(f"{value:14.4g}" for value in medians) + f"{len(rows[way]):6}{discarded[way]:10}   {each}")


if __name__ == "__main__":
    main()
