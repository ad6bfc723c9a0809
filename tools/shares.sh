#!/usr/bin/env bash
# Shows how streams share a connection: urgency, incremental streams and PRIORITY_UPDATE (RFC 9218),
# and weights in tree mode (RFC 7540).
#
#   cargo build --release && cargo build --release -p measure && tools/shares.sh
#
# `measure shares --help` and `measure weights --help` describe the measurements. Exits with 1 when
# a share is wrong.
source "$(dirname "$0")/lib.sh"
measure=$target/release/measure
need python3 "$tidegate" "$measure"

mkdir "$scratch/www"
truncate -s 8M "$scratch/www/small.bin"
truncate -s 200M "$scratch/www/bulk.bin"

start_server tidegate h2c
"$measure" shares "tidegate=$url" --bulk /small.bin || worse=1
tidegate_flags=(--priorities auto)
start_server tidegate h2c
"$measure" weights "tidegate, tree=$url" --rate 200000000 || worse=1
exit "${worse:-0}"
