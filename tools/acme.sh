#!/usr/bin/env bash
# Proves that docs/certificates.md is right, with Pebble in place of an authority: certbot and lego
# get a certificate by a webroot that tidegate serves, tidegate takes it by the hook or notices it,
# and clients see it; and the same for its renewal.
#
#   apt-get install certbot lego pebble
#   cargo build --release && tools/acme.sh
#
# Everything is on the loopback, with ports that the kernel picked. Takes about 20 seconds.
source "$(dirname "$0")/lib.sh"
need certbot curl lego openssl pebble pebble-challtestsrv python3
set +e

cd "$scratch" || exit
hook=$root/contrib/deploy-certificate
export TIDEGATE_CERTIFICATES=$scratch/tidegate TIDEGATE_GROUP
TIDEGATE_GROUP=$(id -gn)
mkdir -p webroot tidegate
echo page >webroot/index.html
doh=()
read -r acme manage dns spare < <(free_ports 4 | paste -sd' ')
make_cert pair # that of Pebble's own server

# What docs/certificates.md shows, but for ports and paths: first a cleartext port.
cat >tidegate/tidegate.toml <<TOML
listen = ["none"]
listen-h2c = ["127.0.0.1:0"]
root = "$scratch/webroot"
watch-certificates = "1s"
TOML
log=$scratch/tidegate.log
launch "$log" "$tidegate" --config tidegate/tidegate.toml
server=$pid
eventually 20 grep -q 'is ready' "$log" || die "the server doesn't start: $(cat "$log")"
plain=$(grep -m1 -oE 'http://127\.0\.0\.1:[0-9]+' "$log")
export TIDEGATE_RELOAD="kill -HUP $server"

# The authority asks for http-01 at the server's cleartext port, and finds every name at 127.0.0.1.
cat >pebble.json <<JSON
{"pebble": {"listenAddress": "127.0.0.1:$acme", "managementListenAddress": "127.0.0.1:$manage",
  "certificate": "$scratch/pair.crt", "privateKey": "$scratch/pair.key",
  "httpPort": $(port_of "$plain"), "tlsPort": $spare, "ocspResponderURL": ""}}
JSON
pebble-challtestsrv -help 2>&1 | grep -q -- -doh && doh=(-doh '') # newer versions listen for it, too
launch names.log pebble-challtestsrv -defaultIPv4 127.0.0.1 -defaultIPv6 '' -dns01 "127.0.0.1:$dns" \
    -http01 '' -https01 '' -tlsalpn01 '' "${doh[@]}" -management "127.0.0.1:$spare"
export PEBBLE_VA_NOSLEEP=1 PEBBLE_WFE_NONCEREJECT=0
launch pebble.log pebble -config pebble.json -strict -dnsserver "127.0.0.1:$dns"
export REQUESTS_CA_BUNDLE=$scratch/pair.crt LEGO_CA_CERTIFICATES=$scratch/pair.crt
authority=https://localhost:$acme/dir
eventually 20 curl -sf --cacert pair.crt -o /dev/null "$authority" || die "Pebble doesn't start: $(cat pebble.log)"
curl -sf --cacert pair.crt "https://localhost:$manage/roots/0" >authority.pem

# configured SITE...: adds the port for TLS and sites, and reloads.
configured() {
    local name
    {
        sed 's/"none"/"127.0.0.1:'"$tls"'"/' tidegate/tidegate.toml
        for name; do printf '[[site]]\nnames = ["%s"]\ncert = "%s.pem"\nkey = "%s.key"\nroot = "%s"\n' "$name" "$name" "$name" "$scratch/webroot"; done
    } >tidegate/new && mv tidegate/new tidegate/tidegate.toml
    kill -HUP "$server"
}

# page NAME: prints what a client gets that trusts the authority alone.
page() { curl -s --max-time 10 --cacert authority.pem --resolve "$1:$tls:127.0.0.1" "https://$1:$tls/"; }
has_page() { [[ $(page "$1") == page ]]; }

# serial NAME: prints the serial number of the certificate that a client gets.
serial() { openssl s_client -connect "127.0.0.1:$tls" -servername "$1" </dev/null 2>/dev/null | openssl x509 -noout -serial 2>/dev/null; }
has_another_serial() { [[ $(serial "$1") && $(serial "$1") != "$2" ]]; }

certbot() {
    command certbot "$@" --config-dir certbot --work-dir certbot/work --logs-dir certbot/logs --non-interactive >>certbot.log 2>&1
}
lego() { command lego --server "$authority" --path lego --accept-tos --email nobody@example.com "$@" >>lego.log 2>&1; }

tls=$(free_port)
section 'certbot, by webroot and hook'
certbot certonly --webroot --webroot-path webroot --domain a.example.com --server "$authority" \
    --agree-tos --register-unsafely-without-email --deploy-hook "$hook"
expect 'certbot gets a certificate' $? 0
expect 'the hook passes it on' "$(ls tidegate/a.example.com.* | paste -sd' ')" 'tidegate/a.example.com.key tidegate/a.example.com.pem'
configured a.example.com
eventually 20 has_page a.example.com
expect 'a client trusts the site' $? 0
before=$(serial a.example.com)
certbot renew --force-renewal --no-random-sleep-on-renew
expect 'certbot renews it' $? 0
eventually 20 has_another_serial a.example.com "$before"
expect 'clients get the new one' $? 0
expect 'and trust it' "$(page a.example.com)" page

section 'lego, by webroot, and its renewal without a reload'
lego --domains b.example.com --http --http.webroot webroot run --run-hook "$hook"
expect 'lego gets a certificate' $? 0
configured b.example.com
eventually 20 has_page b.example.com
expect 'a client trusts the site' $? 0
before=$(serial b.example.com)
reloads=$(grep -c SIGHUP "$log")
TIDEGATE_RELOAD=true lego --domains b.example.com --http --http.webroot webroot renew --days 10000 --no-random-sleep --renew-hook "$hook"
expect 'lego renews it' $? 0
eventually 20 has_another_serial b.example.com "$before"
expect 'the server notices it by itself' "$? $(grep -c SIGHUP "$log")" "0 $reloads"
expect 'and clients trust it' "$(page b.example.com)" page
expect 'the other site is as before' "$(page a.example.com)" page

stop "$server"
expect 'the server ends' $? 0
((failed == 0)) || tail -n 40 "$log" pebble.log certbot.log lego.log
echo "acme: $passed checks held, $failed did not"
exit $((failed > 0))
