#!/usr/bin/env bash
# Proves that the release binary is a proxy that works with other software: curl, nghttp, h2load and
# Chromium in front of it; nginx, nghttpd, haproxy, Go's net/http and tidegate itself as upstreams;
# over HTTP/1.1, and HTTP/2 in cleartext and over TLS, in every pairing. Files down, up and echoed,
# compared by checksum; the fields that messages may carry; upstreams that break off, fall silent,
# die, restart or send GOAWAY; clients that leave; smuggling; the PROXY protocol; WebSockets.
#
#   cargo build --release && tools/proxy.sh
#   tools/proxy.sh broken_upstreams websockets        # only these sections
#
# Every check is one line: `expect WHAT GOT WANTED`. All of them run, and the exit status is 0 if
# all held.
# The programs written for this are tools/upstream-go, an ordinary upstream, and
# tools/proxy-peer.py, a bad one.
source "$(dirname "$0")/lib.sh"
need curl nghttp h2load nghttpd nginx haproxy chromium openssl pgrep python3 go

sections=(files in_parallel browser_files messages line_by_line fields forwarded upgrade_to_h2c smuggling failures broken_upstreams
    sent_again cancelled ending several_addresses goaway proxy_protocol websockets)
(($# == 0)) || sections=("$@")
programs=$target/gobin
mkdir -p "$programs"
(cd "$root/tools/upstream-go" && go build -o "$programs/upstream-go" .)
peer=$root/tools/proxy-peer.py

# If a command fails in a substitution, the check sees its output, so the checks need no `set -e`.
set +e

sizes=(0 1 16383 16384 16385 65535 65536 50000000)
transports=(h2c tls http1 https1)
www=$scratch/www
mkdir -p "$www/hundred" "$www/page"
declare -A sums
for size in "${sizes[@]}"; do
    head -c "$size" /dev/urandom >"$www/$size.bin"
    sums[$size]=$(sha <"$www/$size.bin")
done
sum_of() { echo "${sums[$1]}"; }
for i in {1..100}; do head -c $((i * i * 13)) /dev/urandom >"$www/hundred/$i.bin"; done
chmod 755 "$scratch" # nginx, started by root, turns into nobody
make_cert pair
cat "$scratch/pair.crt" "$scratch/pair.key" >"$scratch/pair.pem"
tls=(--cert "$scratch/pair.crt" --key "$scratch/pair.key" --upstream-ca "$scratch/pair.crt")

# -- upstreams

# start_go FLAG...: starts the Go upstream. Sets `go_http`, `go_h2c`, `go_https` and `go_https1`,
# its addresses, `go_log` and `go_pid`.
start_go() {
    go_log=$(mktemp "$scratch/go.XXXXXX")
    launch "$go_log" "$programs/upstream-go" --cert "$scratch/pair.crt" --key "$scratch/pair.key" --root "$www" "$@"
    go_pid=$pid
    eventually 20 grep -q '^https1 ' "$go_log" || { cat "$go_log" >&2; die 'the Go upstream does not listen'; }
    go_http=$(address http "$go_log") go_h2c=$(address h2c "$go_log") go_https=$(address https "$go_log")
    go_https1=$(address https1 "$go_log")
}

address() { sed -n "s/^$1 //p" "$2"; }

# start_raw FLAG...: starts a bad upstream. Sets `raw`, its address, and `raw_log`.
start_raw() {
    raw_log=$(mktemp "$scratch/raw.XXXXXX")
    launch "$raw_log" "$peer" upstream "$@"
    eventually 20 grep -q '^raw ' "$raw_log" || { cat "$raw_log" >&2; die 'the bad upstream does not listen'; }
    raw=$(address raw "$raw_log")
}

# reached [PATTERN]: prints how many requests with such a first line the bad upstream has seen.
reached() { grep -cE "^reached ${1:-}" "$raw_log"; }

# start_nginx: sets `nginx_http`, `nginx_h2c`, `nginx_https`, `nginx_few` and `nginx_pid`. nginx_few
# is HTTP/2 that ends each connection after ten requests.
start_nginx() {
    local ports
    read -ra ports < <(free_ports 4)
    nginx_http=127.0.0.1:${ports[0]} nginx_h2c=127.0.0.1:${ports[1]} nginx_https=127.0.0.1:${ports[2]} nginx_few=127.0.0.1:${ports[3]}
    cat >"$scratch/nginx.conf" <<NGINX
daemon off; worker_processes 1; pid $scratch/nginx.pid; error_log $scratch/nginx.log;
events { worker_connections 4096; }
http {
    access_log off; keepalive_requests 1000000; root $www;
    client_body_temp_path $scratch/nginx-body; proxy_temp_path $scratch/nginx-proxy; fastcgi_temp_path $scratch/nginx-fastcgi;
    uwsgi_temp_path $scratch/nginx-uwsgi; scgi_temp_path $scratch/nginx-scgi;
    server { listen $nginx_http; listen $nginx_h2c http2; }
    server { listen $nginx_https ssl http2; ssl_certificate $scratch/pair.crt; ssl_certificate_key $scratch/pair.key; }
    server { listen $nginx_few http2; keepalive_requests 10; }
}
NGINX
    launch "$scratch/nginx.out" nginx -e "$scratch/nginx.log" -c "$scratch/nginx.conf"
    nginx_pid=$pid
    eventually 20 accepts "$(port_of "$nginx_few")" || { cat "$scratch/nginx.log" >&2; die 'nginx does not listen'; }
    adopt "$nginx_pid"
}

# start_nghttpd: sets `nghttpd_h2c` and `nghttpd_https`.
start_nghttpd() {
    local ports
    read -ra ports < <(free_ports 2)
    nghttpd_h2c=127.0.0.1:${ports[0]} nghttpd_https=127.0.0.1:${ports[1]}
    launch "$scratch/nghttpd-h2c" nghttpd -n1 -a 127.0.0.1 -d "$www" --echo-upload --no-tls "${nghttpd_h2c##*:}"
    launch "$scratch/nghttpd-https" nghttpd -n1 -a 127.0.0.1 -d "$www" --echo-upload "${nghttpd_https##*:}" "$scratch/pair.key" "$scratch/pair.crt"
    eventually 20 accepts "${nghttpd_h2c##*:}" && eventually 20 accepts "${nghttpd_https##*:}" || die 'nghttpd does not listen'
}

# use_proxy TRANSPORT UPSTREAM: calls `use`, and adds the route of that upstream to `base`.
use_proxy() {
    use "$1"
    base+=/$2
}

# -- bodies

# start_everything: starts a proxy with a route to each kind of upstream. Sets `downloading` and
# `echoing`, their names.
start_everything() {
    start_go
    start_nginx
    start_nghttpd
    start_tidegate --log warn --root "$www" --route /upload=upload --route /echo=echo "${tls[@]}"
    local behind_http=$http behind_https=$https name routes=()
    local -A upstreams=(
        [go-http]=http://$go_http [go-h2c]=h2c://$go_h2c [go-https]=https://$go_https [go-https1]=https://$go_https1
        [tidegate-http]=$behind_http [tidegate-h2c]=h2c://${behind_http#http://} [tidegate-https]=$behind_https
        [nginx-http]=http://$nginx_http [nginx-h2c]=h2c://$nginx_h2c [nginx-https]=https://$nginx_https
        [nghttpd-h2c]=h2c://$nghttpd_h2c [nghttpd-https]=https://$nghttpd_https)
    for name in "${!upstreams[@]}"; do routes+=(--route "/$name=${upstreams[$name]}/"); done
    start_tidegate --log warn --root "$www" "${routes[@]}" "${tls[@]}"
    downloading=(go-http go-h2c go-https go-https1 tidegate-http tidegate-h2c tidegate-https nginx-http nginx-h2c nginx-https
        nghttpd-h2c nghttpd-https)
    echoing=("${downloading[@]:0:7}")
    everything=("$http" "$https" "$log")
}

# everything_again: selects the proxy of `start_everything` again, and starts it if necessary.
everything_again() {
    [[ ${everything[*]} ]] || start_everything
    http=${everything[0]} https=${everything[1]} log=${everything[2]}
}
everything=()

files() {
    local transport upstream size
    everything_again
    for transport in "${transports[@]}"; do
        for upstream in "${downloading[@]}"; do
            use_proxy "$transport" "$upstream"
            for size in "${sizes[@]}"; do
                expect "curl fetches $size, $transport to $upstream" "$("${curl[@]}" "$base/$size.bin" | sha)" "$(sum_of "$size")"
            done
        done
        for upstream in "${echoing[@]}"; do
            use_proxy "$transport" "$upstream"
            for size in "${sizes[@]}"; do
                expect "curl gets $size echoed, $transport to $upstream" "$("${curl[@]}" --data-binary "@$www/$size.bin" "$base/echo" | sha)" "$(sum_of "$size")"
            done
        done
        for upstream in go-http go-h2c go-https; do
            use_proxy "$transport" "$upstream"
            for size in "${sizes[@]}"; do
                expect_bodies "$transport to $upstream" "$www/$size.bin" "$(sum_of "$size")" $((size > 1000000 ? 1 : 100))
            done
        done
    done
}

# As in peers.sh, curl can't have several streams on a cleartext connection by prior knowledge
# (curl/curl#10634). It opens a hundred connections there and over HTTP/1.1.
in_parallel() {
    local transport upstream out i option
    local -A options=([h2c]=http2-prior-knowledge [tls]=http2 [http1]=http1.1 [https1]=http1.1)
    everything_again
    for transport in "${transports[@]}"; do
        option=${options[$transport]}
        for upstream in go-http go-h2c go-https nginx-h2c; do
            use_proxy "$transport" "$upstream"
            out=$(mktemp -d "$scratch/out.XXXXXX")
            for i in {1..100}; do
                printf 'next\nsilent\ncacert = %s\n%s\n' "$scratch/pair.crt" "$option"
                printf 'url = %s/hundred/%d.bin\noutput = %s\n' "$base" "$i" "$out/$i.bin"
            done | sed 1d >"$scratch/downloads"
            timeout 60 curl --parallel --parallel-max 100 $([[ $transport == tls ]] || echo --parallel-immediate) --config "$scratch/downloads" >/dev/null 2>&1
            expect "curl fetches 100 files at once, $transport to $upstream" "$(diff -rq "$www/hundred" "$out")" ''
            printf "$base/hundred/%d.bin\n" {1..100} >"$scratch/urls"
            expect "h2load fetches 100 files, 100 at once on each of 4 connections, $transport to $upstream" \
                "$(h2load_counts 2000 --input-file "$scratch/urls")" "2000 2xx $((20 * $(cat "$www"/hundred/* | wc -c))) bytes"
            [[ $version == 2 ]] || continue
            expect "nghttp fetches 100 files at once, $transport to $upstream" \
                "$(timeout 60 nghttp -y $(cat "$scratch/urls") | histogram)" "$(cat "$www"/hundred/* | histogram)"
            [[ $upstream == go-* ]] || continue
            sed -E "s,^(url = .*)/hundred/(.*),\1/echo\ndata-binary = @$www/hundred/\2," "$scratch/downloads" >"$scratch/uploads"
            rm -f "$out"/*
            timeout 60 curl --parallel --parallel-max 100 $([[ $transport == tls ]] || echo --parallel-immediate) --config "$scratch/uploads" >/dev/null 2>&1
            expect "curl gets 100 files echoed at once, $transport to $upstream" "$(diff -rq "$www/hundred" "$out")" ''
            expect "nghttp uploads 100 at once, $transport to $upstream" \
                "$(timeout 60 nghttp -y -m 100 -d "$www/65536.bin" "$base/upload" | grep -oF "\"sha256\":\"$(sum_of 65536)\"" | wc -l)" 100
        done
    done
}

# The page fetches every file through every kind of upstream, uploads it and has it echoed. It shows
# how many checks held.
browser_files() {
    local base checks
    everything_again
    checks=$((3 * (3 * ${#sizes[@]} - 1)))
    cat >"$www/page/files.html" <<HTML
<!doctype html><title>files</title><p id="verdict"></p><script type="module">
const sums = {$(for size in "${sizes[@]}"; do printf '%s: "%s", ' "$size" "$(sum_of "$size")"; done)};
const digest = async (bytes) => [...new Uint8Array(await crypto.subtle.digest("SHA-256", bytes))]
    .map((byte) => byte.toString(16).padStart(2, "0")).join("");
let held = 0, wrong = "";
for (const upstream of ["go-http", "go-h2c", "go-https"]) {
    for (const [size, sum] of Object.entries(sums)) {
        const check = (what, good) => good ? held += 1 : wrong += \` \${what} \${size} \${upstream}\`;
        try {
            const body = await (await fetch(\`/\${upstream}/\${size}.bin\`)).arrayBuffer();
            check("fetched", await digest(body) === sum);
            const report = await (await fetch(\`/\${upstream}/upload\`, {method: "POST", body})).json();
            check("uploaded", report.bytes === +size && report.sha256 === sum);
            // A browser reads no response before it has sent the whole request.
            if (size > 65536) continue;
            const echoed = await fetch(\`/\${upstream}/echo\`, {method: "POST", body});
            check("echoed", await digest(await echoed.arrayBuffer()) === sum);
        } catch (error) { wrong += \` \${error} \${size} \${upstream}\`; }
    }
}
document.getElementById("verdict").textContent = \`\${held} held,\${wrong} over \${performance.getEntriesByType("navigation")[0].nextHopProtocol}\`;
</script>
HTML
    for base in "$http" "$https"; do
        expect "Chromium fetches, uploads and gets echoed, ${base%%:*}" "$(verdict "$base/page/files.html")" \
            "$checks held, over $([[ $base == https:* ]] && echo h2 || echo http/1.1)"
    done
}

# verdict URL: prints the verdict that a page shows in the end.
verdict() {
    headless_chromium --ignore-certificate-errors --dump-dom "$1" | sed -nE 's,.*<p id="verdict">([^<]*)</p>.*,\1,p'
}

# -- messages

messages() {
    local transport upstream etag modified began
    everything_again
    for transport in "${transports[@]}"; do
        for upstream in go-http go-h2c go-https go-https1 nginx-http nginx-h2c; do
            use_proxy "$transport" "$upstream"
            local way="$transport to $upstream"
            expect "the client speaks its own version, $way" "$("${curl[@]}" -o /dev/null -w '%{http_version}' "$base/1.bin")" "$version"
            expect "HEAD has the length, $way" "$(field content-length --head "$base/65536.bin")" 65536
            expect "HEAD has no body, $way" "$("${curl[@]}" --head -o /dev/null -w '%{http_code} %{size_download}' "$base/65536.bin")" '200 0'
            expect "a range, $way" "$(status -r 100-199 "$base/65536.bin") $(sha <"$scratch/body")" "206 $(tail -c +101 "$www/65536.bin" | head -c 100 | sha)"
            expect "its position is reported, $way" "$(field '[Cc]ontent-[Rr]ange' -r 100-199 "$base/65536.bin")" 'bytes 100-199/65536'
            expect "a range past the end, $way" "$(status -r 65536- "$base/65536.bin")" 416
            modified=$(field '[Ll]ast-[Mm]odified' "$base/65536.bin")
            expect "304, $way" "$("${curl[@]}" -o /dev/null -w '%{http_code} %{size_download}' -H "If-Modified-Since: $modified" "$base/65536.bin")" '304 0'
            expect "no such file, $way" "$(status "$base/none")" 404
            [[ $upstream == go-* ]] || continue
            expect "a redirect is forwarded, $way" "$(status "$base/redirect") $(field '[Ll]ocation' "$base/redirect")" \
                '302 http://elsewhere.example/1.bin?x=1'
            expect "trailers come, $way" "$(field '[Xx]-[Dd]igest' "$base/trailers")" "$(printf 'a body with trailers\n' | sha)"
            expect "unannounced ones too, $way" "$(field '[Xx]-[Uu]nannounced' "$base/trailers")" yes
            expect "103 comes twice, $way" \
                "$("${curl[@]}" -o /dev/null --dump-header - "$base/hints" | tr -d '\r' | grep -iE '^(HTTP/|link)' | sed 's/^HTTP[^ ]* //; s/ OK$//; s/ Early Hints$//; s/ $//' | paste -sd'|')" \
                '103|link: </style.css>; rel=preload|103|link: </script.js>; rel=preload|200'
            began=$SECONDS
            expect "a body that waits gets 100 (Continue), $way" \
                "$("${curl[@]}" -H 'Expect: 100-continue' --expect100-timeout 20 -d "@$www/65536.bin" -o /dev/null -w '%{http_code}' "$base/discard") $((SECONDS - began < 10))" '200 1'
            if [[ $version == 1.1 ]]; then
                expect "a body that the upstream refuses isn't sent, $way" \
                    "$("${curl[@]}" -H 'Expect: 100-continue' --expect100-timeout 20 -d "@$www/65536.bin" -o /dev/null -w '%{http_code} %{size_upload}' "$base/refuse")" '413 0'
            else
                # In HTTP/1.1, a message with Content-Length has no trailers.
                expect "trailers of a request come, $way" \
                    "$(timeout 20 nghttp -y --no-content-length -d "$www/16384.bin" --trailer 'x-checked: yes' "$base/show" | grep -E '^(body|trailer)' | paste -sd'|')" \
                    'body: 16384 bytes|trailer x-checked: yes'
                expect "nghttp's body that waits gets 100 (Continue), $way" \
                    "$(timeout 20 nghttp -y --expect-continue -d "$www/16384.bin" "$base/discard")" 16384
            fi
        done
    done
    use_proxy http1 go-http
    expect 'HTTP/1.0' "$("${curl[@]}" --http1.0 -o /dev/null -w '%{http_code} %{http_version}' "$base/65536.bin")" '200 1.1'
    for upstream in go-http go-h2c go-https; do
        expect "trailers of a chunked request come, to $upstream" \
            "$(printf 'POST /%s/show HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTrailer: X-Checked\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Checked: yes\r\n\r\n' "$upstream" |
                raw_request | grep -E '^(body|trailer )' | paste -sd'|')" 'body: 3 bytes|trailer x-checked: yes'
        expect "an empty chunked body comes, to $upstream" \
            "$(printf 'POST /%s/show HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n' "$upstream" |
                raw_request | grep '^body')" 'body: 0 bytes'
    done
}

# raw_request: sends stdin to the cleartext port, and prints all that comes until the server closes
# the connection.
raw_request() {
    timeout 10 bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$1" && cat >&3 && cat <&3' - "$(port_of "$http")" | tr -d '\r'
}

# Each line of a response is forwarded as it comes, whatever follows.
line_by_line() {
    local transport upstream clients=()
    everything_again
    for transport in "${transports[@]}"; do
        for upstream in go-http go-h2c go-https go-https1; do
            use_proxy "$transport" "$upstream"
            # The clients wait at the same time.
            "$peer" ticks "http://$go_http/tock?$transport-$upstream" "${curl[@]}" --no-buffer "$base/ticks?$transport-$upstream" \
                >"$scratch/ticks-$transport-$upstream" &
            clients+=($!)
        done
    done
    wait "${clients[@]}"
    for transport in "${transports[@]}"; do
        for upstream in go-http go-h2c go-https go-https1; do
            expect "lines come as they are sent, $transport to $upstream" "$(cat "$scratch/ticks-$transport-$upstream")" 'one by one'
        done
    done
}

# Checks which fields of requests and responses are forwarded, to the last one.
fields() {
    local transport upstream way host x_hop
    local -A spoken=([http]=HTTP/1.1 [h2c]=HTTP/2.0 [https]=HTTP/2.0)
    start_go
    start_raw
    start_tidegate --log warn "${tls[@]}" --route "/http=http://$go_http/" --route "/h2c=h2c://$go_h2c/" \
        --route "/https=https://$go_https/" --route "/show=http://$go_http" --route "/raw=http://$raw/"
    for transport in "${transports[@]}"; do
        for upstream in http h2c https; do
            use "$transport"
            way="$transport to $upstream" host=${base#*//} x_hop=
            # HTTP/2 has no Connection field that could mark another field as hop-by-hop.
            [[ $version == 1.1 ]] || x_hop='x-hop: 1
'
            expect "the fields of a forwarded request, $way" \
                "$("${curl[@]}" -A test -H 'Connection: x-hop, keep-alive' -H 'X-Hop: 1' -H 'Keep-Alive: timeout=5' -H 'Proxy-Connection: keep-alive' \
                    -H 'Proxy: http://evil/' -H 'Via: 1.0 other' -H 'X-Kept: a,b' -H 'X-Kept: c' -H 'X-Empty;' --path-as-is "$base/$upstream/show?x=%2e%2E/..&y=#no")" \
                "GET /show?x=%2e%2E/..&y= ${spoken[$upstream]}
host: $host
accept: */*
forwarded: for=127.0.0.1;host=\"$host\";proto=${base%%:*}
user-agent: test
via: 1.0 other
via: $version tidegate
x-empty: 
x-forwarded-for: 127.0.0.1
x-forwarded-host: $host
x-forwarded-proto: ${base%%:*}
${x_hop}x-kept: a,b
x-kept: c
body: 0 bytes"
        done
        expect "without a base the path stays, $transport" "$("${curl[@]}" "$base/show?a" | head -n 1)" 'GET /show?a HTTP/1.1'
        expect "hop-by-hop fields of a response are not forwarded, $transport" \
            "$("${curl[@]}" -o /dev/null --dump-header - "$base/raw/hop-by-hop" | tr -d '\r' | tr '[:upper:]' '[:lower:]' |
                grep -E '^(connection|x-hop|keep-alive|proxy-connection|x-kept|via|content-length)' | sort | paste -sd'|')" \
            'content-length: 3|via: 1.1 tidegate|x-kept: yes'
    done
    stop "$pid"
}

# Checks which sources the proxy believes about the origin of a request.
forwarded() {
    local transport way host mode upstream
    local spoofed=(-H 'X-Forwarded-For: 10.9.9.9' -H 'X-Forwarded-Proto: gopher' -H 'X-Forwarded-Host: evil' -H 'X-Forwarded-Port: 1'
        -H 'X-Real-IP: 10.9.9.9' -H 'Forwarded: for=10.9.9.9;proto=gopher')
    start_go
    for mode in stranger trusted rewrite; do
        local flags=()
        [[ $mode != trusted ]] || flags=(--trust-forwarded-from 127.0.0.0/8)
        [[ $mode != rewrite ]] || flags=(--upstream-host rewrite)
        start_tidegate --log warn "${tls[@]}" "${flags[@]}" --route "/http=http://$go_http/" --route "/h2c=h2c://$go_h2c/" \
            --route "/https=https://$go_https/"
        for transport in "${transports[@]}"; do
            for upstream in http h2c https; do
                use "$transport"
                way="$mode, $transport to $upstream" host=${base#*//}
                local show=("${curl[@]}" "$base/$upstream/show")
                case $mode in
                    stranger)
                        expect "no field of a stranger is believed, $way" \
                            "$("${show[@]}" "${spoofed[@]}" | grep -E '^(x-forwarded|x-real|forwarded)')" \
                            "forwarded: for=127.0.0.1;host=\"$host\";proto=${base%%:*}
x-forwarded-for: 127.0.0.1
x-forwarded-host: $host
x-forwarded-proto: ${base%%:*}"
                        expect "Host is kept, $way" "$("${show[@]}" -H 'Host: example.org:1234' | sed -n 's/^host: //p')" example.org:1234
                        ;;
                    trusted)
                        expect "the fields of a trusted proxy are believed, $way" \
                            "$("${show[@]}" "${spoofed[@]}" | grep -E '^(x-forwarded|x-real|forwarded)')" \
                            "forwarded: for=10.9.9.9;host=\"evil\";proto=gopher, for=127.0.0.1
x-forwarded-for: 10.9.9.9, 127.0.0.1
x-forwarded-host: evil
x-forwarded-port: 1
x-forwarded-proto: gopher
x-real-ip: 10.9.9.9"
                        ;;
                    rewrite)
                        expect "Host is rewritten, $way" \
                            "$("${show[@]}" -H 'Host: example.org:1234' | grep -E '^(host|x-forwarded-host)' | paste -sd' ')" \
                            "host: $(address "$upstream" "$go_log") x-forwarded-host: example.org:1234"
                        ;;
                esac
            done
        done
        stop "$pid"
    done
}

upgrade_to_h2c() {
    local plain=(curl --silent --show-error --max-time 10) upstream format='%{http_code} %{http_version}'
    start_go
    local routes=(--route "/http=http://$go_http/" --route "/h2c=h2c://$go_h2c/" --route "/https=https://$go_https/")
    start_tidegate --log warn --h2c-upgrade "${routes[@]}" "${tls[@]}"
    for upstream in http h2c https; do
        local base=$http/$upstream
        expect "curl changes to HTTP/2, $upstream" "$("${plain[@]}" --http2 -o /dev/null -w "$format" "$base/1.bin")" '200 2'
        expect "with a body too, $upstream" "$("${plain[@]}" --http2 --data-binary "@$www/65536.bin" "$base/upload")" "{\"bytes\":65536,\"sha256\":\"$(sum_of 65536)\"}"
        expect "and a large one, $upstream" "$("${plain[@]}" --http2 --data-binary "@$www/50000000.bin" "$base/upload")" "{\"bytes\":50000000,\"sha256\":\"$(sum_of 50000000)\"}"
        expect "nghttp changes to HTTP/2, $upstream" "$(timeout 20 nghttp -u -y "$base/65536.bin" "$base/16385.bin" | histogram)" "$(cat "$www/65536.bin" "$www/16385.bin" | histogram)"
        expect "with OPTIONS and a body, $upstream" "$(timeout 20 nghttp -u -y -d "$www/16384.bin" "$base/upload")" "{\"bytes\":16384,\"sha256\":\"$(sum_of 16384)\"}"
        expect "the upstream doesn't see the upgrade, $upstream" "$("${plain[@]}" --http2 "$base/show" | grep -ciE '^(upgrade|connection|http2-settings)')" 0
    done
    stop "$pid"
    start_tidegate --log warn "${routes[@]}" "${tls[@]}"
    for upstream in http h2c https; do
        expect "without the flag HTTP/1.1 continues, $upstream" "$("${plain[@]}" --http2 -o /dev/null -w "$format" "$http/$upstream/1.bin")" '200 1.1'
        expect "the upgrade doesn't reach the upstream, $upstream" "$("${plain[@]}" --http2 "$http/$upstream/show" | grep -ciE '^(upgrade|connection|http2-settings)')" 0
    done
    stop "$pid"
}

# -- requests that must not reach an upstream

# refused WHAT REQUEST [STATUS]: sends bytes, in printf's notation. The server must answer them with
# 400, or STATUS, and close the connection.
refused() {
    expect "$1 is refused" "$(printf "$2" | raw_request | sed -nE '1s,^HTTP/1.1 ([0-9]+).*,\1,p')" "${3:-400}"
}

# refused_h2 WHAT FIELD...: sends a request that the server must answer with 400, or by a reset.
refused_h2() {
    expect "$1 is refused over HTTP/2" "$("$peer" h2 "$(port_of "$http")" "${@:2}" | sed -E 's/^(status 400|reset 1)$/refused/')" refused
}

both_reached() { (($(reached 'GET /[ab] ') == 2)); }

smuggling() {
    local path transport get='GET / HTTP/1.1\r\nHost: a\r\n' post='POST / HTTP/1.1\r\nHost: a\r\n' before
    start_raw
    start_tidegate --log warn "${tls[@]}" --route "/=http://$raw"
    use http1
    expect 'the upstream answers' "$(status "$http/ok")" 200
    # RFC 9112 §6.3 allows equal lengths to count as one.
    refused 'neither of two equal lengths' "${post}Content-Length: 0\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" 200
    refused 'none of a list of equal lengths' "${post}Content-Length: 0, 0\r\nConnection: close\r\n\r\n" 200
    before=$(reached)

    refused 'Content-Length with Transfer-Encoding' "${post}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
    refused 'Transfer-Encoding with Content-Length' "${post}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
    refused 'two lengths' "${post}Content-Length: 0\r\nContent-Length: 5\r\n\r\nhello"
    refused 'a list of different lengths' "${post}Content-Length: 5, 6\r\n\r\nhello"
    refused 'a length with a sign' "${post}Content-Length: +5\r\n\r\nhello"
    refused 'a coding that is not chunked' "${post}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"
    refused 'another coding than chunked' "${post}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" 501
    refused 'chunked twice' "${post}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"
    refused 'chunked and another' "${post}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n"
    refused 'Transfer-Encoding in HTTP/1.0' 'POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'
    refused 'a space before the colon' "${post}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"
    refused 'a folded line' "${get}X: a\r\n b\r\n\r\n"
    refused 'a lone LF' "GET / HTTP/1.1\nHost: a\n\n"
    refused 'a lone CR' "${get}X: a\rb\r\n\r\n"
    refused 'a NUL' "${get}X: a\\000b\r\n\r\n"
    refused 'no Host' 'GET / HTTP/1.1\r\n\r\n'
    refused 'two Hosts' "${get}Host: b\r\n\r\n"
    refused 'two spaces in the request line' 'GET  / HTTP/1.1\r\nHost: a\r\n\r\n'
    refused 'a fragment' 'GET /#a HTTP/1.1\r\nHost: a\r\n\r\n'

    local good=(:method=GET :scheme=http :authority=a :path=/)
    refused_h2 'Connection' "${good[@]}" connection=close
    refused_h2 'Transfer-Encoding' "${good[@]}" transfer-encoding=chunked
    refused_h2 'Upgrade' "${good[@]}" upgrade=websocket
    refused_h2 'TE but trailers' "${good[@]}" te=gzip
    refused_h2 'a name in capitals' "${good[@]}" X-Name=1
    refused_h2 'a colon in a name' "${good[@]}" 'x:y=1'
    refused_h2 'a space in a name' "${good[@]}" 'x y=1'
    refused_h2 'a line end in a value' "${good[@]}" 'x=1\r\nsmuggled: 1'
    refused_h2 'a line end in the path' :method=GET :scheme=http :authority=a ':path=/ HTTP/1.1\r\nx: y'
    refused_h2 'a space in the path' :method=GET :scheme=http :authority=a ':path=/ x'
    refused_h2 'a space in the method' ':method=GET /x' :scheme=http :authority=a :path=/
    refused_h2 'a slash in the authority' :method=GET :scheme=http :authority=a/b :path=/
    refused_h2 'a Host that contradicts' "${good[@]}" host=b
    refused_h2 'two lengths' "${good[@]}" content-length=1 content-length=2 body=a
    refused_h2 'no path' :method=GET :scheme=http :authority=a
    refused_h2 'two paths' "${good[@]}" :path=/other
    refused_h2 'a pseudo-field after others' :method=GET :scheme=http :authority=a x=1 :path=/
    refused_h2 'an unknown pseudo-field' "${good[@]}" :x=1

    for path in /api/../secret /api/%2e%2e/secret /api/%2E./secret /api/..%2fsecret '/api/..\secret' '/api/..;/secret' /api/.. /./api; do
        for transport in "${transports[@]}"; do
            use "$transport"
            expect "$path is refused, $transport" "$(status --path-as-is "$base$path")" 400
        done
    done
    expect 'none of these requests has reached the upstream' "$(reached) $(reached '.*smuggled')" "$before 0"
    # The proxy has forwarded the head when the first byte of the body shows that the body is too
    # long. It forwards no more than the declared length.
    "$peer" h2 "$(port_of "$http")" "${good[@]/GET/POST}" content-length=1 'body=aGET /smuggled HTTP/1.1\r\n\r\n' >/dev/null
    use h2c
    expect 'while two requests on a connection do' "$(timeout 10 nghttp -y "$base/a" "$base/b" | paste -sd'|')" 'ok|ok'
    eventually 10 both_reached
    expect 'and both reach the upstream' "$(reached 'GET /[ab] ')" 2
    expect 'a body is never longer than its declared length' "$(reached '.*smuggled')" 0
    stop "$pid"
}

# -- upstreams that fail

# answered URL: prints the status, the length of the body and the value of Proxy-Status.
answered() { echo "$(status -D "$scratch/head" "$1") $(wc -c <"$scratch/body") $(tr -d '\r' <"$scratch/head" | sed -nE 's/^proxy-status: //Ip')"; }

failures() {
    local transport nobody full
    start_raw
    start_go
    : >"$scratch/unwilling"
    launch "$scratch/unwilling" "$peer" unwilling
    eventually 20 grep -q '^full ' "$scratch/unwilling" || die 'no listener with a full queue'
    nobody=$(address nobody "$scratch/unwilling") full=$(address full "$scratch/unwilling")
    for transport in "${transports[@]}"; do
        start_tidegate --workers 1 --log warn "${tls[@]}" --upstream-timeout 2s --upstream-connect-timeout 1s --route "/raw=http://$raw/" \
            --route "/nobody=http://$nobody/" --route "/full=http://$full/" --route "/h2c=h2c://$go_http/" --route "/https=https://$go_http/"
        use "$transport"
        expect "nobody listens, $transport" "$(answered "$base/nobody/")" '502 16 tidegate; error=connection_refused'
        # There is no other address, so each request tries this one again.
        expect "a moment later, $transport" "$(answered "$base/nobody/")" '502 16 tidegate; error=connection_refused'
        expect "no connection is established, $transport" "$(answered "$base/full/")" '504 20 tidegate; error=connection_timeout'
        expect "no answer comes, $transport" "$(answered "$base/raw/silent")" '504 20 tidegate; error=http_response_timeout'
        expect "the connection ends without an answer, $transport" "$(answered "$base/raw/closes")" '502 16 tidegate; error=connection_terminated'
        expect "and in the middle of the head, $transport" "$(answered "$base/raw/half-a-head" | cut -d' ' -f1)" 502
        # After five failures in a row the proxy would skip the address for a while.
        expect "all is well in between, $transport" "$(answered "$base/raw/ok")" '200 3 '
        expect "the answer isn't HTTP, $transport" "$(answered "$base/raw/garbage")" '502 16 tidegate; error=http_protocol_error'
        expect "it has two lengths, $transport" "$(answered "$base/raw/two-lengths")" '502 16 tidegate; error=http_protocol_error'
        expect "it has a length and chunks, $transport" "$(answered "$base/raw/both-framings")" '502 16 tidegate; error=http_protocol_error'
        expect "HTTP/1.1 where HTTP/2 was expected, $transport" "$(answered "$base/h2c/" | cut -d' ' -f1)" 502
        expect "no TLS where TLS was expected, $transport" "$(answered "$base/https/" | cut -d' ' -f1)" 502
        expect "all is well again, $transport" "$(answered "$base/raw/ok")" '200 3 '
        stop "$pid"
    done
}

# broken_off STATUS: interprets curl's exit status: 92 is a stream that was reset, 18 and 56 are a
# connection that ended too soon.
broken_off() {
    case $version-$1 in
        2-92 | 1.1-18 | 1.1-56) echo 'broken off' ;;
        *) echo "exit status $1" ;;
    esac
}

# A response that breaks off must not look complete to any client.
broken_upstreams() {
    local transport path upstream got
    start_go
    start_raw
    start_tidegate --log warn "${tls[@]}" --route "/raw=http://$raw/" --route "/go-http=http://$go_http/" --route "/go-h2c=h2c://$go_h2c/" \
        --route "/go-https=https://$go_https/"
    for transport in "${transports[@]}"; do
        use "$transport"
        for path in raw/short raw/chunked raw/mid-chunk raw/reset go-{http,h2c,https}/{short,abort}; do
            : >"$scratch/body"
            "${curl[@]}" -o "$scratch/body" "$base/$path" 2>/dev/null
            got=$(broken_off $?)
            # Over HTTP/2 curl 7.88 may drop the data that came right before the reset. nghttp shows
            # that all of it arrived.
            expect "curl reports that it breaks off, $transport, $path" "$got" 'broken off'
            expect "h2load counts none as done, $transport, $path" \
                "$(timeout 60 "${h2load[@]}" -n20 -c2 -m5 "$base/$path" | sed -nE 's/^requests: .* ([0-9]+) succeeded.*/\1/p')" 0
            case $version in
                1.1) expect "and has all that arrived, $transport, $path" "$(wc -c <"$scratch/body")" 500 ;;
                2)
                    expect "nghttp has all that arrived, and sees the reset, $transport, $path" \
                        "$(timeout 20 nghttp -nv "$base/$path" 2>&1 | sed -nE 's/.*recv DATA frame <length=([0-9]+).*/\1/p; s/.*recv (RST_STREAM).*/\1/p' | xargs)" '500 RST_STREAM'
                    ;;
            esac
        done
        expect "a response without a length ends with its connection, $transport" "$("${curl[@]}" "$base/raw/until-closed")" 'all there is'
    done
    use http1
    "${curl[@]}" --http1.0 -o "$scratch/body" "$base/raw/chunked" 2>/dev/null
    expect 'curl reports it over HTTP/1.0' "$(broken_off $?)" 'broken off'
    stop "$pid"
}

# A request that is lost on a reused connection is sent again, once, if that does no harm.
sent_again() {
    local transport
    start_raw
    start_tidegate --workers 1 --log warn "${tls[@]}" --route "/=http://$raw/"
    for transport in "${transports[@]}"; do
        use "$transport"
        : >"$raw_log"
        expect "a connection is there, $transport" "$(status "$base/first")" 200
        expect "GET on it fails, $transport" "$(status "$base/closes")" 502
        expect "after it was sent twice, $transport" "$(reached 'GET /closes')" 2
        expect "a connection is there again, $transport" "$(status "$base/first")" 200
        expect "POST on it fails, $transport" "$(status -d x "$base/closes")" 502
        expect "and was sent once, $transport" "$(reached 'POST /closes')" 1
        expect "GET on a new connection fails, $transport" "$(status "$base/closes?again")" 502
        expect "and was sent once, $transport" "$(reached 'GET /closes.again')" 1
    done
    stop "$pid"
}

# The upstream learns that a client left, before the response and in the middle of it.
cancelled() {
    local transport upstream begin id client clients=()
    start_go
    start_raw
    start_tidegate --log warn "${tls[@]}" --route "/raw=http://$raw/" --route "/http=http://$go_http/" --route "/h2c=h2c://$go_h2c/" --route "/https=https://$go_https/" \
        --route "/https1=https://$go_https1/"
    for transport in "${transports[@]}"; do
        use "$transport"
        for upstream in http h2c https https1; do
            for begin in begin later; do
                # The clients wait at the same time.
                id="$begin&$transport-$upstream"
                "${curl[@]}" --no-buffer -o "$scratch/slow-$id" "$base/$upstream/slow?$id" 2>/dev/null &
                clients+=($!)
            done
        done
    done
    # In HTTP/1.1 nobody sees the end of a connection behind a body that isn't read.
    for transport in h2c tls; do
        use "$transport"
        "${curl[@]}" -T "$www/50000000.bin" "$base/raw/unread?$transport" 2>/dev/null &
        clients+=($!)
    done
    children+=("${clients[@]}")
    eventually 30 in_flight
    expect 'all requests have reached the upstream, and every response that should begin has begun' $? 0
    for client in "${clients[@]}"; do kill "$client"; done
    for client in "${clients[@]}"; do reap "$client"; done 2>/dev/null
    for transport in h2c tls; do
        eventually 20 grep -q "left PUT /unread?$transport " "$raw_log"
        expect "the upstream learns that the client left in the middle of an upload, $transport" $? 0
    done
    for transport in "${transports[@]}"; do
        for upstream in http h2c https https1; do
            for begin in begin later; do
                id="$begin&$transport-$upstream"
                eventually 20 grep -qF "cancelled $id," "$go_log"
                expect "the upstream learns that the client left, $id" "$?" 0
            done
        done
    done
    stop "$pid"
}

# in_flight: whether all requests have reached the point where their clients leave.
in_flight() {
    (($(grep -c '^asked ' "$go_log") == 32 && $(reached 'PUT /unread') == 2)) &&
        [[ $(find "$scratch" -name 'slow-begin&*' -size +0 | wc -l) == 16 ]]
}

# A transfer continues after SIGTERM, and the server exits after it.
ending() {
    local pairing transport upstream
    start_go
    for pairing in h2c-http https1-h2c tls-https; do
        transport=${pairing%-*} upstream=${pairing#*-}
        start_tidegate --log warn "${tls[@]}" --route "/=$upstream://$(address "$upstream" "$go_log")"
        use "$transport"
        begin_transfer "$base/50000000.bin"
        kill -TERM "$pid"
        expect "the server stops listening, $pairing" "$(eventually 10 refuses "$(port_of "$base")" && echo yes)" yes
        end_transfer
        reap "$client"
        expect "the transfer continues, $pairing" "$? $(sha <"$scratch/transferred")" "0 $(sum_of 50000000)"
        reap "$pid"
        expect "and the server exits, $pairing" $? 0
    done
}

refuses() { ! accepts "$1"; }

# -- upstreams that come and go

# load_counts ARGUMENT...: prints how many requests of h2load succeeded, how many failed or ended
# with an error, and how many got a 5xx.
load_counts() {
    timeout 120 "${h2load[@]}" "$@" |
        sed -nE 's/^requests: .* ([0-9]+) succeeded, ([0-9]+) failed, ([0-9]+) errored.*/\1 succeeded, \2 failed, \3 errored/p; s/^status codes: .* ([0-9]+ 5xx)/\1/p' |
        paste -sd,
}

served() { curl -s "http://$1/count"; }
has_served() { (($(served "$1") >= $2)); }

several_addresses() {
    local transport one other one_pid proxy n=20000 counts lost before
    for transport in h2c http1; do
        use_two "$transport"
        load_counts -n "$n" -c 8 -m 10 "$base/pause?ms=2" >"$scratch/counts" &
        local load=$!
        eventually 20 has_served "$one" 800 && eventually 20 has_served "$other" 800
        expect "both get requests, $transport" $? 0
        before=$(served "$other")
        { kill -KILL "$one_pid" && reap "$one_pid"; } 2>/dev/null
        wait "$load"
        counts=$(cat "$scratch/counts")
        lost=$((n - ${counts%% *}))
        # 80 requests are in flight at a time, half of them at this upstream. All are GET, so even
        # those can be sent again to the other address, except for those whose response had begun,
        # or that were the first on their connection.
        echo "   $transport: of $n requests $lost were lost when one of two upstreams was killed ($counts)"
        expect "only requests in flight there can be lost, $transport" "$((lost <= 40))" 1
        expect "the other one continues, $transport" "$(($(served "$other") > before))" 1
        expect "while it is away no request fails, $transport" "$(thousand)" "$well"
        start_go --http "$one"
        # Each worker finds out by itself, within the five seconds for which it skips an address at
        # most.
        counts=$well
        eventually 20 is_shared
        expect "one that has come back gets its share again, $transport" $? 0
        expect "and nothing is lost by that, $transport" "$counts" "$well"
        stop "$proxy"
    done

    start_go
    one=$go_http one_pid=$go_pid
    start_tidegate --log warn "${tls[@]}" --route "/=http://$one"
    proxy=$pid
    use h2c
    expect 'a single upstream answers' "$(status "$base/1.bin")" 200
    stop "$one_pid"
    expect 'when it has exited the client gets a 502 or 503' "$(status "$base/1.bin" | grep -cE '^50[23]$')" 1
    start_go --http "$one"
    eventually 20 answers "$base/1.bin"
    expect 'when it is back it is used within seconds' $? 0
    stop "$proxy"
}

# thousand: prints the counts of a thousand requests, which should be `well`.
thousand() { load_counts -n 1000 -c 4 -m 10 "$base/pause?ms=0"; }
well='1000 succeeded, 0 failed, 0 errored,0 5xx'

# is_shared: whether the first upstream gets at least a tenth of a thousand requests. Keeps their
# counts in `counts` if a request was lost.
is_shared() {
    local before got
    before=$(served "$other")
    got=$(thousand)
    [[ $got == "$well" ]] || counts=$got
    (($(served "$other") - before < 900))
}

# use_two TRANSPORT: starts a proxy in front of two Go upstreams. Sets `one`, `one_pid`, `other`,
# `proxy` and `base`.
use_two() {
    start_go
    one=$go_http one_pid=$go_pid
    start_go
    other=$go_http
    start_tidegate --log warn "${tls[@]}" --route "/=http://$one,$other"
    proxy=$pid
    use "$1"
}

answers() { [[ $(status "$1") == 200 ]]; }

# nginx ends a connection after a number of requests, and when it reloads its configuration. Clients
# must not notice.
goaway() {
    local upstream load counts reloads during n=5000
    start_nginx
    start_tidegate --log warn "${tls[@]}" --route "/few=h2c://$nginx_few/" --route "/h2c=h2c://$nginx_h2c/" --route "/http=http://$nginx_http/" \
        --route "/https=https://$nginx_https/"
    use h2c
    expect 'connections that end after ten requests lose none' "$(load_counts -n "$n" -c 8 -m 20 "$base/few/1.bin")" "$n succeeded, 0 failed, 0 errored,0 5xx"
    for upstream in http h2c https; do
        load_counts -D 3 -c 8 -m 10 "$base/$upstream/1.bin" >"$scratch/counts" &
        load=$!
        reloads=0 during=0
        for _ in {1..3}; do
            reload && ((reloads += 1))
            running "$load" && ((during += 1))
        done
        expect "nginx has reloaded its configuration, $upstream" "$reloads" 3
        wait "$load"
        counts=$(cat "$scratch/counts")
        echo "   $upstream: $counts, $during of $reloads times while requests came"
        expect "and no request was lost, $upstream" "$(sed -E 's/^[1-9][0-9]* succeeded, //' <<<"$counts")" '0 failed, 0 errored,0 5xx'
    done
    stop "$pid"
}

# reload: makes nginx reload its configuration, and waits until new workers have taken over. The old
# workers may take longer: now and then a worker that is new itself keeps idle connections.
reload() {
    local before status
    before=$(pgrep -P "$nginx_pid")
    kill -HUP "$nginx_pid"
    eventually 20 replaced "$before"
    status=$?
    adopt "$nginx_pid"
    return "$status"
}

replaced() {
    local worker
    [[ $(pgrep -P "$nginx_pid") != "$1" ]] || return
    for worker in $1; do
        grep -qs 'shutting down' "/proc/$worker/cmdline" || exited "$worker" || return
    done
}

# -- the PROXY protocol

# Clients come from 127.0.0.5, which only haproxy and the PROXY protocol can report.
proxy_protocol() {
    local said transport name front size
    local -A ports
    start_go
    start_raw --proxy-protocol
    start_tidegate --workers 1 --log info,tidegate::access=off --access-log "$scratch/access" --proxy-protocol "${tls[@]}" --route "/=http://$go_http"
    local behind_h2c=127.0.0.1:$(port_of "$http") behind_tls=127.0.0.1:$(port_of "$https") behind=$pid
    local free names=(tcp1 tcp2 tls1 tls2 http1 http2 h2c1 h2c2 accept accept_h2 accept_tls)
    read -ra free < <(free_ports ${#names[@]})
    for at in "${!names[@]}"; do ports[${names[at]}]=${free[at]}; done
    {
        printf 'global\n  maxconn 1000\ndefaults\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n'
        for said in 1 2; do
            local send=send-proxy$([[ $said == 1 ]] || echo -v2)
            printf 'listen tcp%s\n  mode tcp\n  bind 127.0.0.1:%s\n  server s %s %s\n' "$said" "${ports[tcp$said]}" "$behind_h2c" "$send"
            printf 'listen tls%s\n  mode tcp\n  bind 127.0.0.1:%s\n  server s %s %s\n' "$said" "${ports[tls$said]}" "$behind_tls" "$send"
            printf 'listen http%s\n  mode http\n  bind 127.0.0.1:%s\n  server s %s %s\n' "$said" "${ports[http$said]}" "$behind_h2c" "$send"
            printf 'listen h2c%s\n  mode http\n  bind 127.0.0.1:%s proto h2\n  server s %s %s proto h2\n' "$said" "${ports[h2c$said]}" "$behind_h2c" "$send"
        done
        # haproxy adds an X-Forwarded-For of its own, with the address from the PROXY protocol.
        printf 'defaults\n  mode http\n  option forwardfor\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n'
        printf 'listen accept\n  bind 127.0.0.1:%s accept-proxy\n  server s %s\n' "${ports[accept]}" "$go_http"
        printf 'listen accept_h2\n  bind 127.0.0.1:%s accept-proxy proto h2\n  server s %s\n' "${ports[accept_h2]}" "$go_http"
        printf 'listen accept_tls\n  bind 127.0.0.1:%s accept-proxy ssl crt %s alpn h2,http/1.1\n  server s %s\n' "${ports[accept_tls]}" "$scratch/pair.pem" "$go_http"
    } >"$scratch/haproxy.cfg"
    launch "$scratch/haproxy.log" haproxy -db -f "$scratch/haproxy.cfg"
    eventually 20 accepts "${ports[accept_tls]}" || { cat "$scratch/haproxy.log" >&2; die 'haproxy does not listen'; }

    local from=(--interface 127.0.0.5)
    for name in tcp1 tcp2 tls1 tls2 http1 http2 h2c1 h2c2; do
        for transport in "${transports[@]}"; do
            # In mode http haproxy speaks one protocol to its clients, in mode tcp it forwards any.
            case $name-$transport in
                tcp?-h2c | tcp?-http1 | tls?-tls | tls?-https1 | http?-http1 | h2c?-h2c) ;;
                *) continue ;;
            esac
            use "$transport"
            front=${base%%:*}://127.0.0.1:${ports[$name]}
            expect "the upstream learns the client's address, haproxy's $name, $transport" \
                "$("${curl[@]}" "${from[@]}" "$front/show?$name-$transport" | grep -E '^(x-forwarded-for|forwarded)' | cut -d';' -f1 | paste -sd'|')" \
                'forwarded: for=127.0.0.5|x-forwarded-for: 127.0.0.5'
            eventually 20 grep -q "show?$name-$transport " "$scratch/access"
            expect "and so is the access log, haproxy's $name, $transport" "$(grep "show?$name-$transport " "$scratch/access" | cut -d' ' -f1)" 127.0.0.5
            size=$([[ $name == t* ]] && echo 50000000 || echo 65536)
            expect "bodies go up, haproxy's $name, $transport" "$("${curl[@]}" "${from[@]}" --data-binary "@$www/$size.bin" "$front/upload")" \
                "{\"bytes\":$size,\"sha256\":\"$(sum_of "$size")\"}"
            expect "and down, haproxy's $name, $transport" "$("${curl[@]}" "${from[@]}" "$front/$size.bin" | sha)" "$(sum_of "$size")"
        done
    done
    use http1
    expect 'without the header there is no answer' "$(status "$http/show" 2>/dev/null)" 000
    use tls
    expect 'nor over TLS' "$(status "$https/show" 2>/dev/null)" 000
    stop "$behind"

    # The server accepts PROXY headers only from the addresses that the operator named.
    start_tidegate --log warn --proxy-protocol --proxy-protocol-from 10.0.0.0/8 "${tls[@]}" --route "/=http://$go_http"
    use http1
    expect 'other clients need no header' "$("${curl[@]}" "$http/show" | grep '^x-forwarded-for')" 'x-forwarded-for: 127.0.0.1'
    expect 'and are not believed with one' \
        "$(printf 'PROXY TCP4 10.9.9.9 127.0.0.1 1 2\r\nGET /show HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n' | raw_request | grep -cE '200|10\.9\.9\.9')" 0
    stop "$pid"

    for said in v1 v2; do
        start_tidegate --log warn --upstream-proxy-protocol "$said" "${tls[@]}" --route "/raw=http://$raw/" --route "/http=http://127.0.0.1:${ports[accept]}/" \
            --route "/h2c=h2c://127.0.0.1:${ports[accept_h2]}/" --route "/https=https://127.0.0.1:${ports[accept_tls]}/"
        for transport in "${transports[@]}"; do
            use "$transport"
            expect "every byte of the header is right, $said, $transport" \
                "$("${curl[@]}" "${from[@]}" -w '%{local_port}' "$base/raw/show" | paste -sd' ' | sed -E 's/^(v. [^ ]+ [^ ]+) ([0-9]+) ([0-9]+) \2$/\1 the port of curl \3/')" \
                "$said 127.0.0.5 127.0.0.1 the port of curl $(port_of "$base")"
            for name in http h2c https; do
                # One field is tidegate's, the other is haproxy's.
                expect "haproxy learns the client's address, $said, $transport to $name" \
                    "$("${curl[@]}" "${from[@]}" "$base/$name/show" | grep '^x-forwarded-for' | paste -sd'|')" 'x-forwarded-for: 127.0.0.5|x-forwarded-for: 127.0.0.5'
                expect "and another client's, $said, $transport to $name" \
                    "$("${curl[@]}" --interface 127.0.0.6 "$base/$name/show" | grep '^x-forwarded-for' | paste -sd'|')" 'x-forwarded-for: 127.0.0.6|x-forwarded-for: 127.0.0.6'
            done
        done
        # curl 7.88 can't send two requests on a cleartext HTTP/2 connection, to any server.
        for transport in tls http1 https1; do
            use "$transport"
            expect "a connection is for one client only, $said, $transport" "$(at_once "$base/raw/show?[1-50]")" '500 of 500'
        done
        stop "$pid"
    done
}

# at_once URLS: runs ten clients at once. Prints how many answers name the port of their own client,
# and how many answers there are.
at_once() {
    local clients=() client
    for client in {1..10}; do
        "${curl[@]}" --interface "127.0.0.$client" -w '%{local_port}\n' "$1" >"$scratch/client-$client" &
        clients+=($!)
    done
    wait "${clients[@]}"
    cat "$scratch"/client-* | paste -d' ' - - | awk '{ right += $4 == $6 } END { print right + 0, "of", NR }'
}

# -- WebSockets

# Chromium speaks HTTP/1.1 in cleartext. Over TLS it opens WebSockets on the HTTP/2 connection of
# the page (RFC 8441), because the server advertises that. The upstreams are net/http, and a
# tidegate with HTTP/2 in front of it.
websockets() {
    local name base expected behind_http behind_https before seen=0 rounds=15 upgraded=(-H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Version: 13'
        -H 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==')
    start_go
    start_tidegate --log warn "${tls[@]}" --route "/=http://$go_http" --websocket /websocket
    behind_http=$http behind_https=$https
    start_tidegate --log info "${tls[@]}" --root "$www" --route "/http=http://$go_http/" --route "/https=https://$go_https/" \
        --route "/https1=https://$go_https1/" --route "/h2c=h2c://${behind_http#http://}/" --route "/chain=$behind_https/" \
        --route "/closed=http://$go_http/" --websocket /http/websocket --websocket /https/websocket --websocket /https1 \
        --websocket /h2c --websocket /chain
    for name in http https https1 h2c chain; do
        expect "byte by byte, $name" "$("$peer" websocket "$(port_of "$http")" "/$name/websocket" 'Sec-WebSocket-Protocol: echo')" \
            'HTTP/1.1 101 Switching Protocols websocket upgrade proof echo echoed closed ended'
        eventually 20 saw_closed 1000 $((seen += 1))
        expect "the upstream saw it closed, $name" $? 0
    done
    use http1
    expect 'where WebSockets are not allowed it is forwarded as a GET' \
        "$("${curl[@]}" "${upgraded[@]}" "$http/closed/show" | grep -E '^(GET|upgrade|connection)')" 'GET /show HTTP/1.1'
    expect 'and nothing is upgraded' "$("$peer" websocket "$(port_of "$http")" /closed/websocket)" 'HTTP/1.1 426 Upgrade Required'
    # The proxy allows these WebSockets, but the upstream has none there: its answer is forwarded.
    expect 'an upstream may refuse it' "$("$peer" websocket "$(port_of "$http")" /https1/none)" 'HTTP/1.1 404 Not Found'
    expect 'or answer as if it were a GET' "$("$peer" websocket "$(port_of "$http")" /https1/show)" 'HTTP/1.1 200 OK'

    cat >"$www/page/websockets.html" <<'HTML'
<!doctype html><title>WebSockets</title><p id="verdict"></p><script type="module">
const bytes = new Uint8Array(1 << 20).map((_, at) => at * 31 + (at >> 8));
const talk = (path, large) => new Promise((resolve) => {
    const socket = new WebSocket(`${location.protocol.replace("http", "ws")}//${location.host}${path}`);
    const seen = [];
    socket.binaryType = "arraybuffer";
    socket.onopen = () => { socket.send("a word"); socket.send(large); socket.send("the end"); };
    socket.onmessage = ({data}) => {
        if (data === "a word" || data === "the end") seen.push("text");
        else if (data.byteLength === large.length && new Uint8Array(data).every((byte, at) => byte === large[at])) seen.push("binary");
        else seen.push("something else");
        if (seen.length === 3) socket.close(4000, "enough");
    };
    socket.onerror = () => seen.push("error");
    socket.onclose = ({code, wasClean}) => resolve(`${seen.join(" ")} ${code} ${wasClean}`);
});
let over = false;
const talkToAll = async () => {
    const verdicts = new Set();
    for (let round = 0; round < ROUNDS; round++) {
        // One large message is enough. How the two ends close the connection is a race each time.
        const large = round == 0 ? bytes : bytes.subarray(0, 1000);
        const all = await Promise.all(location.search.slice(1).split(",").map((path) => talk(`/${path}/websocket`, large)));
        for (const verdict of all) verdicts.add(verdict);
    }
    document.getElementById("verdict").textContent = [...verdicts].join("; ");
    over = true;
};
const done = talkToAll();
// Chromium considers a page loaded when it fetches nothing, whatever its WebSockets do.
while (!over) await fetch("/http/pause?ms=200");
await done;
</script>
HTML
    sed -i "s/ROUNDS/$rounds/" "$www/page/websockets.html"
    for base in "$http" "$https"; do
        name=http,https,https1,h2c,chain
        [[ $base == http:* ]] && expected=HTTP/1.1 || expected=HTTP/2
        before=$(websockets_by "$expected")
        expect "Chromium's WebSockets, ${base%%:*}" "$(verdict "$base/page/websockets.html?$name")" 'text binary text 4000 true'
        # The log has each WebSocket once the server has seen its end.
        eventually 20 all_came
        expect "all came by $expected" "$(($(websockets_by "$expected") - before))" $((5 * rounds))
    done
    eventually 20 saw_closed 4000 $((10 * rounds))
    expect "the upstream saw each of them closed with the page's status" $? 0
    stop "$pid"
}

# websockets_by VERSION: prints how many finished WebSockets of that version the log has. A GET for
# a WebSocket is logged as CONNECT.
websockets_by() { grep -cE "\"CONNECT /[a-z0-9]+/websocket $1\" 200" "$log"; }
all_came() { (($(websockets_by "$expected") - before >= 5 * rounds)); }
saw_closed() { (($(grep -c "websocket over, closed with $1" "$go_log") == $2)); }

began=$SECONDS
for section in "${sections[@]}"; do
    declare -F "$section" >/dev/null || die "no such section: $section"
    section_began=$SECONDS section_passed=$passed
    section "$section"
    "$section"
    echo "   $((passed - section_passed)) checks held, $((SECONDS - section_began)) s"
done
panics=$(cat "$scratch"/tidegate.* | grep -cE 'panicked| ERROR ')
expect 'no panic, and no error of its own' "$panics" 0
((failed == 0)) || grep -hE ' (WARN|ERROR) ' "$scratch"/tidegate.* | tail -n 100
echo "proxy: $passed checks held, $failed did not, $((SECONDS - began)) s"
exit $((failed > 0))
