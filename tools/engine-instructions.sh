#!/usr/bin/env bash
# Shows the user instructions per request of the server's engine alone: without sockets, TLS and
# files. Needs valgrind.
#
#   tools/engine-instructions.sh [REQUESTS]
set -euo pipefail
cd "$(dirname "$0")/.."
requests=${1:-64000}
binary=$(cargo bench -q -p tidegate-http2 --bench engine --no-run --message-format=json |
    sed -n 's/.*"executable":"\([^"]*engine[^"]*\)".*/\1/p' | tail -n 1)
out=$(mktemp)
trap 'rm -f "$out"' EXIT
valgrind --tool=callgrind --callgrind-out-file="$out" --toggle-collect='*drive_server*' \
    "$binary" "$requests" >/dev/null 2>&1
total=$(sed -n 's/^summary: //p; s/^totals: //p' "$out" | head -n 1)
echo "server engine: $((total / requests)) instructions per request ($total for $requests requests)"
[ -z "${KEEP:-}" ] || cp "$out" "$KEEP"
