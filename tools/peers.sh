#!/usr/bin/env bash
# Proves that curl, nghttp, h2load and openssl get correct answers from the release binary: real
# files down, up and echoed, compared by checksum, over HTTP/2 and HTTP/1.1 with and without TLS;
# 100 streams at once; HEAD, ranges, conditional requests; nothing outside the root; how the server
# distinguishes protocols; signals; and mistakes in the flags.
#
#   cargo build --release && tools/peers.sh
#
# Every check is one line: `expect WHAT GOT WANTED`. All of them run, and the exit status is 0 if
# all held.
source "$(dirname "$0")/lib.sh"
need curl nghttp h2load openssl python3

# If a command fails in a substitution, the check sees its output, so the checks need no `set -e`.
set +e

sizes=(0 1 16383 16384 16385 65535 65536 50000000)
www=$scratch/www
mkdir -p "$www/sub" "$www/hundred" "$www/.dir" "$scratch/outside"
for size in "${sizes[@]}"; do head -c "$size" /dev/urandom >"$www/$size.bin"; done
for i in {1..100}; do head -c $((i * i * 13)) /dev/urandom >"$www/hundred/$i.bin"; done
echo '<!doctype html><title>sub</title>' >"$www/sub/index.html"
echo 'body {}' >"$www/style.css"
echo secret | tee "$scratch/outside/secret" "$scratch/secret" "$www/.hidden" >"$www/.dir/file"
ln -s "$scratch/outside/secret" "$www/link"
ln -s "$scratch/outside" "$www/linked"
make_cert pair
make_cert other
served=(--root "$www" --route /upload=upload --route /echo=echo --route /status=status
    --cert "$scratch/pair.crt" --key "$scratch/pair.key")

files() {
    local size file sum
    for size in "${sizes[@]}"; do
        file=$www/$size.bin
        sum=$(sha <"$file")
        expect "curl fetches $size ($1)" "$("${curl[@]}" "$base/$size.bin" | sha)" "$sum"
        expect "curl gets $size echoed ($1)" "$("${curl[@]}" --data-binary "@$file" "$base/echo" | sha)" "$sum"
        expect_bodies "$1" "$file" "$sum" $((size > 1000000 ? 4 : 400))
    done
}

# curl 7.88 can't send a second request on a cleartext connection by prior knowledge
# (curl/curl#10634, fixed in 8.0), so it opens 100 connections there. Over TLS all streams share
# one.
a_hundred_at_once() {
    local out option connections=1 several=(--parallel --parallel-max 100) i
    option=$([[ $1 == tls ]] && echo http2 || echo http2-prior-knowledge)
    [[ $1 == tls ]] || { several+=(--parallel-immediate) && connections=100; }
    out=$(mktemp -d "$scratch/out.XXXXXX")

    for i in {1..100}; do
        printf 'next\nsilent\ncacert = %s\n%s\nwrite-out = "%%{num_connects} "\n' "$scratch/pair.crt" "$option"
        printf 'url = %s/hundred/%d.bin\noutput = %s\n' "$base" "$i" "$out/$i.bin"
    done | sed 1d >"$scratch/downloads"
    expect "connections that curl opened for 100 files ($1)" \
        "$(timeout 60 curl "${several[@]}" --config "$scratch/downloads" 2>/dev/null | tr ' ' '\n' | grep -c 1)" "$connections"
    expect "curl fetches 100 files at once ($1)" "$(diff -rq "$www/hundred" "$out")" ''

    rm -f "$out"/*
    sed -E "s,^(url = .*)/hundred/(.*),\1/echo\ndata-binary = @$www/hundred/\2," "$scratch/downloads" >"$scratch/uploads"
    timeout 60 curl "${several[@]}" --config "$scratch/uploads" >/dev/null 2>&1
    expect "curl gets 100 files echoed at once ($1)" "$(diff -rq "$www/hundred" "$out")" ''

    printf "$base/hundred/%d.bin\n" {1..100} >"$scratch/urls"
    expect "nghttp fetches 100 files at once ($1)" \
        "$(timeout 60 nghttp -y $(cat "$scratch/urls") | histogram)" "$(cat "$www"/hundred/* | histogram)"
    expect "nghttp uploads 100 at once ($1)" \
        "$(timeout 60 nghttp -y -m 100 -d "$www/65536.bin" "$base/upload" | grep -oF "\"sha256\":\"$(sha <"$www/65536.bin")\"" | wc -l)" 100
    expect "h2load fetches 100 files, 100 at once on each of 4 connections ($1)" \
        "$(h2load_counts 10000 --input-file "$scratch/urls")" "10000 2xx $((100 * $(cat "$www"/hundred/* | wc -c))) bytes"
}

semantics() {
    local etag modified range
    expect "curl negotiates HTTP/$version ($1)" "$("${curl[@]}" -o /dev/null -w '%{http_version}' "$base/1.bin")" "$version"
    expect "status route ($1)" "$("${curl[@]}" -w ' %{content_type}' "$base/status")" '{"status":"ok"} application/json'
    expect "HEAD has the length ($1)" "$(field content-length --head "$base/65536.bin")" 65536
    expect "HEAD has no body ($1)" "$("${curl[@]}" --head -o /dev/null -w '%{http_code} %{size_download}' "$base/65536.bin")" '200 0'
    expect "no such file ($1)" "$(status "$base/none")" 404
    expect "a file refuses POST ($1)" "$(status -d x "$base/1.bin")" 405
    expect "index.html ($1)" "$("${curl[@]}" "$base/sub/" | sha)" "$(sha <"$www/sub/index.html")"
    expect "a query isn't part of the name ($1)" "$(status "$base/1.bin?x=1")" 200
    expect "content type of html ($1)" "$(field content-type "$base/sub/" | cut -d';' -f1)" text/html
    expect "content type of css ($1)" "$(field content-type "$base/style.css" | cut -d';' -f1)" text/css

    for range in 0-0 100-199 16380-16390 65535- 65535-99999 -5; do
        expect "range $range ($1)" "$(status -r "$range" "$base/65536.bin") $(sha <"$scratch/body")" \
            "206 $(case $range in
                -*) tail -c "${range#-}" "$www/65536.bin" ;;
                *) tail -c +$((${range%-*} + 1)) "$www/65536.bin" | head -c "$(bc_length "$range")" ;;
            esac | sha)"
    done
    expect "content-range ($1)" "$(field content-range -r 100-199 "$base/65536.bin")" 'bytes 100-199/65536'
    expect "a range past the end ($1)" "$(status -r 65536- "$base/65536.bin")" 416
    expect "content-range of 416 ($1)" "$(field content-range -r 65536- "$base/65536.bin")" 'bytes */65536'

    etag=$(field etag "$base/65536.bin")
    modified=$(field last-modified "$base/65536.bin")
    expect "If-None-Match holds ($1)" "$(status -H "If-None-Match: $etag" "$base/65536.bin") $(field etag -H "If-None-Match: $etag" "$base/65536.bin")" "304 $etag"
    expect "If-None-Match in a list ($1)" "$(status -H "If-None-Match: \"other\", $etag" "$base/65536.bin")" 304
    expect "If-None-Match fails ($1)" "$(status -H 'If-None-Match: "other"' "$base/65536.bin")" 200
    expect "If-Modified-Since holds ($1)" "$(status -H "If-Modified-Since: $modified" "$base/65536.bin")" 304
    expect "If-Modified-Since fails ($1)" "$(status -H 'If-Modified-Since: Sat, 01 Jan 2000 00:00:00 GMT' "$base/65536.bin")" 200
}

# bc_length FIRST-LAST: prints how many bytes a range asks for. FIRST- asks for all that follow.
bc_length() {
    local first=${1%-*} last=${1#*-}
    echo $((${last:-65535} - first + 1))
}

nothing_outside_the_root() {
    local path
    for path in /../secret /../outside/secret /sub/../../secret /%2e%2e/secret /%2E%2E%2Fsecret /sub/..%2f..%2fsecret /..%5csecret \
        "/..;/secret" //..//secret /link /linked/secret /linked/ /.hidden /%2ehidden /.dir/file /sub/../.hidden /.dir/ /1.bin%00 "$scratch/secret"; do
        expect "$path is refused ($1)" \
            "$(status --path-as-is "$base$path" | cut -c1) $(grep -c secret "$scratch/body")" '4 0'
    done
}

other_protocols() {
    local plain=(curl --silent --show-error --max-time 60 --cacert "$scratch/pair.crt" -o /dev/null)
    local format='%{http_code} %{http_version}'
    expect 'HTTP/1.1 over TLS without ALPN' "$("${plain[@]}" --no-alpn --http1.1 -w "$format" "$https/1.bin")" '200 1.1'
    expect 'an upgrade to h2c is declined' "$("${plain[@]}" --http2 -w "$format" "$http/1.bin")" '200 1.1'
    expect 'HTTP/1.0' "$("${plain[@]}" --http1.0 -w "$format" "$http/1.bin")" '200 1.1'
    expect 'HTTP/1.1 connections that curl opened for two files' \
        "$("${plain[@]}" --http1.1 -w '%{num_connects} ' "$http/1.bin" -o /dev/null "$http/65536.bin")" '1 0 '
    expect 'HTTP/1.0 connections that curl opened for two files' \
        "$("${plain[@]}" --http1.0 -H 'Connection: keep-alive' -w '%{num_connects} ' "$http/1.bin" -o /dev/null "$http/65536.bin")" '1 0 '
    expect 'a body that waits for 100 (Continue)' \
        "$("${plain[@]}" --http1.1 -H 'Expect: 100-continue' --expect100-timeout 600 -w '%{http_code}' -d "@$www/65536.bin" "$http/upload")" 200

    # grep -a: the output includes the server's HTTP/2 frames, which are not text.
    local s_client=(timeout 10 openssl s_client -connect "127.0.0.1:$(port_of "$https")" -CAfile "$scratch/pair.crt")
    expect 'an unknown ALPN is refused' "$("${s_client[@]}" -alpn foo </dev/null 2>&1 | grep -ac 'no application protocol')" 1
    expect 'of several ALPN protocols the server chooses h2' "$("${s_client[@]}" -alpn foo,http/1.1,h2 </dev/null 2>&1 | grep -a -m1 '^ALPN')" 'ALPN protocol: h2'
    expect 'TLS 1.2' "$("${plain[@]}" --http2 --tls-max 1.2 -w "$format" "$https/1.bin")" '200 2'
    expect 'TLS 1.3' "$("${plain[@]}" --http2 --tlsv1.3 -w "$format" "$https/1.bin")" '200 2'
    expect 'cleartext to the TLS port ends' "$(ended --http2-prior-knowledge "http://127.0.0.1:$(port_of "$https")/")" '000, ended'
    expect 'TLS to the cleartext port ends' "$(ended --http2 "https://127.0.0.1:$(port_of "$http")/")" '000, ended'
    local version
    for version in TLSv1_2 TLSv1_3; do
        expect "$version session is resumed" "$(resumed "$version")" True
    done
}

# ended ARGUMENT...: prints the status that curl got, and whether the server had closed the
# connection when curl timed out.
ended() {
    "${plain[@]}" -w '%{http_code}' "$@" 2>/dev/null
    (($? == 28)) && echo ', open' || echo ', ended'
}

# resumed VERSION: prints whether a second TLS connection can resume the session of the first.
resumed() {
    python3 - "$1" "$(port_of "$https")" "$scratch/pair.crt" <<'PYTHON'
import socket, ssl, sys

version, port, certificate = sys.argv[1:]
context = ssl.create_default_context(cafile=certificate)
context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
context.set_alpn_protocols(["h2"])


def connect(session):
    raw = socket.create_connection(("127.0.0.1", int(port)), 10)
    return context.wrap_socket(raw, server_hostname="localhost", session=session)


first = connect(None)
first.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
first.recv(1)  # the server's SETTINGS follow its tickets
session = first.session
first.close()
print(connect(session).session_reused)
PYTHON
}

# held_transfer SIGNAL: starts a server, begins a transfer from it, and sends the signal in the
# middle. Returns when the server no longer listens. Sets `pid` and `client`.
held_transfer() {
    start_tidegate "${served[@]}" --log warn
    use h2c
    begin_transfer "$base/50000000.bin"
    kill "-$1" "$pid"
    expect "a server stops listening after $1" "$(eventually 10 refuses "$(port_of "$http")" && echo yes)" yes
}

refuses() { ! accepts "$1"; }

signals() {
    local signal server
    for signal in TERM INT; do
        held_transfer "$signal"
        end_transfer
        reap "$client"
        expect "a transfer continues after $signal" "$? $(sha <"$scratch/transferred")" "0 $(sha <"$www/50000000.bin")"
        reap "$pid"
        expect "exit status after $signal" $? 0
    done
    held_transfer TERM
    server=$pid
    kill -TERM "$server"
    # Nobody reads the transfer, so nothing else would end it for half a minute.
    expect 'a second signal ends the server at once' "$(eventually 10 exited "$server" && echo yes)" yes
    end_transfer
    expect 'and the transfer too' "$([[ $(wc -c <"$scratch/transferred") -lt 50000000 ]] && echo yes)" yes
    reap "$server"
    reap "$client"
}

# started FLAG...: prints how a server ended that should not start. Its output is in
# $scratch/stderr.
started() {
    timeout 10 "$tidegate" --listen 127.0.0.1:0 --listen-h2c none "$@" >"$scratch/stdout" 2>"$scratch/stderr" </dev/null
    case $? in
        1 | 2) echo 'refused' ;;
        124) echo 'runs' ;;
        *) echo "ended with status $?" ;;
    esac
}

# refused WHAT PATTERN FLAG...: requires status 1 or 2, and one line on stderr that matches.
refused() {
    expect "$1: exit status" "$(started "${@:3}")" refused
    expect "$1: one sentence" "$(wc -l <"$scratch/stderr") $(grep -ciE -- "$2" "$scratch/stderr")" '1 1'
}

mistakes() {
    local flags
    echo nonsense >"$scratch/nonsense"
    refused 'port taken' "$(port_of "$https")" --listen "127.0.0.1:$(port_of "$https")"
    refused 'key of another certificate' 'key' --cert "$scratch/pair.crt" --key "$scratch/other.key"
    refused 'no such certificate' 'nosuch' --cert "$scratch/nosuch" --key "$scratch/pair.key"
    refused 'no certificate in the file' 'nonsense' --cert "$scratch/nonsense" --key "$scratch/pair.key"
    refused 'no key in the file' 'nonsense' --cert "$scratch/pair.crt" --key "$scratch/nonsense"
    refused 'no such root' 'nosuch' --root "$scratch/nosuch"
    for flags in '--nosuch' '--workers many' '--listen nowhere' '--route x' '--max-streams -1' '--cert x'; do
        # shellcheck disable=SC2086 # two words each
        expect "tidegate $flags: exit status" "$(started $flags)" refused
        expect "tidegate $flags: reported without a panic" "$(test -s "$scratch/stderr" && grep -ci panicked "$scratch/stderr")" 0
    done
}

logs() {
    local base
    SSLKEYLOGFILE=$scratch/keys start_tidegate "${served[@]}" --access-log "$scratch/access.log" --log warn
    use tls
    expect 'h2load with an access log' "$(h2load_counts 400 "$base/1.bin")" '400 2xx 400 bytes'
    stop "$pid"
    expect 'exit status after TERM, idle' $? 0
    expect 'one access log line per request' "$(grep -c '/1\.bin' "$scratch/access.log")" 400
    expect 'SSLKEYLOGFILE is honoured' "$(grep -c '^SERVER_TRAFFIC_SECRET_0 ' "$scratch/keys")" 4
}

start_tidegate "${served[@]}" --log warn
main=$pid
for transport in tls h2c https1 http1; do
    use "$transport"
    section "files over $transport" && files "$transport"
    [[ $version == 1.1 ]] || { section "100 streams at once over $transport" && a_hundred_at_once "$transport"; }
    section "HTTP semantics over $transport" && semantics "$transport"
    section "nothing outside the root over $transport" && nothing_outside_the_root "$transport"
done
section 'other protocols' && other_protocols
section 'mistakes' && mistakes
expect 'the server still runs' "$(running "$main" && echo yes)" yes
expect 'and has not panicked' "$(grep -c panicked "$log")" 0
section 'signals' && signals
section 'logs' && logs

((failed == 0)) || tail -n 40 "$scratch"/tidegate.*
echo "peers: $passed checks held, $failed did not"
exit $((failed > 0))
