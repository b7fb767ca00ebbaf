#!/bin/bash
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
# A guest gets its address from passt, fetches from the host's network, and is reached through a
# forwarded port; passt runs as a unit of its own without rights, is started again when it dies, and
# ends with the machine.
. "$(dirname "$0")/../lib.sh"

passt_pid() { pgrep -x 'passt(\.avx2)?'; }

ip link add d0 type dummy
ip address add 10.9.9.2/24 dev d0
ip address add 10.9.9.77/24 dev d0
ip link set d0 up
ip route add default via 10.9.9.1
dd if=/dev/urandom of=/tmp/data bs=64k count=16 2>/dev/null
sum=$(sha256sum </tmp/data | cut -d' ' -f1)
socat -u OPEN:/tmp/data TCP-LISTEN:7001,reuseaddr,fork &

start_chvd
create vm 6.12 vmlinux "$(cmdline '
    ip link set lo up; ip link set eth0 up
    printf "%s\n" "#!/bin/sh" "[ \"\$1\" = bound ] || exit 0" "ip address add \$ip/24 dev eth0" \
        "ip route add default via \$router" > /s; chmod +x /s
    udhcpc -f -i eth0 -n -q -s /s && echo dhcp is fine
    nc 10.9.9.77 7001 > /tmp/d; sha256sum < /tmp/d
    (while :; do nc -l -p 7002 < /tmp/d; done) & echo listening
    until [ "$again" = "$(sha256sum < /tmp/d)" ]; do
        sleep 1; again=$(nc 10.9.9.77 7003 2>/dev/null | sha256sum)
    done
    echo fetched again; sleep 1000' poweroff)" \
    --net 'backend=passt,forward=[tcp:7002]'
chvctl start vm
await_text 60 vm 'dhcp is fine'
await_text 60 vm "$sum"
await_text 20 vm '^listening'

# The client speaks first: before that the guest does not hear from this passt that the connection
# stands. It does not close its half, because that ends busybox's nc.
fetch() {
    (exec 3<>/dev/tcp/10.9.9.77/7002 && echo hello >&3 && timeout 10 head -c 1048576 <&3 >/tmp/back) 2>/dev/null
    cmp -s /tmp/data /tmp/back
}
await 30 'data through the forwarded port' fetch

pid=$(passt_pid)
[ "$(stat -c %u "/proc/$pid")" != 0 ] || fail "passt runs as root"
grep -q '^CapEff:\s*0*$' "/proc/$pid/status" || fail "passt has capabilities"
kill -9 "$pid"
socat -u OPEN:/tmp/data TCP-LISTEN:7003,reuseaddr,fork &
await_text 60 vm '^fetched again'
[ "$(passt_pid)" != "$pid" ] || fail "passt was not started again"

chvctl poweroff vm
await_state 20 vm shutdown
await 20 'the end of passt' bash -c '! pgrep -x "passt(\.avx2)?"'
