#!/usr/bin/env bash
# Proves that independent clients accept early hints and pushes from the release binary, or refuse
# them, and that the server's statistics are right: nghttp with and without push, curl, and headless
# Chromium, which has no push and loads the resources that a 103 names.
#
#   cargo build --release && tools/push.sh
#
# Every check is one line: `expect WHAT GOT WANTED`. All of them run, and the exit status is 0 if
# all held.
source "$(dirname "$0")/lib.sh"
need curl nghttp chromium openssl

# If a command fails in a substitution, the check sees its output, so the checks need no `set -e`.
set +e

www=$scratch/www
mkdir -p "$www"
# The page mentions none of its resources: only a hint or a push can bring them.
echo '<!doctype html><title>page</title><p>page' >"$www/index.html"
echo '<!doctype html><title>other</title><p>other' >"$www/other.html"
echo 'body { color: teal }' >"$www/style.css"
echo 'document.title = "script"' >"$www/script.js"
head -c 3000000 /dev/urandom >"$www/large.js"
site=(--root "$www" --workers 1 --preload /=/style.css --preload /=/script.js --preload /other.html=/style.css)

# start FLAG...: starts a server of the site, with an access log of its own.
start() {
    access=$(mktemp "$scratch/access.XXXXXX")
    start_tidegate "${site[@]}" --access-log "$access" --log info "$@"
}

# counted COUNTERS: prints the last statistics on preloads, once they contain COUNTERS or the time
# is up.
counted() {
    eventually 20 grep -qF -- "preloads: $1" "$log"
    grep -o 'preloads: .*' "$log" | tail -n 1
}

# frames NGHTTP-ARGUMENT...: prints the frames that nghttp receives, without times and lengths.
frames() { timeout 20 nghttp --null-out --verbose --no-dep "$@" 2>&1 | sed -nE 's/^\[ *[0-9.]+\] recv //p'; }

# promised NGHTTP-ARGUMENT...: prints the paths in PUSH_PROMISE frames, in order.
promised() { frames "$@" | awk '/ :path: /{path = $NF} /^PUSH_PROMISE/{printf "%s ", path}'; }

# requests PATH, pushes PATH: print how often a path was requested, and pushed.
requests() { grep -F "\"GET $1 HTTP/2\" 200" "$access" | grep -cv ' pushed$'; }
pushes() { grep -F "\"GET $1 HTTP/2\" 200" "$access" | grep -c ' pushed$'; }

nghttp_takes_pushes() {
    start --push on
    expect "nghttp is promised the page's resources" "$(promised "$https/")" '/style.css /script.js '
    expect 'and gets it' "$(frames "$https/" | grep -cE '^DATA .*flags=0x01, stream_id=(2|4)>')" 2
    expect 'promises come before the page' \
        "$(frames "$https/" | grep -E '^(PUSH_PROMISE|HEADERS) ' | awk 'NR <= 3 {printf "%s ", $1}')" 'PUSH_PROMISE PUSH_PROMISE HEADERS '
    expect 'it is not pushed twice on a connection' "$(promised "$https/" "$https/other.html" "$https/?again")" '/style.css /script.js '
    expect 'nor what was requested before' "$(promised "$https/script.js" "$https/")" '/style.css '
    expect 'nor to a client that has the page' \
        "$(promised -H "if-none-match: $(curl -skI "$https/" | sed -n 's/^etag: \(.*\)\r/\1/p')" "$https/")" ''
    expect 'and over cleartext' "$(promised "$http/")" '/style.css /script.js '
    # The page needs 2 resources and was viewed 8 times, the other page needs 1: 17 in all.
    expect 'the statistics count all that' \
        "$(counted '15 hinted, 11 pushed, 0 cancelled, 6 refused (2 conditional, 4 repeated)')" \
        'preloads: 15 hinted, 11 pushed, 0 cancelled, 6 refused (2 conditional, 4 repeated)'
    stop "$pid"
    expect 'so does the access log' "$(pushes /style.css) $(pushes /script.js) $(requests /script.js)" '6 5 1'
}

nghttp_refuses_pushes() {
    start --push on
    expect 'nghttp --no-push is promised nothing' "$(promised --no-push "$https/")" ''
    expect 'but gets a 103' \
        "$(frames --no-push "$https/" | grep -E ':status:|link:' | cut -d')' -f2- | tr '\n' '|')" \
        ' :status: 103| link: </style.css>; rel=preload; as=style| link: </script.js>; rel=preload; as=script| :status: 200| link: </style.css>; rel=preload; as=style| link: </script.js>; rel=preload; as=script|'
    expect 'and the statistics give the reason' \
        "$(counted '4 hinted, 0 pushed, 0 cancelled, 4 refused (4 disabled)')" \
        'preloads: 4 hinted, 0 pushed, 0 cancelled, 4 refused (4 disabled)'
    stop "$pid"
}

# nghttp resets the push of a resource that it is about to request.
nghttp_cancels_pushes() {
    start --push on --preload /=/large.js
    expect 'nghttp cancels the push of what it requests itself' \
        "$(timeout 20 nghttp --null-out --verbose --no-dep "$https/" "$https/large.js" 2>&1 | grep -c 'send RST_STREAM')" 1
    expect 'that is counted' "$(counted '3 hinted, 3 pushed, 1 cancelled, 0 refused' | cut -d, -f1-3)" 'preloads: 3 hinted, 3 pushed, 1 cancelled'
    expect 'and logged' "$(grep -cE 'push cancelled: stream [0-9]+, peer .*, CANCEL, /large.js for /' "$log")" 1
    stop "$pid"
}

# status_lines CURL-ARGUMENT...: prints the statuses and links that curl sees.
status_lines() { curl -sk --dump-header - --output /dev/null "$@" | tr -d '\r' | grep -E '^(HTTP|link)' | tr '\n' '|'; }

curl_is_hinted() {
    local links='link: </style.css>; rel=preload; as=style|link: </script.js>; rel=preload; as=script|'
    start --push on
    expect 'curl shows the 103' "$(status_lines "$https/")" "HTTP/2 103 |${links}HTTP/2 200 |$links"
    expect 'a navigation gets it' "$(status_lines -H 'sec-fetch-mode: navigate' "$https/")" "HTTP/2 103 |${links}HTTP/2 200 |$links"
    expect 'a script that fetches the page gets none' "$(status_lines -H 'sec-fetch-mode: cors' "$https/")" "HTTP/2 200 |$links"
    expect 'nor does HTTP/1.1' "$(status_lines --http1.1 "$https/")" "HTTP/1.1 200 OK|$links"
    expect 'nor does a client that has the page' \
        "$(status_lines -H 'if-none-match: *' "$https/")" 'HTTP/2 304 |'
    expect 'nor does a request for another path' "$(status_lines "$https/style.css")" 'HTTP/2 200 |'
    stop "$pid"
    start --early-hints off
    expect '--early-hints off' "$(status_lines "$https/")" 'HTTP/2 200 |'
    stop "$pid"
}

# browse PATH: runs Chromium with a fresh profile until the page is loaded. Chromium trusts the
# certificate's key: it doesn't cache what comes over a connection with certificate errors, and so
# would load hinted resources twice.
browse() {
    headless_chromium "--ignore-certificate-errors-spki-list=$key" --dump-dom "$https$1"
}

chromium_loads_hinted_resources() {
    local key try shown counters fetched
    make_cert pair
    key=$(openssl x509 -in "$scratch/pair.crt" -noout -pubkey | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64)
    site+=(--cert "$scratch/pair.crt" --key "$scratch/pair.key")
    # A hinted resource goes into the browser's cache, where the page finds it: it must be
    # cacheable.
    printf '[[resource]]\npath = "/%s"\npages = ["/"]\nheaders = { cache-control = "max-age=60" }\n' style.css script.js >"$scratch/preload.toml"
    # The page doesn't wait for the hinted resources, so Chromium may exit before it has requested
    # them. Then try again; a resource that is requested twice fails the check.
    for try in 1 2 3; do
        start --push on --preload-file "$scratch/preload.toml"
        shown=$(browse / | grep -c '<p>page')
        counters=$(counted '2 hinted, 0 pushed, 0 cancelled, 2 refused (2 disabled)')
        stop "$pid"
        fetched="$(requests /style.css) $(requests /script.js)"
        [[ $fetched == *0* ]] || break
    done
    expect 'Chromium shows the page' "$shown" 1
    expect 'it was hinted, and pushed nothing' "$counters" 'preloads: 2 hinted, 0 pushed, 0 cancelled, 2 refused (2 disabled)'
    expect 'Chromium fetched what only the hint named, once' "$fetched" '1 1'
    start --early-hints off
    expect 'Chromium shows the page without hints' "$(browse / | grep -c '<p>page')" 1
    stop "$pid"
    expect 'and fetches nothing else' "$(requests /style.css) $(requests /script.js)" '0 0'
}

learning() {
    start --push learned
    for _ in {1..16}; do nghttp --null-out "$https/" "$https/style.css" 2>/dev/null; done
    expect 'what 16 clients requested is pushed to the next' "$(promised "$https/")" '/style.css '
    expect 'and what none requested is not' \
        "$(counted '2 hinted, 1 pushed, 0 cancelled, 33 refused (32 observed, 1 unlikely)')" \
        'preloads: 2 hinted, 1 pushed, 0 cancelled, 33 refused (32 observed, 1 unlikely)'
    stop "$pid"
}

section 'nghttp takes pushes' && nghttp_takes_pushes
section 'nghttp refuses pushes' && nghttp_refuses_pushes
section 'nghttp cancels a push' && nghttp_cancels_pushes
section 'curl is hinted' && curl_is_hinted
section 'Chromium loads hinted resources' && chromium_loads_hinted_resources
section 'learning' && learning

((failed == 0)) || tail -n 40 "$scratch"/tidegate.*
echo "push: $passed checks held, $failed did not"
exit $((failed > 0))
