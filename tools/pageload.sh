#!/usr/bin/env bash
# Shows what pushes save: how long nghttp needs over a long path to load a page and its resources,
# which it finds as a browser does, by reading the page. Each row has the times without and with
# pushes, each the median of five loads on a connection of their own, including TCP's handshake.
#
#   cargo build --release && tools/pageload.sh
#   tools/pageload.sh --rtt '100ms' --resources '10'
#
# The path is that of tools/path.py. Exits with 77 where the kernel allows no such path.
source "$(dirname "$0")/lib.sh"

rtts='20ms 100ms 200ms' resources='3 10' rate=10M rounds=5
while (($#)); do
    case $1 in
        --rtt) rtts=$2 ;;
        --resources) resources=$2 ;;
        --rate) rate=$2 ;;
        *) die "unknown argument '$1'; the head of the script lists them" ;;
    esac
    shift 2
done
need python3 unshare nsenter ip nghttp

# For each number, a page of about 7 KB that needs that many scripts of 20 KB.
mkdir "$scratch/www"
for count in $resources; do
    {
        echo '<!doctype html><html><head>'
        for ((n = 1; n <= count; n++)); do echo "<script src=\"/$n.js\"></script>"; done
        echo "</head><body><p>$(head -c 7000 /dev/zero | tr '\0' x)</p></body></html>"
    } >"$scratch/www/$count.html"
    for ((n = 1; n <= count; n++)); do
        [[ -e $scratch/www/$n.js ]] || head -c 15000 /dev/urandom | base64 -w 76 >"$scratch/www/$n.js"
    done
done

# load COUNT: prints the milliseconds until the page and its resources are loaded.
load() {
    local began=${EPOCHREALTIME/./} came
    came=$("${at_client[@]}" timeout 60 nghttp --null-out --get-assets --stat "$url/$1.html" 2>/dev/null | grep -cE ' 200 +[0-9]+[K]? +/')
    local ended=${EPOCHREALTIME/./}
    ((came == $1 + 1)) || die "only $came of the page and its $1 resources were loaded"
    echo $(((ended - began) / 1000))
}

median() { sort -n | sed -n "$((rounds / 2 + 1))p"; }

printf '%-8s %-10s %12s %12s\n' RTT resources 'without, ms' 'pushed, ms'
for rtt in $rtts; do
    start_path "$rtt" "$rate"
    begun=$path
    for count in $resources; do
        times=()
        for push in off on; do
            tidegate_flags=(--push "$push")
            for ((n = 1; n <= count; n++)); do tidegate_flags+=(--preload "/$count.html=/$n.js"); done
            start_server tidegate h2c
            times+=("$(for ((n = 0; n < rounds; n++)); do load "$count"; done | median)")
            stop "$pid" || true
        done
        printf '%-8s %-10s %12s %12s\n' "$rtt" "$count" "${times[@]}"
    done
    stop "$begun" || true
done
