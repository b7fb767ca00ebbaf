#!/bin/bash
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
# demo.sh [--shell]: a stock Debian kernel under chvd, from chvctl to power-off. Where this host's
# KVM can run such a kernel, on a private session bus here; else as the system service of the
# emulated machine, which has everything this script needs. CHV_STAGE is the staged installation.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
machine=$here/machine.py
shell=
[ "${1:-}" != --shell ] || shell=--shell

title() { printf '\n\033[1m── %s\033[0m\n' "$*"; }
show() {
    local word line=
    for word; do
        [[ $word != *' '* ]] || word="\"$word\""
        line+=" $word"
    done
    printf '\033[36m$%s\033[0m\n' "$line"
    "$@"
}

# The host's CPU flags tell whether KVM has hardware behind it: the device node may exist without.
host_can() {
    grep -q -w -E 'svm|vmx' /proc/cpuinfo && [ -w /dev/kvm ]
}

outside() {
    if host_can; then
        echo "This host's KVM runs stock kernels: the demo runs here, on a private session bus."
        local files
        mapfile -t files < <("$machine" kernel)
        export CHV_DEMO_KERNEL=${files[0]} CHV_DEMO_INITRAMFS=${files[1]} CHV_DEMO=session
        exec dbus-run-session -- "$0" $shell
    fi
    echo "This host's /dev/kvm cannot run stock kernels: the demo runs inside the emulated machine."
    "$machine" build
    export CHV_DEMO=system
    exec "$machine" exec ${shell:+-t} -- "$here/demo.sh" $shell
}

start_service() {
    if [ "$CHV_DEMO" = session ]; then
        client=(chvctl --user) bus=(busctl --user)
        export PATH=$CHV_STAGE/usr/bin:$PATH CHV_WORKER=$CHV_STAGE/usr/libexec/chv-vmm
        runtime=$(mktemp -d)
        "$CHV_STAGE/usr/libexec/chvd" --session --runtime-dir "$runtime" &
        trap 'kill -INT %1; wait; rm -r "$runtime"' EXIT
    else
        client=(chvctl) bus=(busctl)
        CHV_DEMO_KERNEL=/guest/6.12/bzImage CHV_DEMO_INITRAMFS=/guest/6.12/initramfs
        . "$here/lib.sh"
        start_chvd
    fi
    local tries=0
    until "${client[@]}" version >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ $tries -lt 50 ] || { echo "chvd does not answer" && exit 1; }
        sleep 0.2
    done
}

inside() {
    local disk
    title "chvd on the $CHV_DEMO bus"
    start_service
    show "${client[@]}" version
    disk=$(mktemp --suffix=.raw)
    truncate -s 64M "$disk"

    title "a virtual machine with a Debian kernel, an initramfs and a disk"
    show "${client[@]}" create --name demo --cpus boot=2 --memory size=512M \
        --kernel "$CHV_DEMO_KERNEL" --initramfs "$CHV_DEMO_INITRAMFS" \
        --cmdline "console=ttyS0 chv.run=shell" --disk path="$disk" --serial pty
    show "${client[@]}" start demo

    if [ -n "$shell" ]; then
        title "its console: Ctrl-] leaves"
        "${client[@]}" console demo || true
        "${client[@]}" poweroff demo || true
        return
    fi

    title "its boot (the emulated processor takes some seconds)"
    python3 "$here/expect.py" 120 "${client[@]}" console demo <<'END'
< chv-init: shell
< / #
END
    echo
    title "what the service says about it"
    show "${client[@]}" list
    show "${client[@]}" info demo
    show "${bus[@]}" tree org.cloudhypervisor.Manager

    title "a command in the guest, typed at its console; then it powers off"
    python3 "$here/expect.py" 60 "${client[@]}" console --no-replay demo <<'END'
< Ctrl-]
>
< #
> uname -a; nproc; echo hello >/dev/vda; head -c 5 /dev/vda; echo
< hello\n
< #
> poweroff -f
< is off
END
    echo
    title "and it is off"
    local tries=0
    until "${client[@]}" list | grep -q shutdown || [ $tries = 50 ]; do
        tries=$((tries + 1))
        sleep 0.2
    done
    show "${client[@]}" list
    show "${client[@]}" delete demo
}

if [ -n "${CHV_DEMO:-}" ]; then
    inside
else
    outside
fi
