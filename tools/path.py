#!/usr/bin/env python3
"""Joins two network namespaces by a path with a delay and a rate, as long as it runs.

    tools/path.py --rtt 100ms --rate 50M

The client's end is 10.9.0.1 and the server's 10.9.0.2. When both are up, this program prints one
line: the PID of the client's network namespace, the PID of the server's, and the kind of the path.
Enter them with `nsenter --net=/proc/PID/ns/net COMMAND`. When this program exits, however it
exits, the namespaces disappear with the last process in them.

With netem the path is a veth pair with a netem queue at each end. Where the kernel lacks netem, the
path is a TUN device at each end, and this program between them: packets leave one after another at
the rate, and arrive half a round trip later. Nothing is lost. The MTU is 9,000, so that a path of
100 MB/s is about 11,000 packets a second, which Python can handle.

Needs root. Exits with 77, and prints the reason, where the kernel refuses.
"""

import argparse
import collections
import fcntl
import os
import select
import signal
import struct
import subprocess
import sys
import time

REFUSED = 77
MTU = 9000
CLIENT, SERVER = "10.9.0.1", "10.9.0.2"

# Buffers so large that plain TCP fills the path at 200 ms, and no saved metrics, so that each
# connection starts like the first.
SYSCTLS = {
    "net.ipv4.tcp_rmem": "4096 131072 67108864",
    "net.ipv4.tcp_wmem": "4096 65536 67108864",
    "net.ipv4.tcp_no_metrics_save": "1",
}

# linux/if_tun.h
TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000


def run(*command):
    subprocess.run(command, check=True, capture_output=True, text=True)


class Namespace:
    """A network namespace, held by a process that exits with this one, because its stdin closes."""

    def __init__(self):
        self.holder = subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        self.pid = self.holder.pid
        ours = os.readlink("/proc/self/ns/net")
        while self.holder.poll() is None and os.readlink(f"/proc/{self.pid}/ns/net") == ours:
            time.sleep(0.001)
        if self.holder.poll() is not None:
            raise OSError("unshare --net failed")
        self.run("ip", "link", "set", "lo", "up")
        for name, value in SYSCTLS.items():
            self.run("sysctl", "-qw", f"{name}={value}")

    def run(self, *command):
        run("nsenter", f"--net=/proc/{self.pid}/ns/net", *command)

    def raise_device(self, device, address):
        self.run("ip", "address", "add", f"{address}/24", "dev", device)
        self.run("ip", "link", "set", device, "mtu", str(MTU), "txqueuelen", "10000", "up")


def seconds(typed):
    return float(typed.removesuffix("ms")) / 1000


def byte_count(typed):
    units = {"K": 10**3, "M": 10**6, "G": 10**9}
    return int(float(typed.rstrip("KMG")) * units.get(typed[-1], 1))


def join_by_netem(client, server, rtt, rate):
    """Creates a veth pair, each end of which delays and paces what it sends."""
    device = f"path{os.getpid()}"
    run("ip", "link", "add", f"{device}c", "type", "veth", "peer", "name", f"{device}s")
    run("ip", "link", "set", f"{device}c", "netns", str(client.pid))
    run("ip", "link", "set", f"{device}s", "netns", str(server.pid))
    for namespace, device, address in ((client, f"{device}c", CLIENT), (server, f"{device}s", SERVER)):
        namespace.raise_device(device, address)
        delay, bits = f"{rtt / 2 * 1e6:.0f}us", f"{rate * 8}bit"
        namespace.run("tc", "qdisc", "add", "dev", device, "root", "netem", "delay", delay, "rate", bits, "limit", "1000000")


def has_netem(client):
    try:
        client.run("tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms")
        client.run("tc", "qdisc", "del", "dev", "lo", "root")
        return True
    except (OSError, subprocess.CalledProcessError):
        return False


def open_tun(namespace, address):
    """Creates a TUN device of this process, and moves it into the namespace."""
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    request = fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH14x", b"path%d", IFF_TUN | IFF_NO_PI))
    device = request[:16].rstrip(b"\0").decode()
    run("ip", "link", "set", device, "netns", str(namespace.pid))
    namespace.raise_device(device, address)
    return tun


class Direction:
    """The packets in flight from one end to the other, in order."""

    def __init__(self, source, sink, delay, rate):
        self.source, self.sink, self.delay, self.rate = source, sink, delay, rate
        self.free_at = 0.0
        self.in_flight = collections.deque()

    def take(self, now):
        try:
            while True:
                packet = os.read(self.source, MTU)
                self.free_at = max(self.free_at, now) + len(packet) / self.rate
                self.in_flight.append((self.free_at + self.delay, packet))
        except BlockingIOError:
            pass

    def deliver(self, now):
        """Hands over the packets that have arrived. Returns the time of the next one's arrival."""
        while self.in_flight and self.in_flight[0][0] <= now:
            os.write(self.sink, self.in_flight.popleft()[1])
        return self.in_flight[0][0] if self.in_flight else None


def relay(client, server, rtt, rate):
    os.nice(-15)  # the delay should be the path's, not that of a busy machine
    directions = [Direction(client, server, rtt / 2, rate), Direction(server, client, rtt / 2, rate)]
    while True:
        now = time.monotonic()
        due = [at for at in (direction.deliver(now) for direction in directions) if at is not None]
        wait = max(0.0, min(due) - now) if due else None
        readable, _, _ = select.select([client, server], [], [], wait)
        now = time.monotonic()
        for direction in directions:
            if direction.source in readable:
                direction.take(now)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rtt", type=seconds, required=True, metavar="MS", help="round trip, such as 100ms")
    arguments.add_argument("--rate", type=byte_count, default="50M", help="bytes per second in each direction, such as 50M")
    arguments = arguments.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        client, server = Namespace(), Namespace()
        if has_netem(client):
            join_by_netem(client, server, arguments.rtt, arguments.rate)
            print(client.pid, server.pid, "netem", flush=True)
            signal.pause()
        else:
            tuns = open_tun(client, CLIENT), open_tun(server, SERVER)
            print(client.pid, server.pid, "tun", flush=True)
            relay(*tuns, arguments.rtt, arguments.rate)
    except subprocess.CalledProcessError as error:
        print(f"path.py: {' '.join(error.cmd)}: {error.stderr.strip()}", file=sys.stderr)
        sys.exit(REFUSED)
    except OSError as error:
        print(f"path.py: {error}", file=sys.stderr)
        sys.exit(REFUSED)


main()
