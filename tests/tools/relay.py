#!/usr/bin/env python3
"""Connects two network namespaces (root): packets of the first are delayed and lost, those of the second are not.

    relay.py NAMESPACE_A NAMESPACE_B [jitter=MS] [loss=PERCENT] [ordered=1] [seed=7]

A gets 198.18.251.1, B 198.18.251.2, each over a TUN device. Each packet of A is delayed by a time between 0 and
jitter, evenly spread; with ordered=1 no packet overtakes another. Only UDP is lost. Prints "ready" when packets pass
and ends when its standard input does. A number on standard input is a new seed, in force once "seed NUMBER" is printed.
"""

import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import sys
import time

TUNSETIFF = 0x400454CA
IFF_TUN_NO_PI = 0x1001
UDP = 0x11


def tun(name):
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TUN_NO_PI))
    return device


def ip(line):
    subprocess.run(["ip", *line.split()], check=True)


def main():
    names = sys.argv[1:3]
    settings = dict(argument.split("=") for argument in sys.argv[3:])
    jitter = float(settings.get("jitter", 0)) / 1000
    loss = float(settings.get("loss", 0)) / 100
    ordered = settings.get("ordered", "1") == "1"
    chance = random.Random(int(settings.get("seed", 7)))
    addresses = ("198.18.251.1", "198.18.251.2")
    devices = []
    for number, (namespace, own, other) in enumerate(zip(names, addresses, reversed(addresses))):
        name = f"mixr{os.getpid() % 100_000}{'ab'[number]}"
        devices.append(tun(name))
        ip(f"link set {name} netns {namespace}")
        ip(f"-n {namespace} addr add {own}/32 peer {other} dev {name}")
        ip(f"-n {namespace} link set {name} up")
    print("ready", flush=True)

    waiting, sequence, last_due = [], 0, 0.0
    while True:
        wait = max(0.0, waiting[0][0] - time.monotonic()) if waiting else 1.0
        readable, _, _ = select.select([*devices, sys.stdin], [], [], wait)
        now = time.monotonic()
        if sys.stdin in readable:
            told = sys.stdin.buffer.read1(100)
            if not told:
                return
            chance.seed(int(told))
            print(f"seed {int(told)}", flush=True)
        for number, device in enumerate(devices):
            while device in readable:
                try:
                    packet = os.read(device, 4000)
                except BlockingIOError:
                    break
                due = now
                if number == 0:
                    if packet[9] == UDP and chance.random() < loss:
                        continue
                    due += chance.random() * jitter
                    if ordered:
                        due = last_due = max(due, last_due)
                sequence += 1
                heapq.heappush(waiting, (due, sequence, 1 - number, packet))
        while waiting and waiting[0][0] <= time.monotonic():
            _, _, to, packet = heapq.heappop(waiting)
            try:
                os.write(devices[to], packet)
            except OSError:
                # The namespace is being removed.
                pass


if __name__ == "__main__":
    main()
