#!/usr/bin/env bash
# Shows how much bulk goes ahead of an urgent response on a busy connection: tidegate beside Debian's h2o and nghttpd, on
# loopback, by turns in one run, over cleartext and over TLS.
#
#   cargo build --release && cargo build --release -p measure && tools/urgent.sh
#
# What `measure urgent` does is in its --help; arguments go to it. Exits with 1 when tidegate lets more than 256 KB go ahead.
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
