#!/usr/bin/env bash
# Shows what a stream that has come to a stop costs the others of its connection: 50 uploads over a path of 20 ms, alone, beside
# one upload whose echo the client doesn't take, and beside 50 of those.
#
#   cargo build --release && cargo build --release -p measure && tools/stalled.sh
#
# What `measure stalled` does is in its --help. Three times out of three the others must have run at less than 0.9 of their
# speed for this to exit with 1: the machine may be busy. Exits with 77 where the kernel allows no such path.
source "$(dirname "$0")/lib.sh"
measure=$target/release/measure
need python3 unshare nsenter ip "$tidegate" "$measure"

mkdir "$scratch/www"
tidegate_flags=(--route /upload=upload --route /echo=echo)
start_path 20ms 50M
start_server tidegate h2c
for stalled in 1 50; do
    for attempt in 1 2 3; do
        "${at_client[@]}" "$measure" stalled "tidegate=$url" --stalled "$stalled" --at-least 0.9 "$@" && continue 2
    done
    exit 1
done
