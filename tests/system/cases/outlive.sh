#!/bin/bash
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
# A guest that writes to its disk and pings over a tap notices nothing of chvd being killed five times: no
# ping is lost, its counter has no gap, its process is the same. Its console is had again, and it ends when asked.
# Limit: 500
. "$(dirname "$0")/../lib.sh"

serve() {
    setsid /usr/libexec/chvd --system </dev/null >>"$work/chvd.log" 2>&1 &
    daemon=$!
    await 30 "the name of chvd" served_by "$daemon"
}

served_by() {
    [ "$(busctl call org.freedesktop.DBus / org.freedesktop.DBus GetConnectionUnixProcessID s $manager 2>/dev/null)" = "u $1" ]
}

# Lines "n=COUNT UPTIME": each follows the one before, in one boot of the guest.
check_counter() {
    awk -F'[= ]' '/^n=/ { if (last && ($2 != last + 1 || $3 < at)) { print "after " last ": " $0; bad = 1 }
        last = $2; at = $3 } END { exit bad || !last }' <(tr -d '\r' <"$work/vm.log" | sed '$d')
}

mount /scratch
truncate -s 16M /scratch/data.raw
ip tuntap add vmtap0 mode tap vnet_hdr
ip address add 192.168.77.1/24 dev vmtap0
ip link set vmtap0 up
install_chvd
systemctl mask --runtime --now chvd.service
serve
create vm 6.12 vmlinux "$(cmdline '
    ip link set eth0 up; ip address add 192.168.77.2/24 dev eth0
    i=0
    while :; do
        i=$((i + 1))
        echo "counted $i" | dd of=/dev/vda bs=512 seek=$((i % 1000)) conv=notrunc,fsync 2>/dev/null || echo LOST write
        ping -c 1 -W 10 192.168.77.1 >/dev/null || echo LOST ping
        echo "n=$i $(cut -d" " -f1 /proc/uptime)"; echo "console $i" > /dev/hvc0
        sleep 0.3
    done' halt)" --net tap=vmtap0,mac=52:54:00:77:00:02 --disk path=/scratch/data.raw --console null
chvctl start vm
await_text 120 vm '^n=' 3
pid=$(property vm WorkerPID) started=$(property vm StartedAt) devices=$(busctl tree $manager)
for kill in 1 2 3 4 5; do
    before=$(grep -a -c '^n=' "$work/vm.log")
    kill -KILL "$daemon"
    wait "$daemon" || true
    await_text 60 vm '^n=' $((before + 2))
    serve
    has_state vm running || fail "kill $kill: state $(property vm State): $(property vm StateReason)"
    [ "$(property vm WorkerPID)" = "$pid" ] || fail "kill $kill: another process"
    [ "$(property vm StartedAt)" = "$started" ] || fail "kill $kill: started at another time"
    [ "$(busctl tree $manager)" = "$devices" ] || fail "kill $kill: other objects"
    await_text 60 vm '^n=' $((before + 4))
done
expect 60 chvctl console vm console >"$work/console.log" <<'END' || fail "the console is not had again"
< console \d+
< console \d+
^ ]
END
! has_text vm LOST || fail "$(grep -a LOST "$work/vm.log" | head -n 3)"
check_counter || fail "the counter has a gap"
grep -a -q 'counted' /scratch/data.raw || fail "nothing was written"
kill -TERM "$daemon"
wait "$daemon"
[ -d "/proc/$pid" ] || fail "SIGTERM ended the VM"
serve
chvctl poweroff vm
await_state 30 vm shutdown
[ ! -d "/proc/$pid" ] || fail "the process is still there"
[ -z "$(ls /run/chvd/vm)" ] || fail "left behind: $(ls /run/chvd/vm)"
