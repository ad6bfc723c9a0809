#!/usr/bin/env bash
# Proves that openssl and curl get what an operator has configured for TLS: certificates by what
# clients can check, versions, the protocols of a port, tickets that two servers share, stapled OCSP
# responses, early data, clients' certificates and what upstreams learn of them, and PEM as other
# programs write it.
#
#   cargo build --release && tools/tls.sh
#
# Everything is on the loopback, with ports that the kernel picked. Takes about 10 seconds.
source "$(dirname "$0")/lib.sh"
need curl openssl python3
set +e

cd "$scratch" || exit
mkdir www
echo page >www/index.html

# An authority, and what it has issued: two certificates of the server, two of clients, one of which
# it has revoked since.
cat >ca.conf <<'CONF'
[ca]
default_ca = here
[here]
database = index.txt
serial = serial
crlnumber = crlnumber
new_certs_dir = .
certificate = ca.pem
private_key = ca.key
default_md = sha256
unique_subject = no
default_days = 30
default_crl_days = 30
policy = any
copy_extensions = copy
[any]
commonName = supplied
CONF
: >index.txt
echo 1000 | tee serial >crlnumber
key() { openssl genpkey -algorithm "${@:2}" -out "$1.key" 2>/dev/null; }
issue() {
    openssl req -new -key "$1.key" -subj "/CN=$2" -addext "subjectAltName=$3" -out "$1.csr" &&
        openssl ca -batch -notext -config ca.conf -in "$1.csr" -out "$1.pem" 2>>ca.log
}
key ca EC -pkeyopt ec_paramgen_curve:P-256
openssl req -x509 -new -key ca.key -subj /CN=authority -days 30 -out ca.pem
key ecdsa EC -pkeyopt ec_paramgen_curve:P-256
key rsa RSA -pkeyopt rsa_keygen_bits:2048
key alice EC -pkeyopt ec_paramgen_curve:P-256
key mallory EC -pkeyopt ec_paramgen_curve:P-256
issue ecdsa localhost DNS:localhost
issue rsa localhost DNS:localhost
issue alice alice email:alice@example.com
issue mallory mallory email:mallory@example.com
openssl ca -config ca.conf -revoke mallory.pem 2>>ca.log
openssl ca -config ca.conf -gencrl -out ca.crl 2>>ca.log
openssl ocsp -index index.txt -CA ca.pem -rsigner ca.pem -rkey ca.key -issuer ca.pem -cert ecdsa.pem \
    -no_nonce -ndays 1 -respout ecdsa.ocsp >/dev/null 2>&1
[[ -s mallory.pem && -s ca.crl && -s ecdsa.ocsp ]] || die "openssl made no certificates: $(cat ca.log)"

head -c 80 /dev/urandom >first.ticket
head -c 48 /dev/urandom >second.ticket
pairs=(--cert ecdsa.pem --key ecdsa.key --cert rsa.pem --key rsa.key)

# s_client FLAG...: connects as openssl does, sends stdin, and prints everything.
s_client() { timeout 20 openssl s_client -connect "127.0.0.1:$(port_of "$https")" -servername localhost -CAfile ca.pem "$@" 2>&1; }
request=$'GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'
asked() { printf %s "$request" | s_client -ign_eof "$@"; }
line() { grep -m1 -oE "$1"; }
fetch() { curl -sS --max-time 20 --cacert ca.pem --resolve "localhost:$(port_of "$https"):127.0.0.1" "$@" "https://localhost:$(port_of "$https")/" 2>&1; }

section "certificates, versions and protocols"
start_tidegate --root www "${pairs[@]}" --ocsp ecdsa.ocsp
expect "ECDSA comes first" "$(asked | line 'Peer signature type: .*')" 'Peer signature type: ECDSA'
expect "a client that can check RSA alone gets RSA" \
    "$(asked -sigalgs rsa_pss_rsae_sha256 | line 'Peer signature type: .*')" 'Peer signature type: RSA-PSS'
expect "the chain is verified" "$(asked -verify_return_error | line 'Verify return code: .*')" 'Verify return code: 0 (ok)'
expect "the OCSP response is stapled" "$(asked -status | line 'Cert Status: .*')" 'Cert Status: good'
expect "and only with its certificate" \
    "$(asked -status -sigalgs rsa_pss_rsae_sha256 | line 'OCSP response: no response sent')" 'OCSP response: no response sent'
expect "TLS 1.2 is spoken" "$(asked -tls1_2 | line '^page')" page
expect "ALPN http/1.0 is served" "$(asked -alpn http/1.0 | line '^page|ALPN protocol: .*' | head -1)" 'ALPN protocol: http/1.0'
expect "HTTP on this port is refused in words" \
    "$(curl -s -o words -w '%{http_code}' "http://127.0.0.1:$(port_of "$https")/") $(grep -ci https words)" '400 1'
stop "$pid"
start_tidegate --root www "${pairs[@]}" --tls-min-version 1.3
expect "TLS 1.2 is refused where 1.3 is the least" "$(asked -tls1_2 | line 'alert protocol version')" 'alert protocol version'
stop "$pid"
log=$(mktemp "$scratch/tidegate.XXXXXX")
launch "$log" "$tidegate" --listen 127.0.0.1:0,h2 --listen-h2c none --root www "${pairs[@]}"
eventually 20 grep -q 'is ready' "$log" || die "the server doesn't start: $(cat "$log")"
https=$(grep -m1 -oE 'https://127\.0\.0\.1:[0-9]+' "$log")
expect "a port for HTTP/2 alone serves HTTP/2" "$(fetch --http2)" page
expect "and refuses a client that offers HTTP/1.1 alone" "$(fetch --http1.1 >/dev/null; echo $?)" 35
stop "$pid"

section "PEM as other programs write it"
{ printf '\xef\xbb\xbf' && sed 's/$/\r/' ecdsa.pem; } >dos.pem
{ openssl x509 -noout -text -in ecdsa.pem && cat ecdsa.pem; } >text.pem
for pem in dos text; do
    start_tidegate --root www --cert $pem.pem --key ecdsa.key
    expect "$pem.pem is read" "$(fetch)" page
    stop "$pid"
done
{ sed -z 's/\n$//' ecdsa.pem && cat ca.pem; } >glued.pem
"$tidegate" --listen 127.0.0.1:0 --listen-h2c none --root www --cert glued.pem --key ecdsa.key >glued.log 2>&1
expect "blocks that run together are refused" "$? $(grep -c 'glued.pem' glued.log)" '1 1'

section "tickets that servers share"
start_tidegate --root www "${pairs[@]}" --ticket-key first.ticket
asked -sess_out session >/dev/null
stop "$pid"
reused() { asked -sess_in session | line '^(New|Reused)'; }
start_tidegate --root www "${pairs[@]}" --ticket-key second.ticket --ticket-key first.ticket
expect "another server with the key resumes the session, though it encrypts with a newer one" "$(reused)" Reused
stop "$pid"
start_tidegate --root www "${pairs[@]}" --ticket-key second.ticket
expect "one without the key doesn't" "$(reused)" New
stop "$pid"

section "early data"
start_tidegate --root www "${pairs[@]}" --early-data on
printf %s "$request" >early
asked -sess_out session >/dev/null
early() { s_client -sess_in session -early_data early -ign_eof </dev/null; }
expect "a session's first flight is answered" "$(early | line 'Early data was (accepted|rejected)|Early data was not sent')" 'Early data was accepted'
expect "and once only" "$(early | line 'Early data was (accepted|rejected)|Early data was not sent')" 'Early data was rejected'
stop "$pid"

section "clients' certificates"
cat >fields.py <<'PYTHON'
"""Answers each request with its fields."""
import http.server

class Fields(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = str(self.headers).lower().encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Fields)
print(server.server_address[1], flush=True)
server.serve_forever()
PYTHON
launch fields.log python3 fields.py
eventually 20 test -s fields.log || die "the upstream doesn't start"
upstream=http://127.0.0.1:$(head -1 fields.log)
start_tidegate --route "/=$upstream" "${pairs[@]}" --client-certs optional --client-ca ca.pem --client-crl ca.crl
facts() { grep -E '^x-client-cert-(verdict|subject|san):' | tr -d '\r' | sort | paste -sd' '; }
expect "the upstream learns whose certificate it is" "$(fetch --cert alice.pem --key alice.key | facts)" \
    'x-client-cert-san: email:alice@example.com x-client-cert-subject: cn=alice x-client-cert-verdict: success'
expect "a stranger can't say so" "$(fetch -H 'X-Client-Cert-Subject: CN=alice' -H 'X-Client_Cert.Verdict: SUCCESS' | facts)" \
    'x-client-cert-verdict: none'
expect "a revoked certificate is refused" "$(fetch --cert mallory.pem --key mallory.key | line 'alert certificate revoked')" 'alert certificate revoked'
stop "$pid"
start_tidegate --route "/=$upstream" "${pairs[@]}" --client-certs required --client-ca ca.pem
expect "a client without one is refused" "$(fetch | line 'alert certificate required')" 'alert certificate required'
expect "and one with it served" "$(fetch --cert alice.pem --key alice.key | facts | line 'cn=alice')" cn=alice
stop "$pid"

echo "tls: $passed checks held, $failed did not"
exit $((failed > 0))
