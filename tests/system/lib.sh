# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Sourced by every case: chvd installed and started on the system bus of the emulated machine, and
# words for what tests do. Cases run as root with the checkout as current folder; the machine is
# thrown away after each, so nothing is cleaned up.
set -Eeuo pipefail

here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
stage=${CHV_STAGE:-$here/../../build/stage}
work=/var/lib/chv-test
manager=org.cloudhypervisor.Manager

fail() {
    echo "FAILED: $*"
    for f in "$work"/*.log; do
        [ -s "$f" ] && echo "--- $f" && tail -n 40 "$f"
    done
    journalctl -q --no-pager -u chvd -u 'chv-*' -u 'chv@*' -n 40 2>/dev/null || true
    exit 1
}
trap 'fail "line $LINENO of $0: $BASH_COMMAND"' ERR

skip() {
    echo "$*"
    exit 77
}

install_chvd() {
    [ -d "$stage/usr" ] || fail "nothing staged for installation: run ./dev test system"
    cp -r "$stage"/. /
    mkdir -p "$work"
    systemd-sysusers 2>/dev/null || true
    systemd-tmpfiles --create 2>/dev/null || true
    systemctl daemon-reload
    busctl call org.freedesktop.DBus / org.freedesktop.DBus ReloadConfig
}

start_chvd() {
    install_chvd
    systemctl start chvd
}

# cmdline SCRIPT END [WORD...]: a kernel command line that makes the initramfs run a script.
cmdline() {
    local script=$1 end=$2
    shift 2
    echo "console=ttyS0 loglevel=4 chv.run=$end${script:+ chv.sh=$(base64 -w0 <<<"$script")} $*"
}

# create NAME KERNEL IMAGE CMDLINE [OPTION...]: a VM with the initramfs, its serial port in
# $work/NAME.log.
create() {
    local name=$1 kernel=$2 image=$3 line=$4
    shift 4
    chvctl create --name "$name" --kernel "/guest/$kernel/$image" \
        --initramfs "/guest/$kernel/initramfs" --cmdline "$line" \
        --serial file="$work/$name.log" "$@"
}

property() {
    busctl get-property $manager "/org/cloudhypervisor/vm/$1" org.cloudhypervisor.VM "$2" |
        cut -d' ' -f2- | tr -d '"'
}

# await SECONDS WHAT COMMAND...: until the command succeeds.
await() {
    local end=$((SECONDS + 2 * $1)) what=$2 # twice, for a machine that is busy with something else
    shift 2
    until "$@"; do
        [ $SECONDS -lt $end ] || fail "not in time: $what"
        sleep 0.2
    done
}

await_text() { # SECONDS NAME TEXT [COUNT]
    await "$1" "\"$3\" on the serial port of $2" has_text "$2" "$3" "${4:-1}"
}

has_text() {
    [ "$(grep -a -c -e "$2" "$work/$1.log" 2>/dev/null)" -ge "${3:-1}" ]
}

await_state() { # SECONDS NAME STATE
    await "$1" "state $3 of $2" has_state "$2" "$3"
}

has_state() { [ "$(property "$1" State)" = "$2" ]; }

expect() { python3 "$here/expect.py" "$@"; }
