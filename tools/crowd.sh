#!/usr/bin/env bash
# Shows the memory that 1,000 slow uploads cost the server: on 1,000 connections with one upload
# each, and on ten with a hundred each. The senders are slow, or don't read their echoes, so that
# the server has to hold all that it has let them send.
#
#   cargo build --release && cargo build --release -p measure && tools/crowd.sh
#
# `measure crowd --help` describes the measurement. Exits with 1 when the server grows by more than
# its budget for bodies plus 12 KB per upload, which is the cost of connections and streams without
# their bodies.
source "$(dirname "$0")/lib.sh"
measure=$target/release/measure
need python3 "$tidegate" "$measure"
ulimit -n 8192

mkdir "$scratch/www"
for budget in 32 256; do
    echo "1,000 slow uploads, --memory-budget ${budget}M"
    tidegate_flags=(--route /upload=upload --route /echo=echo --memory-budget "${budget}M")
    for mode in slow stalled; do
        for connections in 1000 10; do
            start_server tidegate h2c
            "$measure" crowd "tidegate=$url" --pid "$pid" --mode "$mode" --connections "$connections" --seconds 3 \
                --streams $((1000 / connections)) --at-most $((budget * 1048576 + 1000 * 12288)) "$@" || worse=1
            stop "$pid" || true
        done
    done
done
exit "${worse:-0}"
