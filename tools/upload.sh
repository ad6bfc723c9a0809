#!/usr/bin/env bash
# Shows how long an upload takes over a long path, beside a plain TCP copy over the same path in the same run, and beside
# Debian's h2o and nghttpd.
#
#   cargo build --release && cargo build --release -p measure && tools/upload.sh
#   tools/upload.sh --rtt '100ms' --servers 'tidegate'
#
# The path is that of tools/path.py; what `measure upload` does is in its --help. Exits with 1 when an upload to
# tidegate takes more than 1.25 times as long as the copy, and with 77 where the kernel allows no such path.
source "$(dirname "$0")/lib.sh"
measure=$target/release/measure

rtts='20ms 100ms 200ms' servers='tidegate h2o nghttpd' rate=50M options=()
while (($#)); do
    case $1 in
        --rtt) rtts=$2 ;;
        --rate) rate=$2 ;;
        --servers) servers=$2 ;;
        *) options+=("$1" "$2") ;;
    esac
    shift 2
done
# shellcheck disable=SC2086 # a list
need python3 unshare nsenter ip "$measure" ${servers/tidegate/"$tidegate"}

mkdir "$scratch/www"
echo taken >"$scratch/www/upload" # what nghttpd answers with
tidegate_flags=(--route /upload=upload)

for rtt in $rtts; do
    start_path "$rtt" "$rate"
    echo "20 MB over a path of $rtt and $rate/s"
    launch "$scratch/sink-$rtt" "${at_server[@]}" "$measure" sink "$host:0"
    eventually 10 grep -qs tcp "$scratch/sink-$rtt"
    started=("$path" "$pid")
    targets=("plain TCP=$(cat "$scratch/sink-$rtt")")
    for server in $servers; do
        start_server "$server" h2c
        started+=("$pid")
        targets+=("$server=$url/upload")
    done
    "${at_client[@]}" "$measure" upload "${targets[@]}" --at-most 1.25 "${options[@]}" || worse=1
    for pid in "${started[@]}"; do stop "$pid" || true; done
done
exit "${worse:-0}"
