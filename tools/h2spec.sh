#!/usr/bin/env bash
# Proves that h2spec (github.com/summerwind/h2spec, pinned) finds no fault in the release binary:
# over TLS and over cleartext HTTP/2, 145 of 145 cases each, and 146 of 146 with --strict, none
# skipped.
#
#   cargo build --release && tools/h2spec.sh
#
# `go install` installs h2spec once, under target/h2spec. The output of each run is a file beside
# it.
source "$(dirname "$0")/lib.sh"
need go

version=v2.2.1+incompatible
home=$target/h2spec/$version
[[ -x $home/h2spec ]] || GOBIN=$home loaded go install "github.com/summerwind/h2spec/cmd/h2spec@$version"

failed=0

# run NAME CASES FLAG...: runs h2spec once. The last line of its output has the number of cases and
# their outcomes.
run() {
    local name=$1 cases=$2 output=$home/$1.txt verdict
    shift 2
    "$home/h2spec" --timeout 30 "$@" >"$output" 2>&1 || true
    verdict=$(grep -E '^[0-9]+ tests, ' "$output" || echo 'h2spec did not finish')
    if [[ $verdict == "$cases tests, $cases passed, 0 skipped, 0 failed" ]] && running "$pid"; then
        echo "ok    h2spec $name: $verdict"
    else
        failed=1
        echo "FAIL  h2spec $name: $verdict"
        [[ $verdict == *tests* ]] && sed -n '/^Failures:/,$p' "$output" || tail -n 20 "$output"
        running "$pid" || { echo 'the server exited:' && cat "$log"; }
    fi
}

start_tidegate --log warn
run tls 145 --port "$(port_of "$https")" --tls --insecure
run tls-strict 146 --port "$(port_of "$https")" --tls --insecure --strict
run h2c 145 --port "$(port_of "$http")"
run h2c-strict 146 --port "$(port_of "$http")" --strict
exit "$failed"
