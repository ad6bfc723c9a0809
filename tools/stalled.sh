#!/usr/bin/env bash
# Shows what a stalled stream costs the other streams of its connection: 50 uploads over a path of
# 20 ms, alone, beside one upload whose echo the client doesn't read, and beside 50 such uploads.
#
#   cargo build --release && cargo build --release -p measure && tools/stalled.sh
#
# `measure stalled --help` describes the measurement. Exits with 1 when the others run at less than
# 0.9 of their speed three times in a row, and with 77 where the kernel allows no such path.
source "$(dirname "$0")/lib.sh"
measure=$target/release/measure
need python3 unshare nsenter ip sysctl "$tidegate" "$measure"

mkdir "$scratch/www"
tidegate_flags=(--route /upload=upload --route /echo=echo)
start_path 20ms 50M
start_server tidegate h2c
for stalled in 1 50; do
    "${at_client[@]}" "$measure" stalled "tidegate=$url" --stalled "$stalled" --at-least 0.9 --attempts 3 "$@" || worse=1
done
exit "${worse:-0}"
