#!/usr/bin/env bash
# Proves that honest clients trip no limit: Chromium, nghttp, curl, node and Python do what they do
# on pages with hundreds of images, on maps that are zoomed, with many cookies, and with downloads
# that are paused. Each must get all its answers, and the server's log must not report a closed
# connection.
#
#   cargo build --release && tools/benign.sh
#   tools/benign.sh --rtt 50ms    only the page with the images, over the path of tools/path.py;
#                                 exits with 77 where the kernel allows no such path
#
# Scenarios that take minutes, or frames that no client sends at will, are in
# crates/http2/tests/benign.rs in virtual time.
source "$(dirname "$0")/lib.sh"
need chromium nghttp curl node python3 openssl

make_cert pair
www=$scratch/www
mkdir "$www"
cp "$root"/tools/benign/*.html "$www"
echo '<svg xmlns="http://www.w3.org/2000/svg" width="16" height="16"><circle cx="8" cy="8" r="8"/></svg>' >"$www/dot.svg"
head -c 1000000 /dev/zero >"$www/large"
head -c 30000 /dev/zero >"$www/page"

# page URL: prints the result that a page of tools/benign shows.
page() {
    headless_chromium --ignore-certificate-errors --virtual-time-budget=60000 --dump-dom "$1" |
        sed -n 's/.*<p id="result">\([^<]*\)<.*/\1/p'
}

# cut_off LOG: counts what the server cut off by its log, and shows it. "connection error: …" isn't
# counted: Chromium ends with its requests in flight, and opens connections that it never uses. On a
# busy machine some of these end their TLS handshake, and time out before a word of HTTP/2.
cut_off() {
    grep -E 'connection error out|reset out|ENHANCE_YOUR_CALM|refused' "$1" |
        grep -v 'NO_ERROR, HandshakeTimedOut' | tee /dev/stderr | wc -l
}

finish_checks() {
    echo "$passed checks held, $failed did not"
    exit $((failed > 0))
}

if [[ ${1:-} == --rtt ]]; then
    start_path "$2" 10M
    start_server tidegate tls
    at_browser=("${at_client[@]}")
    expect "600 images, $2" "$(page "$url/images.html")" '600 loaded, 0 failed'
    expect 'connections that the server closed' "$(cut_off "$scratch/tidegate-tls.log")" 0
    finish_checks
fi

start_tidegate --log info --cert "$scratch/pair.crt" --key "$scratch/pair.key" --root "$www" \
    --route /echo=echo --route /upload=upload --write-timeout 10s
site_log=$log

# A reader at 2 KB a second, which runs beside the others.
use tls
"${curl[@]}" --limit-rate 2K --output "$scratch/slow" "$base/page" &
slow=$!
children+=("$slow")

section Chromium
for round in 1 2 3; do expect "600 images, load $round" "$(page "$https/images.html")" '600 loaded, 0 failed'; done
expect 'a map, a search field and a page loaded over and over' "$(page "$https/zoom.html")" '1400 answers'

section nghttp
for ((index = 0; index < 600; index++)); do echo "$https/dot.svg?$index"; done >"$scratch/urls"
mapfile -t urls <"$scratch/urls"
expect '600 requests' "$(nghttp --stat --null-out --max-concurrent-streams=600 "${urls[@]}" 2>/dev/null | grep -cE ' 200 +')" 600
crumbs=()
for ((index = 0; index < 150; index++)); do crumbs+=("-Hcookie: crumb$index=value"); done
expect '150 crumbs' "$(nghttp --stat --null-out "${crumbs[@]}" "$https/dot.svg" 2>/dev/null | grep -cE ' 200 +')" 1

section curl
for transport in tls https1; do
    use "$transport"
    for ((index = 0; index < 400; index++)); do printf 'url="%s/dot.svg?%s"\noutput="/dev/null"\n' "$base" "$index"; done >"$scratch/config"
    expect "400 in parallel, $transport" "$("${curl[@]}" --parallel --parallel-max 200 --config "$scratch/config" \
        --write-out '%{http_code}\n' 2>/dev/null | sort | uniq -c | sed 's/^ *//')" '400 200'
done

section node
client() { timeout 60 node "$root/tools/benign/clients.mjs" "$https" "$1"; }
expect '90 and 150 crumbs' "$(client cookies)" '2 × 200'
expect 'PINGs beside requests' "$(client pings)" '600 × 200'
expect 'a map zoomed five times' "$(client zoom)" '200 × 200'
expect 'a search field' "$(client search)" '200 keys, 1 × 200'
expect '3,000 tiny messages' "$(client tiny)" '1 × 200'
expect '300 small uploads' "$(client uploads)" '300 × 200'

section Python
expect '300 uploads in chunks of a byte' "$(python3 - "$http" <<'PYTHON'
import http.client, sys, urllib.parse

address = urllib.parse.urlsplit(sys.argv[1])
connection = http.client.HTTPConnection(address.hostname, address.port, timeout=30)
statuses = {}
for _ in range(300):
    connection.request("POST", "/upload", body=iter([b"x"] * 20), encode_chunked=True)
    answer = connection.getresponse()
    answer.read()
    statuses[answer.status] = statuses.get(answer.status, 0) + 1
print(statuses)
PYTHON
)" '{200: 300}'

wait "$slow" && expect 'a reader at 2 KB a second' "$(stat -c %s "$scratch/slow")" 30000
expect 'connections that the server closed' "$(cut_off "$site_log")" 0
stop "$pid" || true

section 'paused downloads'
start_tidegate --log info --cert "$scratch/pair.crt" --key "$scratch/pair.key" --root "$www" --write-timeout 1s
expect '110 downloads paused' "$(client paused)" '110 over, 30 × 200'
# Downloads that stay paused are reset one by one; their connections stay.
expect 'connections that the server closed' "$(grep -cE 'connection error out|ENHANCE_YOUR_CALM' "$log")" 0

finish_checks
