#!/usr/bin/env bash
# Shows how much a proxy holds of the bodies that it forwards, by its resident set, with one worker:
# of 1 GB down and up, of responses whose clients read nothing, and of uploads that the upstream
# doesn't read. Upstreams are net/http over HTTP/1.1, and HTTP/2 in cleartext and over TLS.
#
#   cargo build --release && cargo build --release -p interop && tools/proxy-memory.sh
#
# Exits with 1 when 1 GB takes 16 MB or more beyond the idle server, a stalled reader more than 256
# KB, or a stalled upload more than 2 MB. The figures for stalled clients are those of 50 at once,
# divided by 50.
source "$(dirname "$0")/lib.sh"
need curl go openssl python3

size=1000000000 stalled=50
transfer_limit=$((16 << 20)) reader_limit=$((256 << 10)) upload_limit=$((2 << 20))
programs=$target/gobin
mkdir -p "$programs"
(cd "$root/tools/upstream-go" && loaded go build -o "$programs/upstream-go" .)

set +e

make_cert pair
: >"$scratch/go"
launch "$scratch/go" "$programs/upstream-go" --cert "$scratch/pair.crt" --key "$scratch/pair.key" --root "$scratch"
eventually 20 grep -q '^https1 ' "$scratch/go" || die 'the Go upstream does not listen'

# start_proxy UPSTREAM: starts tidegate in front of an upstream, and warms it up. Sets `idle`, its
# resident bytes.
start_proxy() {
    local transport
    # Don't wait at shutdown for clients that disappeared.
    start_tidegate --workers 1 --log warn --shutdown-timeout 1s --route "/=$1://$(sed -n "s/^$1 //p" "$scratch/go")" --cert "$scratch/pair.crt" \
        --key "$scratch/pair.key" --upstream-ca "$scratch/pair.crt"
    for transport in h2c tls http1 https1; do
        use "$transport"
        status "$base/pattern?n=100000" >/dev/null
    done
    steady_at=0
    eventually 20 is_steady
    idle=$(resident VmRSS)
    # From here on VmHWM is the maximum.
    echo 5 >"/proc/$pid/clear_refs"
}

# resident WHICH: prints VmRSS, the bytes that are resident now, or VmHWM, their maximum.
resident() { echo $(($(sed -nE "s/^$1:[[:space:]]+([0-9]+) kB/\1/p" "/proc/$pid/status") * 1024)); }

# is_steady: whether the resident set has stayed the same for half a second.
steady_at=0 steady_since=0
is_steady() {
    local now=${EPOCHREALTIME/./} bytes
    bytes=$(resident VmRSS)
    ((bytes == steady_at)) || { steady_at=$bytes steady_since=$now; }
    ((now - steady_since > 500000))
}

# within WHAT BYTES LIMIT: prints a figure, and requires that it is within its limit.
within() {
    printf '%-58s %8d KB, of %d\n' "$1" $(($2 / 1024)) $(($3 / 1024))
    expect "$1 takes less than $3 bytes" "$(($2 < $3))" 1
}

transfers() {
    local transport upstream
    for upstream in http h2c https; do
        for transport in h2c https1; do
            start_proxy "$upstream"
            use "$transport"
            curl+=(--max-time 600)
            expect "1 GB is downloaded, $transport to $upstream://" \
                "$("${curl[@]}" -o /dev/null -w '%{size_download}' "$base/pattern?n=$size")" "$size"
            within "1 GB down, $transport to $upstream://" $(($(resident VmHWM) - idle)) "$transfer_limit"
            expect "1 GB is uploaded, $transport to $upstream://" \
                "$(head -c "$size" /dev/zero | "${curl[@]}" -T - "$base/discard")" "$size"
            within "1 GB down and up, $transport to $upstream://" $(($(resident VmHWM) - idle)) "$transfer_limit"
            stop "$pid"
        done
    done
}

# stall DIRECTION PATH LIMIT: measures what each of many stalled clients takes.
stall() {
    local transport upstream proxy clients
    for upstream in http h2c https; do
        for transport in http1 h2c; do
            start_proxy "$upstream"
            proxy=$pid
            # The clients stay until their stdin ends.
            coproc PEERS { exec "$target/release/interop" stall "$1" "$(port_of "$http")" "$2" "$stalled" "$transport" 2>&1; }
            clients=$PEERS_PID
            children+=("$clients")
            read -r -t 60 answer <&"${PEERS[0]}"
            expect "$stalled stall, $1, $transport to $upstream://" "$answer" stalled
            pid=$proxy steady_at=0
            eventually 20 is_steady
            within "each of $stalled that stall, $1, $transport to $upstream://" $((($(resident VmHWM) - idle) / stalled)) "$3"
            stop "$clients"
            stop "$proxy"
        done
    done
}

section 'transfers' && transfers
section 'clients that read nothing' && stall down "/pattern?n=$size" "$reader_limit"
section 'uploads that nobody reads' && stall up /deaf "$upload_limit"

((failed == 0)) || grep -hE ' (WARN|ERROR) ' "$scratch"/tidegate.* | tail -n 20
echo "proxy-memory: $passed checks held, $failed did not"
exit $((failed > 0))
