#!/usr/bin/env bash
# Makes what is released, in target/package, and tries each part of it:
#
#   documents  man pages, completions for shells, and the licences of all that is linked in
#   units      the units of systemd, by systemd-analyze
#   deb        a Debian package: installed, started as its unit says, reloaded, removed
#   boot       the same package in a Debian of its own, with systemd
#   cargo      `cargo install`
#   static     a binary that needs no library of the system
#   image      the files of contrib/Containerfile, run by uid 65532 in a root directory of their own
#
#   cargo build --release && tools/package.sh    # all of it
#   tools/package.sh documents deb               # or some parts, after those that they need
#   tools/package.sh --check                     # all but what takes minutes: boot, static, image
#
# Every check is one line. The exit status is 0 if all held, 1 if one didn't, and 77 if none failed
# but something couldn't be tried here, which a line names. `deb` needs root and a Debian: it
# installs the package tidegate, unless there is one already, and removes it again.
source "$(dirname "$0")/lib.sh"
set +e

out=$root/target/package
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$root/Cargo.toml")
machine=$(uname -m)
left_out=0
export DEBIAN_FRONTEND=noninteractive

not_run() {
    left_out=$((left_out + 1))
    echo "NOT RUN: $*"
}

documents() {
    local page shell
    [[ -x $tidegate ]] || die "$tidegate doesn't exist; build it with: cargo build --release"
    mkdir -p "$out/man" "$out/completions" "$out/units"
    "$tidegate" man >"$out/man/tidegate.1"
    for page in get check trace replay man completions; do "$tidegate" man "$page" >"$out/man/tidegate-$page.1"; done
    for page in "$out"/man/*.1; do
        expect "${page##*/} is a page without warnings" "$(warnings "$page")" ''
    done
    "$tidegate" completions bash >"$out/completions/tidegate.bash"
    "$tidegate" completions zsh >"$out/completions/_tidegate"
    "$tidegate" completions fish >"$out/completions/tidegate.fish"
    for shell in bash:tidegate.bash zsh:_tidegate fish:tidegate.fish; do
        command -v "${shell%:*}" >/dev/null || continue # no complaint: only bash is everywhere
        expect "${shell#*:} has no error" "$("${shell%:*}" -n "$out/completions/${shell#*:}" 2>&1)" ''
    done
    expect 'bash completes a flag' "$(completed --lis)" '--listen --listen-h2c'
    "$root/tools/third-party.py" >"$out/THIRD-PARTY-LICENCES"
    expect 'every package that is linked in has its licence' $? 0
    # The socket isn't among the units that the package starts: few want it.
    cp "$root/contrib/systemd/tidegate.service" "$out/units/"
}

# warnings PAGE: prints what is wrong with a man page.
warnings() {
    if command -v man >/dev/null; then
        LC_ALL=C.UTF-8 MANROFFSEQ='' man --warnings -l "$1" 2>&1 >/dev/null
    else
        not_run "${1##*/} isn't checked: there is no man" >&2
    fi
}

# completed WORD: prints the words that bash completes WORD to as an argument of tidegate.
completed() {
    bash -c 'source "$1" && COMP_WORDS=(tidegate "$2") COMP_CWORD=1 && _tidegate tidegate "$2" tidegate && echo "${COMPREPLY[@]}"' \
        - "$out/completions/tidegate.bash" "$1" 2>/dev/null
}

units() {
    local unit
    command -v systemd-analyze >/dev/null || { not_run 'the units: there is no systemd-analyze'; return; }
    for unit in "$root"/contrib/systemd/tidegate.{service,socket}; do
        [[ -e $unit ]] || continue
        sed "s|/usr/bin/tidegate|$tidegate|" "$unit" >"$scratch/${unit##*/}"
    done
    expect 'the units are right' "$(systemd-analyze verify --man=no "$scratch"/tidegate.{service,socket} 2>&1 | grep tidegate)" ''
    systemd-analyze security --offline=true --threshold=20 --no-pager "$scratch/tidegate.service" >"$scratch/security" 2>&1
    expect 'the exposure of the service is 2.0 at most' $? 0
    grep -o 'Overall exposure.*: [0-9.]*' "$scratch/security"
}

deb() {
    local tool
    for tool in cargo-deb dpkg-deb; do
        command -v "$tool" >/dev/null || { not_run "the Debian package: there is no $tool"; return; }
    done
    rm -f "$out"/tidegate_*.deb
    (cd "$root" && cargo deb --quiet --no-build --strip --locked -p tidegate --output "$out/")
    expect 'cargo deb' $? 0
    deb=$(echo "$out"/tidegate_*.deb)
    [[ -e $deb ]] || return
    if [[ $EUID != 0 ]] || ! command -v apt-get >/dev/null; then
        not_run 'the Debian package is made, not installed: that needs root and apt-get'
    elif dpkg -s tidegate >/dev/null 2>&1; then
        not_run 'the Debian package is made, not installed: tidegate is installed already'
    else
        trap 'installed_no_longer; finish' EXIT
        deb_installed
    fi
}

installed_no_longer() {
    local status=$?
    dpkg -s tidegate >/dev/null 2>&1 && dpkg --purge tidegate >/dev/null 2>&1
    return "$status"
}

deb_installed() {
    local unit=/usr/lib/systemd/system/tidegate.service config=/etc/tidegate/tidegate.toml start privileges had_user
    had_user=$(getent passwd tidegate)
    apt-get install -qy --no-install-recommends "$deb" >"$scratch/apt" 2>&1
    expect 'the package is installed' $? 0
    expect 'its user owns nothing' "$(getent passwd tidegate | cut -d: -f6,7)" /nonexistent:/usr/sbin/nologin
    expect 'the program is that which was built' "$(tidegate --version)" "$("$tidegate" --version)"
    expect 'the configuration is right' "$(tidegate check --config "$config" 2>&1 >/dev/null)" ''
    expect 'man finds the page' "$(zcat -f /usr/share/man/man1/tidegate.1* | grep -c '^\.TH tidegate 1')" 1
    command -v systemctl >/dev/null && expect 'the service is enabled' "$(systemctl --root=/ is-enabled tidegate.service)" enabled
    [[ ! -d /run/systemd/system ]] || systemctl stop tidegate

    # As the unit starts it, but on a port that the kernel picks.
    sed -i 's/127\.0\.0\.1:8080/127.0.0.1:0/' "$config"
    read -ra start < <(sed -n 's/^ExecStart=//p' "$unit")
    privileges=(--reuid tidegate --regid tidegate --clear-groups --no-new-privs --bounding-set -all,+net_bind_service
        --inh-caps -all,+net_bind_service --ambient-caps -all,+net_bind_service)
    log=$scratch/service
    launch "$log" setpriv "${privileges[@]}" "${start[@]}"
    eventually 20 is_ready "$log" || cat "$log"
    http=$(grep -m1 -oE 'http://127\.0\.0\.1:[0-9]+' "$log")
    expect 'the service answers' "$(tidegate get "$http/status")" '{"status":"ok"}'
    expect 'the access log belongs to it' "$(stat -c '%U %a' /var/log/tidegate/access.log)" "tidegate $(printf %o $((0666 & ~$(umask))))"

    mv /var/log/tidegate/access.log /var/log/tidegate/access.log.1
    kill -HUP "$pid"
    eventually 20 test -e /var/log/tidegate/access.log
    expect 'the service reloads' $? 0
    expect 'and answers' "$(tidegate get "$http/status")" '{"status":"ok"}'

    apt-get install -qy --reinstall --no-install-recommends "$deb" >"$scratch/apt" 2>&1
    expect 'an upgrade' $? 0
    expect 'an upgrade leaves the configuration' "$(grep -c 127.0.0.1:0 "$config")" 1
    expect 'and the service' "$(tidegate get "$http/status")" '{"status":"ok"}'
    stop "$pid"
    expect 'the service stops' $? 0
    dpkg --remove tidegate >"$scratch/apt" 2>&1
    expect 'the package is removed' "$? $(ls /usr/bin/tidegate "$config" 2>/dev/null)" "0 $config"
    dpkg --purge tidegate >"$scratch/apt" 2>&1
    expect 'nothing is left of it' "$? $(ls -d /etc/tidegate /var/log/tidegate "$unit" 2>/dev/null)" '0 '
    [[ $had_user ]] || userdel tidegate 2>/dev/null
    [[ -d /run/systemd/system ]] || echo 'no systemd runs here: the service was started by its ExecStart'
}

is_ready() { grep -qs 'is ready' "$1" || exited "$pid"; }

cargo_install() {
    (cd "$root" && cargo install --quiet --path crates/server --locked --root "$out/cargo")
    expect 'cargo install' $? 0
    expect 'cargo install gives the program' "$("$out/cargo/bin/tidegate" --version)" "tidegate $version"
}

# boot: installs debootstrap and systemd-container first if they are missing.
boot() {
    local debian=$scratch/debian tool package=$out/tidegate_${version}-1_$(dpkg --print-architecture).deb
    for tool in debootstrap systemd-nspawn; do
        command -v "$tool" >/dev/null || { not_run "the package under systemd: there is no $tool"; return; }
    done
    [[ $EUID == 0 ]] || { not_run 'the package under systemd: that needs root'; return; }
    loaded debootstrap --variant=minbase --include=systemd-sysv,adduser stable "$debian" >"$scratch/debootstrap" 2>&1 ||
        { tail -n 5 "$scratch/debootstrap"; not_run 'the package under systemd: debootstrap failed'; return; }
    cp "$package" "$debian/root/tidegate.deb"
    cat >"$debian/root/try" <<'BASH'
#!/bin/bash
exec >/root/said 2>/root/log
config=/etc/tidegate/tidegate.toml
answers() { for _ in {1..100}; do [[ $(tidegate get "$1/status" 2>/dev/null) == *ok* ]] && echo yes && return; sleep 0.1; done; }
taken_over() { for _ in {1..100}; do [[ $main != "$(systemctl show -p MainPID --value tidegate)" ]] && echo 'by another process' && return; sleep 0.1; done; }
ended() { for _ in {1..100}; do systemctl is-failed --quiet tidegate && echo yes && return; sleep 0.1; done; }
dpkg -i /root/tidegate.deb >&2
echo "started: $(systemctl is-active tidegate) $(answers http://127.0.0.1:8080)"
main=$(systemctl show -p MainPID --value tidegate)
sed -i 's/127.0.0.1:8080/127.0.0.1:80/' "$config"
systemctl reload tidegate
echo "reloaded: $(answers http://127.0.0.1:80) $([[ $main == $(systemctl show -p MainPID --value tidegate) ]] && echo 'the same process')"
echo "user: $(stat -c %U "/proc/$main")"
echo "exposure: $(systemd-analyze security --no-pager tidegate | grep -o 'level.*: [0-9.]*' | grep -o '[0-9.]*$')" >&2
dpkg -i /root/tidegate.deb >&2
echo "upgraded: $(taken_over) $(answers http://127.0.0.1:80) $(systemctl is-active tidegate)"
echo 'nosuch = 1' >>"$config"
systemctl reload tidegate
echo "reloaded by mistake: $(answers http://127.0.0.1:80)"
systemctl restart tidegate
echo "restarted by mistake: $(ended) $(systemctl show -p ExecMainStatus --value tidegate)"
dpkg --purge tidegate >&2
echo "removed: $(ls -d /etc/tidegate /usr/bin/tidegate /var/log/tidegate 2>/dev/null)"
journalctl -u tidegate --no-pager >&2
systemctl poweroff
BASH
    printf '[Unit]\nAfter=multi-user.target\n[Service]\nType=idle\nExecStart=/bin/bash /root/try\n' >"$debian/etc/systemd/system/try.service"
    mkdir -p "$debian/etc/systemd/system/multi-user.target.wants"
    ln -s ../try.service "$debian/etc/systemd/system/multi-user.target.wants/"
    timeout 300 systemd-nspawn --quiet --directory "$debian" --register=no --keep-unit --private-network --boot >"$scratch/boot" 2>&1
    [[ -s $debian/root/said ]] || { tail -n 5 "$scratch/boot"; not_run 'the package under systemd: no systemd runs in a container here'; return; }
    said=$failed
    for tool in 'started: active yes' 'reloaded: yes the same process' 'user: tidegate' 'upgraded: by another process yes active' 'reloaded by mistake: yes' \
        'restarted by mistake: yes 2' 'removed: '; do
        expect "under systemd, ${tool%%:*}" "$(grep "^${tool%%:*}:" "$debian/root/said")" "$tool"
    done
    grep -h exposure "$debian/root/log"
    ((failed == said)) || cat "$debian/root/log"
}

# Of glibc, not of musl: docs/operations.md says why.
static() {
    local triple=$machine-unknown-linux-gnu
    (cd "$root" && RUSTFLAGS='-C target-feature=+crt-static' cargo build --release --locked --target "$triple")
    expect 'the static build' $? 0
    mkdir -p "$out/static"
    strip -o "$out/static/tidegate" "$target/$triple/release/tidegate"
    expect 'it needs no library' "$(readelf --program-headers --dynamic "$out/static/tidegate" | grep -cE 'INTERP|NEEDED')" 0
    expect 'it is position-independent' "$(readelf --file-header "$out/static/tidegate" | grep -c 'Type: *DYN')" 1
    ls -l "$out/static/tidegate"
}

image() {
    local image=$out/image url
    [[ -x $out/static/tidegate ]] || die 'tools/package.sh static has to come first'
    rm -rf "$image"
    mkdir -p "$image/etc/ssl/certs" "$image/srv" "$image/usr/share/doc/tidegate"
    cp "$out/static/tidegate" "$image/"
    cp "$root"/LICENSE-* "$out/THIRD-PARTY-LICENCES" "$image/usr/share/doc/tidegate/"
    cp /etc/ssl/certs/ca-certificates.crt "$image/etc/ssl/certs/" || not_run 'the image has no authorities: install ca-certificates'
    [[ $EUID == 0 ]] || { not_run 'the files of the image are made, not tried: that needs root'; return; }
    cp -r "$image" "$scratch/image"
    chmod 755 "$scratch" "$scratch/image"
    echo page >"$scratch/image/srv/index.html"
    echo '127.0.0.1 localhost' >"$scratch/image/etc/hosts" # as runtimes of containers add it
    log=$scratch/container
    within=(chroot --userspec=65532:65532 "$scratch/image")
    launch "$log" "${within[@]}" /tidegate --listen none --listen-h2c 127.0.0.1:0 --root /srv
    eventually 20 is_ready "$log"
    url=$(grep -m1 -oE 'http://127\.0\.0\.1:[0-9]+' "$log")
    expect 'the image serves its root' "$("${within[@]}" /tidegate get "$url/")" page
    expect 'it finds names' "$("${within[@]}" /tidegate get "${url/127.0.0.1/localhost}/")" page
    "${within[@]}" /tidegate get --discard --timeout 4s "$url/nosuch" >/dev/null 2>&1
    expect 'its health check holds for any answer' $? 0
    stop "$pid"
    expect 'it ends by SIGTERM' $? 0
    "${within[@]}" /tidegate get --discard --timeout 4s "$url/" >/dev/null 2>&1
    expect 'its health check fails without an answer' $? 1
}

parts=(documents units deb boot cargo static image)
case ${1:-} in
    --check) parts=(documents units deb cargo) ;;
    '') ;;
    *) parts=("$@") ;;
esac
mkdir -p "$out"
for part in "${parts[@]}"; do
    section "$part"
    case $part in
        documents | units | deb | boot | static | image) "$part" ;;
        cargo) cargo_install ;;
        *) die "there is no part $part" ;;
    esac
done
echo "package: $passed checks held, $failed did not, $left_out could not be tried"
((failed == 0)) || exit 1
((left_out == 0)) || exit 77
