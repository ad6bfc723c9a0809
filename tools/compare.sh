#!/usr/bin/env bash
# Shows the cost of a request for tidegate, Debian's h2o and nghttpd: CPU time, and user
# instructions under valgrind.
#
#   tools/compare.sh                        CPU time per request, medians of 11 interleaved rounds
#   tools/compare.sh --instructions         user instructions per request, one round
#   tools/compare.sh --rounds 15 --requests 300000 --only 'h2o nghttpd'
#
# Every server runs one worker and serves the same 15-byte file with the same P-256 certificate, to
# h2load with 32 connections of 32 streams each, over TLS 1.3 and over cleartext HTTP/2. There is
# one process per server and transport.
#
# CPU time: user and system time of the server process, in nanoseconds from
# /proc/PID/task/*/schedstat, read before and after each h2load. The servers take turns within a
# round, and each round begins with another server, so that a busy machine slows all of them alike.
# The figure includes handshakes (32 among 200,000 requests).
#
# Instructions: callgrind counts those of the whole process, from start to exit, for 10,000 requests
# and again for 50,000. The difference divided by 40,000 is the figure, so that startup, handshakes
# and shutdown cancel out. The kernel's instructions are not counted. On a quiet machine the figure
# is reproducible within 2 %. On a busy machine a server finds fewer requests each time it wakes,
# and pays for more wake-ups (h2o up to a sixth more).
#
# Exits with 1 when tidegate costs more than h2o.
source "$(dirname "$0")/lib.sh"

mode=cpu rounds= requests=200000 servers='h2o nghttpd tidegate'
while (($#)); do
    case $1 in
        --instructions) mode=instructions ;;
        --rounds) rounds=$2 && shift ;;
        --requests) requests=$2 && shift ;;
        --only) servers=$2 && shift ;;
        *) die "unknown argument '$1'; the head of the script lists them" ;;
    esac
    shift
done
need h2load openssl python3
[[ $mode == cpu ]] || need valgrind
[[ $rounds ]] || rounds=$([[ $mode == cpu ]] && echo 11 || echo 1)
for server in $servers; do [[ $server == tidegate ]] && need "$tidegate" || need "$server"; done

# is_old FILE: whether the file's last change is more than 3 seconds ago.
is_old() { (($(date +%s) - $(stat -c %Z "$1") > 3)); }

make_cert pair
mkdir "$scratch/www"
printf 'fifteen bytes.\n' >"$scratch/www/small.txt"
# tidegate reads a file again for each turn until its last change is 3 seconds ago.
eventually 10 is_old "$scratch/www/small.txt" || die "the clock stands still"

# load URL REQUESTS: requires that every request is answered with a 2xx and 15 bytes.
load() {
    h2load -c32 -m32 -t1 -n"$2" "$1" >"$scratch/h2load" || die "h2load failed on $1"
    grep -q "^status codes: $2 2xx" "$scratch/h2load" && grep -q "($(($2 * 15))) data" "$scratch/h2load" ||
        { cat "$scratch/h2load" >&2; die "not all requests to $1 succeeded"; }
}

# cpu_ns PID: prints the nanoseconds of CPU that all threads of the process have used.
cpu_ns() { cat /proc/"$1"/task/*/schedstat | awk '{ sum += $1 } END { printf "%.0f", sum }'; }

measure_cpu() {
    local transport server before round
    local -A pids urls
    for transport in tls h2c; do
        for server in $servers; do
            start_server "$server" "$transport"
            pids[$server-$transport]=$pid urls[$server-$transport]=$url/small.txt
            load "$url/small.txt" 20000
        done
    done
    for ((round = 0; round < rounds; round++)); do
        for transport in tls h2c; do
            for server in $servers; do
                before=$(cpu_ns "${pids[$server-$transport]}")
                load "${urls[$server-$transport]}" "$requests"
                echo "$transport $server $(($(cpu_ns "${pids[$server-$transport]}") - before)) $requests"
            done
        done
        servers="${servers#* } ${servers%% *}"
    done
}

# count SERVER TRANSPORT REQUESTS: sets `instructions` to those of the whole life of a server that
# answers REQUESTS requests.
count() {
    start_server "$1" "$2" valgrind --tool=callgrind --callgrind-out-file=/dev/null
    load "$url/small.txt" "$3"
    stop "$pid" || true
    instructions=$(grep -oP 'Collected : \K\d+' "$scratch/$1-$2.log") || die "valgrind gave no count for $1"
}

measure_instructions() {
    local transport server few round
    for ((round = 0; round < rounds; round++)); do
        for transport in tls h2c; do
            for server in $servers; do
                count "$server" "$transport" 10000
                few=$instructions
                count "$server" "$transport" 50000
                echo "$transport $server $((instructions - few)) 40000"
            done
        done
    done
}

"measure_$mode" >"$scratch/measured"
python3 - "$mode" "$scratch/measured" <<'PYTHON'
import collections, statistics, sys

mode, path = sys.argv[1:]
samples = collections.defaultdict(list)
for line in open(path):
    transport, server, cost, requests = line.split()
    samples[transport, server].append(int(cost) / int(requests))
unit, scale, form = ("CPU µs", 1e-3, ".2f") if mode == "cpu" else ("user instructions", 1, ",.0f")
median = {key: statistics.median(costs) * scale for key, costs in samples.items()}
print(f"{unit} per request, 15-byte file, 32 connections x 32 streams, one worker")
print(f"{'':10}{'':5}{'median':>10}{'least':>10}{'most':>10}{'of h2o':>9}")
worse = False
for (transport, server), costs in sorted(samples.items(), key=lambda item: (item[0][0] != "tls", item[0][1])):
    h2o = median.get((transport, "h2o"))
    ratio = f"{median[transport, server] / h2o:8.2f}x" if h2o else ""
    figures = "".join(f"{cost * scale:>10{form}}" for cost in (statistics.median(costs), min(costs), max(costs)))
    print(f"{server:10}{transport:5}{figures}{ratio}")
    worse |= server == "tidegate" and h2o is not None and median[transport, server] > h2o
if worse:
    sys.exit("compare.sh: tidegate costs more than h2o")
PYTHON
