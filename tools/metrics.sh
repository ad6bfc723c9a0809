#!/usr/bin/env bash
# Proves that Prometheus reads the metrics of the release binary: promtool finds nothing to complain
# of in either format, a real Prometheus scrapes them and answers queries with the right counts, and
# it understands every alert and every query of the dashboard. Prints how many series there are.
#
#   cargo build --release && tools/metrics.sh
#
# Every check is one line: `expect WHAT GOT WANTED`. All of them run, and the exit status is 0 if
# all held.
source "$(dirname "$0")/lib.sh"
need curl openssl prometheus promtool python3

# If a command fails in a substitution, the check sees its output, so the checks need no `set -e`.
set +e

requests=37
openmetrics='accept: application/openmetrics-text; version=1.0.0'
alerts=$root/contrib/prometheus/tidegate.yml
dashboard=$root/contrib/grafana/tidegate.json

# query EXPRESSION: prints the value of the first sample of a query.
query() {
    curl -sG "$prometheus/api/v1/query" --data-urlencode "query=$1" |
        python3 -c 'import json, sys; result = json.load(sys.stdin)["data"]["result"]; print(result[0]["value"][1] if result else "nothing")'
}

is() { [[ $(query "$1") == "$2" ]]; }

# counted WHAT EXPRESSION WANTED: waits until a query has this value.
counted() {
    eventually 15 is "$2" "$3"
    expect "$1" "$(query "$2")" "$3"
}

www=$scratch/www
mkdir -p "$www"
echo hello >"$www/index.html"
make_cert site
dead=$(free_port)
start_tidegate --root "$www" --cert "$scratch/site.crt" --key "$scratch/site.key" --admin 127.0.0.1:0 \
    --route "/api=http://127.0.0.1:$dead" --log error
admin=$(sed -n 's| *\(http://[0-9.:]*\)/ .*admin:.*|\1|p' "$log")

section 'formats'
for ((i = 0; i < requests; i++)); do urls+=("$https/"); done
expect 'the public ports have no metrics' "$(curl -sk -o /dev/null -w '%{http_code}' "$http/metrics")" 404
timeout 20 curl -sk --http2 "${urls[@]}" >/dev/null
timeout 20 curl -sk --http1.1 "$https/" "$http/nothing" >/dev/null
timeout 20 curl -sk -o /dev/null "$https/api/"
expect 'promtool finds no fault in the text format' "$(curl -s "$admin/metrics" | promtool check metrics 2>&1)" ''
curl -s -H "$openmetrics" "$admin/metrics" >"$scratch/openmetrics"
expect 'OpenMetrics ends' "$(tail -n 1 "$scratch/openmetrics")" '# EOF'
expect 'promtool reads OpenMetrics' "$(promtool check metrics <"$scratch/openmetrics" 2>&1 | grep -v '_total no help text')" ''
expect 'a stranger is refused' "$(curl -s -o /dev/null -w '%{http_code}' -H 'host: evil.example' "$admin/metrics")" 421
expect 'promtool finds no fault in the alerts' "$(promtool check rules "$alerts" | grep -c SUCCESS)" 1

section 'Prometheus'
cat >"$scratch/prometheus.yml" <<YAML
global: {scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms}
rule_files: ["$alerts"]
scrape_configs:
  - job_name: tidegate
    static_configs: [{targets: ["${admin#http://}"]}]
YAML
port=$(free_port)
prometheus=http://127.0.0.1:$port
launch "$scratch/prometheus.log" prometheus --config.file="$scratch/prometheus.yml" --storage.tsdb.path="$scratch/tsdb" \
    --web.listen-address="127.0.0.1:$port" --log.level=warn
eventually 20 curl -sf -o /dev/null "$prometheus/-/ready" || { cat "$scratch/prometheus.log" >&2; die 'Prometheus is not ready within 20 seconds'; }
counted 'it scrapes' 'up{job="tidegate"}' 1
counted 'and has counted all requests' 'tidegate_requests_total' $((requests + 4))
counted 'by status' 'tidegate_responses_total{status="2xx"}' $((requests + 1))
counted 'with their times' 'tidegate_request_duration_seconds_count' $((requests + 4))
counted 'what an upstream did not answer' 'sum(tidegate_upstream_failures_total)' 1
timeout 20 curl -sk --http2 "${urls[@]}" >/dev/null
counted 'and those that came while it looked on' 'tidegate_requests_total' $((2 * requests + 4))
expect 'the certificate lasts 30 days' "$(query 'round((tidegate_certificate_expiry_timestamp_seconds - time()) / 86400)')" 30

# evaluated: whether all alerts were evaluated, and how.
evaluated() {
    curl -s "$prometheus/api/v1/rules" | python3 -c '
import json, sys
rules = [rule for group in json.load(sys.stdin)["data"]["groups"] for rule in group["rules"]]
print(len(rules), *sorted({rule["health"] for rule in rules}))'
}
all_evaluated() { [[ $(evaluated) == *' ok' ]]; }
eventually 15 all_evaluated
expect 'every alert is understood' "$(evaluated)" "$(grep -c 'alert:' "$alerts") ok"
expect 'every query of the dashboard is understood' "$(
    python3 - "$dashboard" "$prometheus" <<'PYTHON'
import json, sys, urllib.error, urllib.parse, urllib.request

panels = json.load(open(sys.argv[1]))["panels"]
queries = [target["expr"] for panel in panels for target in panel["targets"]]
for query in queries:
    expression = query.replace("$__rate_interval", "5s").replace("$job", "tidegate").replace("$instance", ".*")
    try:
        urllib.request.urlopen(sys.argv[2] + "/api/v1/query?" + urllib.parse.urlencode({"query": expression})).read()
    except urllib.error.HTTPError as error:
        print(query, error.read().decode())
PYTHON
)" ''

series=$(grep -cv '^#' "$scratch/openmetrics")
own=$(grep -cE '^tidegate_(site|upstream_up|upstream_address|certificate|client)_' "$scratch/openmetrics")
expect 'at most 100 series without labels of sites' "$((series - own <= 100))" 1
echo "$series series, $own of them with labels of sites, upstreams, clients and certificates"
stop "$pid"
echo "$passed checks passed, $failed failed"
exit $((failed > 0))
