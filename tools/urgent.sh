#!/usr/bin/env bash
# Shows how much bulk data precedes an urgent response on a busy connection: for tidegate, Debian's
# h2o and nghttpd, on loopback, in turns within one run, over cleartext and over TLS.
#
#   cargo build --release && cargo build --release -p measure && tools/urgent.sh
#
# `measure urgent --help` describes the measurement and the arguments, which are passed on. Exits
# with 1 when tidegate sends more than 256 KB first.
source "$(dirname "$0")/lib.sh"
measure=$target/release/measure
need python3 openssl h2o nghttpd "$tidegate" "$measure"

mkdir "$scratch/www"
head -c 16M /dev/zero >"$scratch/www/bulk.bin"
head -c 1K /dev/zero >"$scratch/www/urgent.bin"

make_cert pair

for transport in h2c tls; do
    targets=()
    for server in tidegate h2o nghttpd; do
        start_server "$server" "$transport"
        targets+=("$server, $transport=$url")
    done
    "$measure" urgent "${targets[@]}" --at-most 256000 --attempts 3 "$@" || worse=1
done
exit "${worse:-0}"
