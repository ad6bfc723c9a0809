# shellcheck shell=bash
# Functions that the scripts in this directory share. This file is sourced, never run.
#
# They start the release binary on ports that the kernel picks, wait for conditions (never for a
# fixed time), and end exactly the processes that they started, however the script ends. The binary
# is target/release/tidegate, or the one that TIDEGATE names.

set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
tidegate=${TIDEGATE:-$target/release/tidegate}
scratch=$(mktemp -d)
children=()

finish() {
    local status=$? pid
    trap - EXIT
    for pid in "${children[@]}"; do
        kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    rm -rf "$scratch"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

die() {
    echo "${0##*/}: $*" >&2
    exit 1
}

# need COMMAND...: stops the script with one sentence if a command is missing.
need() {
    local tool
    for tool in "$@"; do
        command -v "$tool" >/dev/null || die "$tool is not installed; .ci/run installs what these scripts use"
    done
}

# eventually SECONDS COMMAND...: returns 0 as soon as the command succeeds, and 1 if it still fails
# after SECONDS.
eventually() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < deadline)) || return 1
        sleep 0.02
    done
}

running() { kill -0 "$1" 2>/dev/null; }

# loaded COMMAND...: runs a command that downloads something, and retries it twice, because the
# network may be down for a moment.
loaded() { "$@" || { sleep 5 && "$@"; } || { sleep 20 && "$@"; }; }

# launch LOG COMMAND...: starts a process whose output goes to LOG. Sets `pid`.
launch() {
    local log=$1
    shift
    "$@" >"$log" 2>&1 </dev/null &
    pid=$!
    children+=("$pid")
}

# stop PID: ends a launched process and waits for it. Returns its exit status.
stop() {
    kill -TERM "$1" 2>/dev/null || true
    reap "$1"
}

# reap PID: waits up to 60 seconds for a launched process to exit, then kills it. Returns its exit
# status.
reap() {
    local child status=0 rest=()
    eventually 60 exited "$1" || kill -KILL "$1"
    wait "$1" || status=$?
    for child in "${children[@]}"; do [[ $child == "$1" ]] || rest+=("$child"); done
    children=("${rest[@]}")
    return "$status"
}

# adopt PID: has the children of a launched process ended with it, because they outlive a parent
# that is killed. Waits for the first child: a server may listen before it has children.
adopt() {
    eventually 20 pgrep -P "$1" >/dev/null || die "process $1 has no children"
    mapfile -t -O "${#children[@]}" children < <(pgrep -P "$1")
}

# exited PID: whether a process has exited. A child stays a zombie until it is waited for.
exited() { [[ ! -e /proc/$1 ]] || grep -q '^State:[[:space:]]*Z' "/proc/$1/status" 2>/dev/null; }

# start_tidegate FLAG...: starts the server on free ports of 127.0.0.1. Sets `pid`, `log`, `https`
# and `http`.
start_tidegate() {
    [[ -x $tidegate ]] || die "$tidegate doesn't exist; build it with: cargo build --release"
    log=$(mktemp "$scratch/tidegate.XXXXXX")
    launch "$log" "$tidegate" --listen 127.0.0.1:0 --listen-h2c 127.0.0.1:0 "$@"
    eventually 20 addresses_printed || { cat "$log" >&2; die "the server printed no addresses within 20 seconds"; }
}

addresses_printed() {
    https=$(grep -m1 -oE 'https://127\.0\.0\.1:[0-9]+' "$log") && http=$(grep -m1 -oE 'http://127\.0\.0\.1:[0-9]+' "$log") ||
        { exited "$pid" && { cat "$log" >&2; die "the server exited instead of starting"; }; }
}

# expect WHAT GOT WANTED: one check, counted in `passed` or `failed`, and reported if it failed.
passed=0 failed=0
expect() {
    if [[ $2 == "$3" ]]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'FAIL  %s\n      wanted %.300q\n      got    %.300q\n' "$1" "$3" "$2"
    fi
}

section() { echo "-- $1"; }

# headless_chromium FLAG... URL: runs Chromium with a fresh profile until the page is loaded. The
# array `at_browser` goes before the command, such as the client's end of a path.
at_browser=()
headless_chromium() {
    "${at_browser[@]}" timeout --kill-after=5 120 chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run \
        --disable-background-networking --disable-component-update --disable-sync \
        --user-data-dir="$(mktemp -d "$scratch/profile.XXXXXX")" --virtual-time-budget=5000 "$@" 2>"$scratch/chromium.log"
}

port_of() { echo "${1##*:}"; }

# free_ports N: prints N different ports that were free a moment ago, for servers that can't let the
# kernel choose.
free_ports() {
    python3 - "$1" <<'PYTHON'
import socket, sys

held = [socket.socket() for _ in range(int(sys.argv[1]))]
for one in held:
    one.bind(("127.0.0.1", 0))
print(*(one.getsockname()[1] for one in held))
PYTHON
}

free_port() { free_ports 1; }

accepts() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# make_cert NAME: creates a self-signed P-256 certificate in $scratch/NAME.crt, and its key in
# $scratch/NAME.key.
make_cert() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=localhost \
        -addext subjectAltName=DNS:localhost,IP:127.0.0.1 \
        -keyout "$scratch/$1.key" -out "$scratch/$1.crt" 2>/dev/null
}

# server_command SERVER TRANSPORT PORT: sets the array `command` to h2o, nghttpd or tidegate with
# one worker. The server takes uploads at /upload and serves $scratch/www elsewhere, over tls with
# the certificate of `make_cert pair`, or over h2c. It listens on `host`. `tidegate_flags` are added
# for tidegate.
host=127.0.0.1
tidegate_flags=()
server_command() {
    case $1-$2 in
        h2o-*)
            {
                echo 'num-threads: 1'
                echo "listen: {host: $host, port: $3$([[ $2 == h2c ]] ||
                    echo ", ssl: {certificate-file: $scratch/pair.crt, key-file: $scratch/pair.key, ocsp-update-interval: 0}")}"
                echo "hosts: {default: {paths: {/: {file.dir: $scratch/www}$([[ ! -e $scratch/www/upload ]] ||
                    echo ', /upload: {mruby.handler: "Proc.new { |env| [200, {}, []] }"}')}}}"
            } >"$scratch/h2o-$2.yaml"
            command=(h2o -c "$scratch/h2o-$2.yaml")
            ;;
        nghttpd-tls) command=(nghttpd -n1 -a "$host" -d "$scratch/www" "$3" "$scratch/pair.key" "$scratch/pair.crt") ;;
        nghttpd-h2c) command=(nghttpd -n1 -a "$host" -d "$scratch/www" --no-tls "$3") ;;
        tidegate-tls)
            command=("$tidegate" --workers 1 --root "$scratch/www" --log warn --listen "$host:$3" --listen-h2c none
                --cert "$scratch/pair.crt" --key "$scratch/pair.key" "${tidegate_flags[@]}")
            ;;
        tidegate-h2c)
            command=("$tidegate" --workers 1 --root "$scratch/www" --log warn --listen none --listen-h2c "$host:$3"
                "${tidegate_flags[@]}")
            ;;
        *) die "no such server: $1 over $2" ;;
    esac
}

# start_server SERVER TRANSPORT [WRAPPER...]: starts one of those servers on a free port, in the
# network namespace that `start_path` made, if it was called. Sets `pid`, `port` and `url`.
at_server=()
start_server() {
    chmod 755 "$scratch" # h2o, started by root, turns into nobody
    port=$(free_port)
    server_command "$1" "$2" "$port"
    launch "$scratch/$1-$2.log" "${at_server[@]}" "${@:3}" "${command[@]}"
    eventually 60 listens "$port" || { cat "$scratch/$1-$2.log" >&2; die "$1 does not listen on port $port"; }
    url=$([[ $2 == tls ]] && echo https || echo http)://$host:$port
}

listens() { "${at_server[@]}" bash -c "exec 3<>/dev/tcp/$host/$1" 2>/dev/null; }

# start_path RTT RATE: joins two network namespaces by a path. Sets `path`, the process; `at_client`
# and `at_server`, arrays that go before a command; and `host`, the server's address. If the kernel
# refuses, says so and exits with status 77.
start_path() {
    local log ends
    log=$(mktemp "$scratch/path.XXXXXX")
    launch "$log" "$root/tools/path.py" --rtt "$1" --rate "$2"
    path=$pid
    eventually 20 path_is_up "$log" "$path" || { cat "$log" >&2; die 'no path within 20 seconds'; }
    exited "$path" && {
        cat "$log"
        echo "NOT RUN: this kernel, or the user's rights, allow no network namespaces joined by a path"
        exit 77
    }
    read -ra ends <"$log"
    # Run with priority over the machine's other work, so that only the path takes time.
    at_client=(nice -n -10 nsenter "--net=/proc/${ends[0]}/ns/net")
    at_server=(nice -n -10 nsenter "--net=/proc/${ends[1]}/ns/net")
    host=10.9.0.2
}

path_is_up() { exited "$2" || grep -qE '^[0-9]+ [0-9]+ ' "$1"; }

# The functions from here on are clients of a server that `start_tidegate` started.

sha() { sha256sum | cut -d' ' -f1; }

# use TRANSPORT: sets `base`, the URL; `version`; and `curl` and `h2load`, the commands with the
# flags for that transport. The certificate is that of `make_cert pair`.
use() {
    curl=(curl --silent --show-error --max-time 60 --cacert "$scratch/pair.crt")
    case $1 in
        tls) base=$https curl+=(--http2) ;;
        h2c) base=$http curl+=(--http2-prior-knowledge) ;;
        https1) base=$https curl+=(--http1.1) ;;
        http1) base=$http curl+=(--http1.1) ;;
    esac
    version=$([[ $1 == *1 ]] && echo 1.1 || echo 2)
    h2load=(h2load) && [[ $version == 2 ]] || h2load+=(--h1)
}

# status CURL-ARGUMENT...: prints the status code of one request, and leaves its body in
# $scratch/body.
status() { "${curl[@]}" --output "$scratch/body" --write-out '%{http_code}' "$@"; }

# begin_transfer URL: begins a download that stalls until `end_transfer`, because its output is a
# FIFO. Sets `client`.
begin_transfer() {
    rm -f "$scratch/fifo"
    mkfifo "$scratch/fifo"
    "${curl[@]}" -o "$scratch/fifo" "$1" 2>/dev/null &
    client=$!
    children+=("$client")
    # Opening one end of a FIFO waits for the other end, so hold both until something has arrived.
    exec 8<>"$scratch/fifo" 7<"$scratch/fifo"
    timeout 20 head -c 1 <&7 >"$scratch/transferred"
    exec 8>&-
}

# end_transfer: reads the rest. $scratch/transferred has the whole body.
end_transfer() {
    cat <&7 >>"$scratch/transferred"
    exec 7<&-
}

# field NAME CURL-ARGUMENT...: prints the value of one response field.
field() { "${curl[@]}" --output /dev/null --dump-header - "${@:2}" | tr -d '\r' | sed -n "s/^$1: //p"; }

# h2load_counts N ARGUMENT...: prints how many of N requests got a 2xx, and how many bytes of DATA
# came back. Over HTTP/1.1 h2load now and then counts more statuses than requests, with any server;
# the number that it calls succeeded is right.
h2load_counts() {
    timeout 120 "${h2load[@]}" --requests "$1" --clients "$(($1 < 4 ? 1 : 4))" --max-concurrent-streams 100 "${@:2}" |
        sed -nE 's/^requests: .* ([0-9]+) succeeded.*/\1 2xx/p; s/.* \(([0-9]+)\) data$/\1 bytes/p' | paste -sd' '
}

# histogram: prints how often each byte occurs. nghttp writes the bodies of 100 streams as their
# frames arrive, interleaved.
histogram() { python3 -c 'import collections, sys; print(sorted(collections.Counter(sys.stdin.buffer.read()).items()))'; }

# expect_bodies WHERE FILE SUM N: checks uploads, downloads and echoes of one file over what `use`
# has set, with h2load N times. The file is served under its own name, whose stem is its size; SUM
# is its checksum.
expect_bodies() {
    local size=${2##*/} sum=$3 n=$4 answer
    size=${size%.bin}
    answer="{\"bytes\":$size,\"sha256\":\"$sum\"}"
    expect "curl uploads $size ($1)" "$("${curl[@]}" --data-binary "@$2" "$base/upload")" "$answer"
    expect "curl streams $size up ($1)" "$("${curl[@]}" -X POST -T - "$base/upload" <"$2")" "$answer"
    if [[ $version == 2 ]]; then
        expect "nghttp fetches $size ($1)" "$(timeout 60 nghttp -y "$base/$size.bin" | sha)" "$sum"
        expect "nghttp uploads $size ($1)" "$(timeout 60 nghttp -y -d "$2" "$base/upload")" "$answer"
        expect "nghttp gets $size echoed ($1)" "$(timeout 60 nghttp -y -d "$2" "$base/echo" | sha)" "$sum"
    fi
    expect "h2load fetches $size ($1)" "$(h2load_counts "$n" "$base/$size.bin")" "$n 2xx $((n * size)) bytes"
    ((size > 0)) || return 0 # h2load uploads no empty file
    expect "h2load uploads $size ($1)" "$(h2load_counts "$n" -d "$2" "$base/upload")" "$n 2xx $((n * ${#answer})) bytes"
    expect "h2load gets $size echoed ($1)" "$(h2load_counts "$n" -d "$2" "$base/echo")" "$n 2xx $((n * size)) bytes"
}
