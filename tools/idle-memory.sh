#!/usr/bin/env bash
# Shows the memory of an idle connection that has asked once: tidegate's, and that of Debian's h2o
# and nghttpd.
#
#   cargo build --release && tools/idle-memory.sh
#   tools/idle-memory.sh --connections 4000 --only 'tidegate h2o'
#
# One worker serves a 15-byte file over cleartext HTTP/2 and over TLS 1.3. After 100 connections,
# which pay for what the worker itself needs, as many as --connections says (2,000) are opened, as
# many a second as --rate says (400); each asks once for the file and stays open. The growth of the
# resident memory of the process and its children, three seconds after the last response, divided by
# the number of connections, is the result. The kernel's memory for sockets isn't counted. With a
# high rate, the memory that a connection gives back once it rests counts too: no later connection
# can use it, and the allocator keeps it.
source "$(dirname "$0")/lib.sh"

connections=2000 rate=400 servers='nghttpd h2o tidegate'
while (($#)); do
    case $1 in
        --connections) connections=$2 && shift ;;
        --rate) rate=$2 && shift ;;
        --only) servers=$2 && shift ;;
        *) die "unknown argument '$1'; the head of the script lists them" ;;
    esac
    shift
done
need openssl python3
for server in $servers; do [[ $server == tidegate ]] && need "$tidegate" || need "$server"; done
# One client gets no more than a part of the connections that the server may have.
ulimit -n $((4 * connections + 4000))

make_cert pair
mkdir "$scratch/www"
printf 'fifteen bytes.\n' >"$scratch/www/small.txt"

cat >"$scratch/client.py" <<'PYTHON'
import socket, ssl, sys, time

transport = sys.argv[1]
port, pid, connections, rate = map(int, sys.argv[2:])
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
context.set_alpn_protocols(["h2"])


def frame(kind, flags, stream, payload):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def literal(index, text):
    return bytes([0x40 | index, len(text)]) + text


# :method GET, :scheme, :path, :authority, user-agent and accept.
block = b"\x82" + (b"\x87" if transport == "tls" else b"\x86") + bytes([0x04, 10]) + b"/small.txt"
block += literal(1, b"localhost") + literal(58, b"idle-memory") + literal(19, b"*/*")
request = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"") + frame(4, 1, 0, b"")
request += frame(1, 5, 1, block)


def ask():
    plain = socket.create_connection(("127.0.0.1", port))
    io = context.wrap_socket(plain) if transport == "tls" else plain
    io.settimeout(20)
    io.sendall(request)
    got = b""
    while True:
        while len(got) >= 9 and len(got) >= 9 + int.from_bytes(got[:3], "big"):
            size = 9 + int.from_bytes(got[:3], "big")
            kind, flags, payload, got = got[3], got[4], got[9:size], got[size:]
            if kind in (3, 7):
                sys.exit("the server refused the request")
            if kind in (0, 1) and flags & 1:
                return io
        more = io.recv(65536)
        if not more:
            sys.exit("the server ended a connection")
        got += more


def resident():
    processes = [pid] + [int(child) for child in open(f"/proc/{pid}/task/{pid}/children").read().split()]
    kib = 0
    for process in processes:
        for line in open(f"/proc/{process}/status"):
            if line.startswith("RssAnon:"):
                kib += int(line.split()[1])
    return kib * 1024


def settled():
    """Returns the resident memory once the pause after which servers give memory back is over."""
    time.sleep(3)
    return resident()


open_ones = [ask() for _ in range(100)]
before = settled()
start = time.monotonic()
for index in range(connections):
    time.sleep(max(0, start + index / rate - time.monotonic()))
    open_ones.append(ask())
print((settled() - before) / connections / 1024)
PYTHON

echo "KiB per idle connection, $connections connections that have asked once, $rate opened a second"
for server in $servers; do
    for transport in h2c tls; do
        start_server "$server" "$transport"
        kib=$(python3 "$scratch/client.py" "$transport" "$port" "$pid" "$connections" "$rate")
        printf '%-10s%-5s%8.2f\n' "$server" "$transport" "$kib"
        stop "$pid" || true
    done
done
