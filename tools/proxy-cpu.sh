#!/usr/bin/env bash
# Shows the CPU time that a proxied request costs tidegate, and Debian's nghttpx and haproxy in the
# same run.
#
#   cargo build --release && tools/proxy-cpu.sh
#   tools/proxy-cpu.sh --rounds 9 --requests 100000
#
# The client is h2load with 32 connections of 32 streams each, over TLS 1.3 or cleartext HTTP/2. The
# upstream is nginx with a 15-byte file, over HTTP/1.1 or cleartext HTTP/2. Each proxy has one
# worker, and one process for each pairing.
#
# CPU time: user and system time of the proxy's process, in nanoseconds from
# /proc/PID/task/*/schedstat, read before and after each h2load. The proxies take turns within a
# round, and each round begins with another proxy, so that a busy machine slows all of them alike.
# The figure includes handshakes.
#
# Exits with 1 when tidegate's median and minimum both exceed nghttpx's by more than 15 % in any
# pairing: noise increases either, and a real slowdown shows in both. A few rounds can't show a
# difference of 1 %; eleven on a quiet machine can.
source "$(dirname "$0")/lib.sh"

rounds=5 requests=50000 proxies='haproxy nghttpx tidegate'
while (($#)); do
    case $1 in
        --rounds) rounds=$2 ;;
        --requests) requests=$2 ;;
        *) die "unknown argument '$1'; the head of the script lists them" ;;
    esac
    shift 2
done
need h2load haproxy nghttpx nginx openssl pgrep python3 "$tidegate"

make_cert pair
cat "$scratch/pair.crt" "$scratch/pair.key" >"$scratch/pair.pem"
mkdir "$scratch/www"
printf 'fifteen bytes.\n' >"$scratch/www/small.txt"
chmod 755 "$scratch" # nginx, started by root, turns into nobody

# start_nginx: sets `nginx`, the ports by protocol.
start_nginx() {
    local ports
    read -ra ports < <(free_ports 2)
    declare -gA nginx=([http1]=${ports[0]} [h2c]=${ports[1]})
    cat >"$scratch/nginx.conf" <<NGINX
daemon off; worker_processes 1; pid $scratch/nginx.pid; error_log $scratch/nginx.log;
events { worker_connections 4096; }
http {
    access_log off; keepalive_requests 1000000000; http2_max_concurrent_streams 1000; root $scratch/www;
    client_body_temp_path $scratch/nginx-body; proxy_temp_path $scratch/nginx-proxy; fastcgi_temp_path $scratch/nginx-fastcgi;
    uwsgi_temp_path $scratch/nginx-uwsgi; scgi_temp_path $scratch/nginx-scgi;
    server { listen 127.0.0.1:${nginx[http1]}; listen 127.0.0.1:${nginx[h2c]} http2; }
}
NGINX
    launch "$scratch/nginx.out" nginx -e "$scratch/nginx.log" -c "$scratch/nginx.conf"
    eventually 20 accepts "${nginx[h2c]}" || { cat "$scratch/nginx.log" >&2; die 'nginx does not listen'; }
    adopt "$pid"
}

# proxy_command PROXY TRANSPORT UPSTREAM PORT: sets the array `command`.
proxy_command() {
    local behind=127.0.0.1:${nginx[$3]} log=$scratch/$1-$2-$3.log
    case $1 in
        haproxy)
            cat >"$log.cfg" <<HAPROXY
global
    nbthread 1
    maxconn 4000
    tune.h2.max-concurrent-streams 1000
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    http-reuse always
listen proxy
    bind 127.0.0.1:$4 $([[ $2 == tls ]] && echo "ssl crt $scratch/pair.pem alpn h2,http/1.1" || echo proto h2)
    server nginx $behind $([[ $3 == h2c ]] && echo proto h2)
HAPROXY
            command=(haproxy -db -f "$log.cfg")
            ;;
        nghttpx)
            command=(nghttpx --conf=/dev/null --workers=1 --no-ocsp --worker-frontend-connections=1000 "--errorlog-file=$log"
                "--frontend=127.0.0.1,$4$([[ $2 == tls ]] || echo ';no-tls')"
                "--backend=127.0.0.1,${nginx[$3]}$([[ $3 == http1 ]] || echo ';;proto=h2')" "$scratch/pair.key" "$scratch/pair.crt")
            ;;
        tidegate)
            command=("$tidegate" --workers 1 --log warn --cert "$scratch/pair.crt" --key "$scratch/pair.key"
                --route "/=$([[ $3 == http1 ]] && echo http || echo h2c)://$behind")
            [[ $2 == tls ]] && command+=(--listen "127.0.0.1:$4" --listen-h2c none) || command+=(--listen none --listen-h2c "127.0.0.1:$4")
            ;;
    esac
}

# load URL REQUESTS: requires that every request is answered with a 2xx and 15 bytes. If another
# proxy fails in that, its figure is left out.
load() {
    h2load -c32 -m32 -t1 -n"$2" "$1" >"$scratch/h2load" && grep -q "^status codes: $2 2xx" "$scratch/h2load" &&
        grep -q "($(($2 * 15))) data" "$scratch/h2load" && return
    cat "$scratch/h2load" >&2
    [[ $way != *-tidegate ]] || die "not all requests to $1 succeeded, $way"
    echo "not all requests to $1 succeeded, $way" >&2
    return 1
}

# cpu_ns PID: prints the nanoseconds of CPU that the process and its children have used. nghttpx
# works in a child.
cpu_ns() {
    local process
    for process in "$1" $(pgrep -P "$1"); do cat /proc/"$process"/task/*/schedstat; done | awk '{ sum += $1 } END { printf "%.0f", sum }'
}

measure() {
    local transport upstream proxy way port before round
    local -A pids urls
    for transport in tls h2c; do
        for upstream in http1 h2c; do
            for proxy in $proxies; do
                way=$transport-$upstream-$proxy port=$(free_port)
                proxy_command "$proxy" "$transport" "$upstream" "$port"
                launch "$scratch/$way.log" "${command[@]}"
                eventually 20 accepts "$port" || { cat "$scratch/$way.log" >&2; die "$proxy does not listen"; }
                [[ $proxy != nghttpx ]] || adopt "$pid"
                pids[$way]=$pid urls[$way]=$([[ $transport == tls ]] && echo https || echo http)://127.0.0.1:$port/small.txt
                load "${urls[$way]}" 5000 || true
            done
        done
    done
    for ((round = 0; round < rounds; round++)); do
        for transport in tls h2c; do
            for upstream in http1 h2c; do
                for proxy in $proxies; do
                    way=$transport-$upstream-$proxy
                    before=$(cpu_ns "${pids[$way]}")
                    ! load "${urls[$way]}" "$requests" ||
                        echo "$transport $upstream $proxy $(($(cpu_ns "${pids[$way]}") - before))"
                done
            done
        done
        proxies="${proxies#* } ${proxies%% *}"
    done
}

start_nginx
measure >"$scratch/measured"
python3 - "$requests" "$scratch/measured" <<'PYTHON'
import collections, statistics, sys

requests, path = int(sys.argv[1]), sys.argv[2]
samples = collections.defaultdict(list)
for line in open(path):
    *way, cost = line.split()
    samples[tuple(way)].append(int(cost) / requests / 1000)
median = {way: statistics.median(costs) for way, costs in samples.items()}
print("CPU µs per proxied request, 15-byte file, 32 connections x 32 streams, one worker")
print(f"{'client':8}{'upstream':10}{'proxy':10}{'median':>9}{'least':>9}{'most':>9}{'of nghttpx':>12}")
worse = []
for way, costs in samples.items():
    transport, upstream, proxy = way
    nghttpx = samples[transport, upstream, "nghttpx"]
    ratio = median[way] / statistics.median(nghttpx)
    print(f"{transport:8}{upstream:10}{proxy:10}{median[way]:9.2f}{min(costs):9.2f}{max(costs):9.2f}{ratio:11.2f}x")
    if proxy == "tidegate" and min(ratio, min(costs) / min(nghttpx)) > 1.15:
        worse.append(f"{transport} to {upstream}")
if worse:
    sys.exit("proxy-cpu.sh: tidegate costs more than nghttpx: " + ", ".join(worse))
PYTHON
