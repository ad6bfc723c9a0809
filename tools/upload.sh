#!/usr/bin/env bash
# Shows how long an upload of 20 MB takes over a long path, beside a plain TCP copy over the same
# path in the same run, tidegate with windows of 64 KB that don't grow, Debian's h2o, and nghttpd,
# whose windows don't grow either.
#
#   cargo build --release && cargo build --release -p measure && tools/upload.sh
#   tools/upload.sh --rtt 100ms --servers tidegate --clients ''
#
# The path is that of tools/path.py; `measure upload --help` describes the measurement. Then curl
# and nghttp upload to tidegate too. Exits with 1 when an upload to tidegate by `measure` takes more
# than 1.25 times as long as the copy, and with 77 where the kernel allows no such path.
source "$(dirname "$0")/lib.sh"
measure=$target/release/measure

rtts='20ms 100ms 200ms' rate=50M servers='tidegate fixed h2o nghttpd' clients='curl nghttp' rounds=5
while (($#)); do
    case $1 in
        --rtt) rtts=$2 ;;
        --rate) rate=$2 ;;
        --servers) servers=$2 ;;
        --clients) clients=$2 ;;
        --rounds) rounds=$2 ;;
        *) die "unknown argument '$1'; the head of the script lists them" ;;
    esac
    shift 2
done
need python3 unshare nsenter ip sysctl "$tidegate" "$measure"
# shellcheck disable=SC2086 # a list
need $clients
for server in $servers; do [[ $server == @(tidegate|fixed) ]] || need "$server"; done

mkdir "$scratch/www"
echo taken >"$scratch/www/upload" # what nghttpd answers with
head -c 20000000 /dev/zero >"$scratch/body"

# upload_by CLIENT URL: prints the milliseconds from the start of the client to its exit.
upload_by() {
    local since=${EPOCHREALTIME/./}
    case $1 in
        curl) "${at_client[@]}" curl --silent --fail --http2-prior-knowledge -H expect: --data-binary "@$scratch/body" "$2" ;;
        nghttp) "${at_client[@]}" nghttp -d "$scratch/body" "$2" ;;
    esac >"$scratch/answer" || die "$1 failed"
    grep -q '"bytes":20000000' "$scratch/answer" || die "$1 did not upload the whole body"
    echo $(((${EPOCHREALTIME/./} - since) / 1000))
}

for rtt in $rtts; do
    start_path "$rtt" "$rate"
    echo "20 MB over a path of $rtt and $rate/s, medians of $rounds"
    launch "$scratch/sink-$rtt" "${at_server[@]}" "$measure" sink "$host:0"
    eventually 10 grep -qs tcp "$scratch/sink-$rtt"
    started=("$path" "$pid")
    targets=("plain TCP=$(cat "$scratch/sink-$rtt")")
    for server in $servers; do
        tidegate_flags=(--route /upload=upload)
        [[ $server != fixed ]] || tidegate_flags+=(--max-stream-window 64K)
        start_server "${server/fixed/tidegate}" h2c
        started+=("$pid")
        targets+=("${server/fixed/fixed 64 KB}=$url/upload")
    done
    "${at_client[@]}" "$measure" upload "${targets[@]}" --rounds "$rounds" --at-most 1.25 --attempts 3 || worse=1
    for client in $clients; do
        for ((round = 0; round < rounds; round++)); do
            upload_by "$client" "${targets[1]#*=}"
        done | sort -n | awk -v client="$client" '{ ms[NR] = $1 } END { printf "%-16s%10d\n", "by " client, ms[int((NR + 1) / 2)] }'
    done
    for pid in "${started[@]}"; do stop "$pid" || true; done
done
exit "${worse:-0}"
