#!/bin/sh
# Runs the fuzz targets, each for SECONDS, and prints the outcome of each.
#
#   fuzz/run.sh SECONDS [TARGET...]
#
# Needs cargo-fuzz (cargo install cargo-fuzz --locked) and a C++ compiler. Works on nightly and,
# with RUSTC_BOOTSTRAP, on stable. SANITIZER=address (the default) or none.
# New inputs go to fuzz/target/corpus; the repository's own corpus is only read. An input that
# crashes a target is written to fuzz/artifacts/<target>/; put it into fuzz/corpus/<target>/ with
# the fix.
set -eu

if [ $# -lt 1 ]; then
    sed -n '2,10s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
seconds=$1
shift
cd "$(dirname "$0")"
case $(rustc --version) in
*nightly*) ;;
*) export RUSTC_BOOTSTRAP=1 ;;
esac
[ $# -gt 0 ] || set -- $(cargo fuzz list)

status=0
for target; do
    cargo fuzz build --sanitizer "${SANITIZER:-address}" "$target"
    kept=target/corpus/$target
    log=target/$target.log
    mkdir -p "$kept"
    if cargo fuzz run --sanitizer "${SANITIZER:-address}" "$target" "$kept" "corpus/$target" -- \
        -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 >"$log" 2>&1; then
        verdict=ok
    else
        verdict="FAILED, see fuzz/$log"
        status=1
    fi
    # The last line like "#1234 DONE cov: 567 ft: 890 corp: 12/3456b ...".
    awk -v target="$target" -v verdict="$verdict" -v seconds="$seconds" '
        /^#[0-9]+/ {
            executions = substr($1, 2) + 0
            for (i = 2; i < NF; i++) {
                if ($i == "cov:") cov = $(i + 1)
                if ($i == "ft:") ft = $(i + 1)
            }
        }
        / runs in [0-9]+ second/ { seconds = $(NF - 1) }
        END {
            printf "%-18s %10d executions  cov %5d  ft %6d  %5d s  %s\n", \
                target, executions, cov, ft, seconds, verdict
        }' "$log"
    # The failure, and the input in base64: the machine may be gone by the time that somebody reads
    # it.
    [ "$verdict" = ok ] || grep -aE -A3 'panicked|ERROR:|SUMMARY|^Base64' "$log" | cut -c1-4000 >&2
done
exit $status
