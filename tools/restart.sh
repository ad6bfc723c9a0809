#!/usr/bin/env bash
# Proves that reloads and upgrades of the server lose nothing. Builds and runs `tools/restart`, whose
# head says what it does; arguments are its: tools/restart.sh --reloads 20 --upgrades 5.
set -euo pipefail
cd "$(dirname "$0")/.."
exec cargo run --quiet --release -p restart -- "$@"
