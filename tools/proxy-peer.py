#!/usr/bin/env python3
"""Peers of a proxy that do what ordinary software doesn't, for tools/proxy.sh and
tools/proxy-memory.sh. Each is a command.

    upstream          HTTP/1.1 that breaks off, falls silent or lies, by the path; with
                      --proxy-protocol it requires a PROXY header first
    unwilling         an address that no longer accepts connections, and one where nobody listens
    ticks URL COMMAND...
                     reports whether the lines of a command's output come one by one: requests
                      the next line by that URL
    h2 PORT FIELD...  one HTTP/2 request with just these fields; prints its answer
    websocket PORT    the opening handshake of RFC 6455, every byte checked, and a message there and
                      back
    stall down|up     clients that read nothing of a response, or send what nobody reads
"""

import base64
import hashlib
import os
import select
import selectors
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1


def say(*words):
    # One write, because there are threads.
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def connect(port, source=None):
    return socket.create_connection(("127.0.0.1", int(port)), 10, (source, 0) if source else None)


# -- upstreams


def upstream(*flags):
    wants_header = "--proxy-protocol" in flags
    listener = socket.create_server(("127.0.0.1", 0), backlog=1000)
    say("raw", "%s:%d" % listener.getsockname())
    while True:
        peer, _ = listener.accept()
        threading.Thread(target=serve, args=(peer, wants_header), daemon=True).start()


def serve(peer, wants_header):
    with peer, peer.makefile("rb") as stream:
        answer = proxy_header(stream) if wants_header else "ok"
        while True:
            head = []
            while (line := stream.readline().decode("latin-1").rstrip("\r\n")) != "":
                head.append(line)
            if not head:
                return
            say("reached", head[0])
            path = head[0].split(" ")[1].split("?")[0]
            if path == "/unread":
                # The body stays unread. Poll for the end of the connection.
                poll = select.poll()
                poll.register(peer, select.POLLRDHUP)
                poll.poll()
                return say("left", head[0])
            if path not in ENDS:
                peer.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s\n" % (len(answer) + 1, answer.encode()))
                continue
            peer.sendall(ENDS[path])
            if path == "/silent":
                stream.read()
            if path == "/reset":
                # All data must arrive before the RST discards it: wait until no byte is
                # unacknowledged.
                while peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)[24:28] != bytes(4):
                    time.sleep(0.001)
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return


# The upstream's answers by path, before it closes the connection.
HALF = b"x" * 500
ENDS = {
    "/closes": b"",
    "/silent": b"",
    "/short": b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n" + HALF,
    "/reset": b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n" + HALF,
    "/chunked": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1f4\r\n" + HALF + b"\r\n",
    "/mid-chunk": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3e8\r\n" + HALF,
    "/half-a-head": b"HTTP/1.1 200 OK\r\ncontent-le",
    "/garbage": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "/two-lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
    "/both-framings": b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "/until-closed": b"HTTP/1.1 200 OK\r\n\r\nall there is\n",
    "/hop-by-hop": b"HTTP/1.1 200 OK\r\nconnection: x-hop, close\r\nx-hop: 1\r\nkeep-alive: timeout=5\r\n"
    b"proxy-connection: keep-alive\r\nx-kept: yes\r\ncontent-length: 3\r\n\r\nok\n",
}


def proxy_header(stream):
    """Returns the content of a PROXY protocol header, or its fault."""
    first = stream.read(1)
    if first == b"P":
        line = first + stream.readline(107)
        words = line.decode("latin-1").split(" ")
        if not line.endswith(b"\r\n") or len(words) != 6 or words[:2] != ["PROXY", "TCP4"]:
            return f"no header of version 1: {line!r}"
        return "v1 " + " ".join(words[2:]).strip()
    head = first + stream.read(15)
    if head[:14] != b"\r\n\r\n\0\r\nQUIT\n\x21\x11":
        return f"no header of version 2: {head!r}"
    (length,) = struct.unpack(">H", head[14:])
    block = stream.read(length)
    source, destination, source_port, destination_port = struct.unpack(">4s4sHH", block[:12])
    return f"v2 {socket.inet_ntoa(source)} {socket.inet_ntoa(destination)} {source_port} {destination_port}"


def unwilling():
    nobody = socket.socket()
    nobody.bind(("127.0.0.1", 0))
    say("nobody", "%s:%d" % nobody.getsockname())
    # The kernel drops SYNs when the queue of the listener is full.
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    waiting = []
    for _ in range(4):
        peer = socket.socket()
        peer.setblocking(False)
        peer.connect_ex(listener.getsockname())
        waiting.append(peer)
    time.sleep(0.1)
    say("full", "%s:%d" % listener.getsockname())
    time.sleep(600)


# -- clients


def ticks(url, *command):
    """The upstream sends each line only after the one before has arrived, so a proxy that holds a
    line back until the next one comes waits for ever."""
    child = subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0)
    came = 0
    while child.stdout.readline():
        came += 1
        if came < 5:
            urllib.request.urlopen(url, timeout=60).close()
    say("one by one" if came == 5 else f"{came} lines")


def string(text):
    """Returns a string literal of HPACK without Huffman coding."""
    data = text.encode("latin-1")
    assert len(data) < 127 + 128
    length = bytes([len(data)]) if len(data) < 127 else bytes([127, len(data) - 127])
    return length + data


def block(fields):
    return b"".join(b"\0" + string(name) + string(value) for name, value in fields)


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def read_exactly(peer, count):
    data = b""
    while len(data) < count:
        piece = peer.recv(count - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data


def read_frame(peer):
    head = read_exactly(peer, 9)
    payload = read_exactly(peer, int.from_bytes(head[:3], "big"))
    return head[3], head[4], int.from_bytes(head[5:], "big"), payload


def status(header_block):
    """Returns the status at the beginning of a block: an entry of the static table, or a literal,
    with or without Huffman coding."""
    while header_block and 0x20 <= header_block[0] < 0x40:
        header_block = header_block[1:]  # a table size update, which tidegate sends in one byte
    first = header_block[0]
    if first & 0x80:
        return {8: 200, 9: 204, 10: 206, 11: 304, 12: 400, 13: 404, 14: 500}.get(first & 0x7F, f"field {first & 0x7F}")
    length = header_block[1] & 0x7F
    value = header_block[2 : 2 + length]
    if not header_block[1] & 0x80:
        return value.decode()
    bits, digits = "".join(f"{byte:08b}" for byte in value), ""
    while len(digits) < 3:
        short, long = int(bits[:5], 2), int(bits[:6], 2)
        digit, used = (short, 5) if short < 3 else (long - 22, 6)
        digits, bits = digits + str(digit), bits[used:]
    return digits


def h2(port, *fields):
    """A FIELD is name=value; body=... is sent as DATA."""
    fields = [field.split("=", 1) for field in fields]
    fields = [(name, value.encode().decode("unicode_escape")) for name, value in fields]
    body = [value.encode() for name, value in fields if name == "body"]
    fields = [field for field in fields if field[0] != "body"]
    peer = connect(port)
    peer.sendall(PREFACE + frame(SETTINGS, 0, 0))
    peer.sendall(frame(HEADERS, END_HEADERS | (0 if body else END_STREAM), 1, block(fields)))
    for data in body:
        peer.sendall(frame(DATA, END_STREAM, 1, data))
    try:
        while True:
            kind, flags, stream, payload = read_frame(peer)
            if kind == SETTINGS and not flags & ACK:
                peer.sendall(frame(SETTINGS, ACK, 0))
            elif kind == HEADERS and stream == 1:
                return say("status", status(payload))
            elif kind == RST_STREAM:
                return say("reset", int.from_bytes(payload, "big"))
            elif kind == GOAWAY:
                return say("goaway", int.from_bytes(payload[4:8], "big"))
    except (EOFError, ConnectionError):
        say("closed")


def websocket(port, path="/", *more):
    peer = connect(port)
    key = base64.b64encode(os.urandom(16)).decode()
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Connection: keep-alive, Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {key}",
        *more,
    ]
    peer.sendall("\r\n".join(lines + ["", ""]).encode())
    stream = peer.makefile("rb")
    answered = stream.readline().decode().strip()
    fields = {}
    while (line := stream.readline().decode().strip()) != "":
        name, _, value = line.partition(":")
        fields[name.lower()] = value.strip()
    if not answered.startswith("HTTP/1.1 101"):
        return say(answered)
    proof = base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
    message, mask = b"there and back", os.urandom(4)
    masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(message))
    peer.sendall(bytes([0x81, 0x80 | len(message)]) + mask + masked)
    echoed = stream.read(2 + len(message))
    # Close with 1000. The other side's Close must be followed by the end of the connection.
    peer.sendall(bytes([0x88, 0x82]) + bytes(4) + struct.pack(">H", 1000))
    closed = stream.read(4)
    say(
        answered,
        fields.get("upgrade", "no upgrade").lower(),
        fields.get("connection", "no connection").lower(),
        "proof" if fields.get("sec-websocket-accept") == proof else f"wrong proof {fields.get('sec-websocket-accept')}",
        fields.get("sec-websocket-protocol", "no protocol"),
        "echoed" if echoed == bytes([0x81, len(message)]) + message else f"wrong echo {echoed!r}",
        "closed" if closed == bytes([0x88, 2]) + struct.pack(">H", 1000) else f"wrong close {closed!r}",
        "ended" if stream.read() == b"" else "goes on",
    )


def stall(direction, port, path, count, protocol):
    """Opens `count` connections with a request each, and stalls them. Prints `stalled` when nothing
    moves any longer, and keeps them until stdin ends."""
    peers = []
    for _ in range(int(count)):
        peer = socket.socket()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.connect(("127.0.0.1", int(port)))
        peers.append(peer)
        if protocol == "http1":
            if direction == "down":
                peer.sendall(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
            else:
                peer.sendall(f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000000\r\n\r\n".encode())
        else:
            # Windows of the maximum size, so that only the socket holds the response up.
            wide = struct.pack(">HI", 4, 0x7FFFFFFF)
            peer.sendall(PREFACE + frame(SETTINGS, 0, 0, wide) + frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 0x7FFF0000)))
            fields = [(":method", "GET" if direction == "down" else "POST"), (":scheme", "http"), (":authority", "localhost"), (":path", path)]
            end = END_STREAM if direction == "down" else 0
            peer.sendall(frame(HEADERS, END_HEADERS | end, 1, block(fields)))
    if direction == "up":
        (push_http1 if protocol == "http1" else push_http2)(peers)
    for peer in peers if direction == "down" else []:
        # A response that hasn't begun can't stall.
        peer.settimeout(60)
        if protocol == "http1":
            peer.recv(1, socket.MSG_PEEK)
            continue
        while (head := read_exactly(peer, 9))[3] != DATA:
            read_exactly(peer, int.from_bytes(head[:3], "big"))
    say("stalled")
    sys.stdin.read()


def push_http1(peers):
    """Sends until no socket has accepted anything for a second."""
    piece = bytes(65536)
    poll = selectors.DefaultSelector()
    for peer in peers:
        peer.setblocking(False)
        poll.register(peer, selectors.EVENT_WRITE)
    while ready := poll.select(1):
        for key, _ in ready:
            try:
                key.fileobj.send(piece)
            except BlockingIOError:
                pass


def push_http2(peers):
    """Sends as much as the windows allow, until no window has grown for a second."""
    windows = {peer: [65535, 65535] for peer in peers}
    initial = dict.fromkeys(peers, 65535)
    poll = selectors.DefaultSelector()
    for peer in peers:
        poll.register(peer, selectors.EVENT_READ)
    moved = time.monotonic()
    while time.monotonic() - moved < 1:
        for key, _ in poll.select(0.1):
            peer = key.fileobj
            kind, flags, stream, payload = read_frame(peer)
            window = windows[peer]
            if kind == SETTINGS and not flags & ACK:
                for at in range(0, len(payload), 6):
                    name, value = struct.unpack(">HI", payload[at : at + 6])
                    if name == 4:
                        window[1] += value - initial[peer]
                        initial[peer] = value
                peer.sendall(frame(SETTINGS, ACK, 0))
            elif kind == WINDOW_UPDATE:
                window[min(stream, 1)] += int.from_bytes(payload, "big")
            elif kind == PING and not flags & ACK:
                peer.sendall(frame(PING, ACK, 0, payload))
            elif kind in (RST_STREAM, GOAWAY):
                sys.exit(f"the server ended an upload: frame {kind}, {payload!r}")
        for peer, window in windows.items():
            while (size := min(*window, 16384)) > 0:
                peer.sendall(frame(DATA, 0, 1, bytes(size)))
                window[0] -= size
                window[1] -= size
                moved = time.monotonic()


if __name__ == "__main__":
    commands = {"upstream": upstream, "unwilling": unwilling, "ticks": ticks, "h2": h2, "websocket": websocket, "stall": stall}
    if len(sys.argv) < 2 or sys.argv[1] not in commands:
        sys.exit(__doc__)
    commands[sys.argv[1]](*sys.argv[2:])
