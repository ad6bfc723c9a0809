#!/usr/bin/env bash
# Shows the user instructions per request of the server's engine alone: without sockets, TLS and
# files. Needs valgrind.
#
#   tools/engine-instructions.sh [REQUESTS [WORKLOAD...]]
#
# Workloads: tiny, paths, browser, literals and pages, or all of them: see benches/engine.rs.
set -euo pipefail
cd "$(dirname "$0")/.."
requests=${1:-64000}
binary=$(cargo bench -q -p tidegate-http2 --bench engine --no-run --message-format=json |
    sed -n 's/.*"executable":"\([^"]*engine[^"]*\)".*/\1/p' | tail -n 1)
shift || true
[ $# -gt 0 ] || set -- tiny paths browser literals pages
out=$(mktemp)
trap 'rm -f "$out"' EXIT
for workload; do
    valgrind --tool=callgrind --callgrind-out-file="$out" --toggle-collect='*drive_server*' \
        "$binary" "$requests" "$workload" >/dev/null 2>&1
    total=$(sed -n 's/^summary: //p; s/^totals: //p' "$out" | head -n 1)
    printf '%-10s %6d instructions per request of the server engine (%d for %d requests)\n' \
        "$workload" $((total / requests)) "$total" "$requests"
    [ -z "${KEEP:-}" ] || cp "$out" "$KEEP.$workload"
done
