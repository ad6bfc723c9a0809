#!/usr/bin/env bash
# Proves that gRPC works through the proxy: the gRPC project's own interop client calls its own
# interop server through the release binary, which accepts HTTP/2 in cleartext or over TLS and
# forwards it over h2c:// or https://. Every case that client and server pass without a proxy must
# pass. Then come 5,000 calls and streams of 100 MB, checked to the byte, including trailers.
#
#   cargo build --release && tools/grpc.sh
#   tools/grpc.sh --rounds 10
#
# The programs are built once, under target/gobin: the project's by `go install`, and tools/grpc,
# which makes the bulk calls.
source "$(dirname "$0")/lib.sh"

rounds=1
while (($#)); do
    case $1 in
        --rounds) rounds=$2 ;;
        *) die "unknown argument '$1'; the head of the script lists them" ;;
    esac
    shift 2
done
need go openssl

version=v1.85.0
programs=$target/gobin/$version
for program in client server; do
    # Give the programs clear names: "client" says little.
    [[ -x $programs/grpc-interop-$program ]] ||
        { GOBIN=$scratch loaded go install "google.golang.org/grpc/interop/$program@$version" &&
            install -D "$scratch/$program" "$programs/grpc-interop-$program"; }
done
bulk=$programs/grpc-bulk
(cd "$root/tools/grpc" && loaded go build -o "$bulk" .)
# The interop server's certificates are in the module's directory.
testdata=$(loaded go mod download -json "google.golang.org/grpc@$version" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')/testdata
[[ -f $testdata/ca.pem ]] || die "no certificate authority in $testdata"

set +e

cases=(empty_unary large_unary client_streaming server_streaming ping_pong empty_stream timeout_on_sleeping_server
    cancel_after_begin cancel_after_first_response status_code_and_message special_status_message custom_metadata
    unimplemented_method unimplemented_service rpc_soak channel_soak)
# The client's other cases fail without a proxy too, as `uncounted` shows: the server reports
# neither its name nor its load in the way that they expect, and the credentials come from Google's
# machines.
others=(pick_first_unary orca_per_rpc orca_oob compute_engine_creds service_account_creds jwt_token_creds per_rpc_creds
    oauth2_auth_token google_default_credentials compute_engine_channel_credentials)

# interop PORT CASE FLAG...: prints the exit status of one case, and the client's output if it
# failed. In cancel_after_begin the client cancels and then ends its body. If it is delayed between
# the two until the server answers, the call succeeds, with or without a proxy. That isn't a fault,
# and is tried again.
interop() {
    local status try
    # By default a soak fails when a call takes a second, which counts the pauses of a busy machine.
    # With more patience it still finds calls that hang.
    local patience=(-soak_per_iteration_max_acceptable_latency_ms 25000 -soak_overall_timeout_seconds 25)
    for try in 1 2 3; do
        timeout 30 "$programs/grpc-interop-client" -server_host 127.0.0.1 -server_port "$1" -test_case "$2" "${patience[@]}" "${@:3}" \
            >"$scratch/client.log" 2>&1
        status=$?
        [[ $2 == cancel_after_begin && $status == 1 ]] && grep -q 'got error code 0, want 1' "$scratch/client.log" || break
    done
    echo "$status"
    ((status == 0)) || tail -n 3 "$scratch/client.log"
}

# start_interop_server FLAG...: starts the interop server. Sets `port`, which the kernel picks and
# the log has.
start_interop_server() {
    server_log=$(mktemp "$scratch/server.XXXXXX")
    GRPC_GO_LOG_SEVERITY_LEVEL=info launch "$server_log" "$programs/grpc-interop-server" -port 0 "$@"
    eventually 20 listening || { cat "$server_log" >&2; die 'the interop server does not listen'; }
}

listening() { port=$(sed -nE 's/.*interop server listening on .*:([0-9]+)$/\1/p' "$server_log") && [[ $port ]]; }

# uncounted PORT: shows which cases can't be required of a proxy. A case that passes some day
# belongs into `cases`.
uncounted() {
    local name seconds=5
    for name in "${others[@]}"; do
        timeout "$seconds" "$programs/grpc-interop-client" -server_host 127.0.0.1 -server_port "$1" -test_case "$name" \
            >"$scratch/client.log" 2>&1
        expect "$name fails without a proxy" "$(($? != 0))" 1
        echo "   not counted: $name, which fails without a proxy: $(grep -oE -m1 '(FATAL|ERROR): .{0,70}' "$scratch/client.log" || echo "nothing within $seconds s")"
    done
}

# every_case TRANSPORT UPSTREAM: runs all cases with one pairing.
every_case() {
    local name flags=()
    [[ $1 == h2c ]] || flags=(-use_tls -use_test_ca -ca_file "$scratch/pair.crt")
    for name in "${cases[@]}"; do
        expect "$name, $1 to $2, round $round" "$(interop "$(port_of "$([[ $1 == h2c ]] && echo "$http" || echo "$https")")" "$name" "${flags[@]}")" 0
    done
}

# in_bulk TRANSPORT UPSTREAM: runs the checks of tools/grpc with one pairing.
in_bulk() {
    local flags=() address
    address=127.0.0.1:$(port_of "$([[ $1 == h2c ]] && echo "$http" || echo "$https")")
    [[ $1 == h2c ]] || flags=(-ca "$scratch/pair.crt")
    expect "bulk, $1 to $2" "$(timeout 300 "$bulk" "${flags[@]}" call "$address" 2>&1)" \
        'ok 5000 calls, 50 at once
ok 100 MB up
ok 100 MB down
ok 100 MB there and back
ok a deadline'
}

# start_proxy UPSTREAM: starts tidegate in front of it. Requests are logged to a file of their own,
# so that the log has only problems.
start_proxy() {
    access=$(mktemp "$scratch/access.XXXXXX")
    local tls=()
    [[ $1 != https:* ]] || tls=(--upstream-ca "$testdata/ca.pem" --upstream-name waterzooi.test.google.be)
    start_tidegate --workers 2 --log info --access-log "$access" --cert "$scratch/pair.crt" --key "$scratch/pair.key" \
        --route "/=$1" "${tls[@]}"
    proxies+=("$pid") logs+=("$log")
}

# Sets `stats` to the last line of statistics. Returns 0 once that counts all requests, and none in
# progress.
all_over() {
    stats=$(grep -E ' active streams, ' "$log" | tail -n 1)
    [[ $stats == *" 0 active streams, $(wc -l <"$access") requests, "* ]]
}

# quiet NAME TIMEOUTS: checks the log and the statistics after all cases. The log reports at level
# info that clients cancelled. In TIMEOUTS cases the client sets a deadline that the server can't
# meet. Either end may give up first there; if it is the server, the log reports that.
quiet() {
    local gave_up='upstream failed: .*, the upstream reset the stream with CANCEL$'
    expect "the log reports no problem ($1)" \
        "$(grep -E 'connection error|panic|upstream failed| (ERROR|WARN) ' "$log" | grep -vE "$gave_up" | head -n 5)" ''
    expect "the upstream gave up only where the deadline was too short ($1)" "$(($(grep -cE "$gave_up" "$log") <= $2))" 1
    eventually 20 all_over
    expect "the statistics count all requests as finished ($1)" $? 0
    connected=$(sed -nE 's/.* ([0-9]+) connected so far.*/\1/p' <<<"$stats")
    sent=$(sed -nE 's/.* connected so far, ([0-9]+) requests sent.*/\1/p' <<<"$stats")
    reused=$(sed -nE 's/.* requests sent, ([0-9]+) reused.*/\1/p' <<<"$stats")
    requests=$(sed -nE 's/.* ([0-9]+) requests,.*/\1/p' <<<"$stats")
    # A worker has one HTTP/2 connection to an address as long as that has room. 50 streams don't
    # fill it, but large bodies may use up its window: then there are up to eight.
    expect "connections to the upstream are reused ($1)" "$((connected <= 2 * 8 && sent > 0 && sent - reused <= connected))" 1
    # A call that its client cancels before a connection is established is never sent.
    given_up=$(grep -c '" 000 ' "$access")
    expect "all requests but the cancelled are sent once ($1)" "$((sent <= requests && requests - sent <= given_up))" 1
    echo "   $1: $requests requests, $sent sent over $connected connections to the upstream, $reused of them on a reused one"
}

make_cert pair
proxies=() logs=()
began=$SECONDS
for upstream in h2c https; do
    section "the interop client and server, through $upstream://"
    start_interop_server $([[ $upstream == h2c ]] || echo -use_tls -tls_cert_file "$testdata/server1.pem" -tls_key_file "$testdata/server1.key")
    [[ $upstream == https ]] || uncounted "$port"
    start_proxy "$upstream://127.0.0.1:$port"
    for ((round = 1; round <= rounds; round++)); do
        for transport in h2c tls; do every_case "$transport" "$upstream"; done
    done
    quiet "interop, $upstream" $((2 * rounds))
done

section 'tools/grpc, in bulk'
: >"$scratch/bulk.log"
launch "$scratch/bulk.log" "$bulk" serve
eventually 20 grep -q '^port' "$scratch/bulk.log" || die 'the bulk server does not listen'
start_proxy "h2c://127.0.0.1:$(sed -n 's/^port //p' "$scratch/bulk.log")"
for transport in h2c tls; do in_bulk "$transport" h2c; done
quiet 'bulk' 2

for at in "${!proxies[@]}"; do
    expect "proxy $((at + 1)) still runs" "$(running "${proxies[at]}" && echo yes)" yes
done
((failed == 0)) || tail -n 40 "${logs[@]}"
echo "grpc: $passed checks held, $failed did not; ${#cases[@]} cases, 4 ways, $rounds rounds, $((SECONDS - began)) s"
exit $((failed > 0))
