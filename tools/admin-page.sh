#!/usr/bin/env bash
# Proves that the live page of the admin listener shows what its API says, and moves under load.
# Headless Chromium opens the page; clients of h2load and one that reads nothing are on the server.
# With a directory, the page's screenshots for docs/admin.md are written there.
#
#   cargo build --release && tools/admin-page.sh [DIRECTORY]
source "$(dirname "$0")/lib.sh"
need chromium curl h2load nghttp python3

www=$scratch/www
mkdir -p "$www"
head -c 3000000 /dev/urandom >"$www/large.bin"
echo small >"$www/small.txt"
start_tidegate --root "$www" --workers 2 --admin 127.0.0.1:0 --admin-write on --log warn
admin=$(sed -n 's|^ *\(http://[^ ]*\)/ *admin:.*|\1|p' "$log")
[[ -n $admin ]] || die "the banner names no admin listener"
PYTHONPATH=$root/tools timeout 60 python3 "$root/tools/admin_page.py" \
    "$admin" "$http" "$scratch/profile" "${1:-}" || exit 1
