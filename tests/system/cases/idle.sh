#!/bin/bash
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
# Limit: 400
# A service that nobody needs ends and is inactive, not failed; the bus and its socket start it again; a VM keeps it.
. "$(dirname "$0")/../lib.sh"

is_inactive() { [ "$(systemctl show -P ActiveState chvd)" = inactive ]; }
ended_well() {
    await 60 "the end of an idle chvd" is_inactive
    [ "$(systemctl show -P Result chvd)" = success ] || fail "result $(systemctl show -P Result chvd)"
    [ "$(systemctl is-active chvd.socket)" = active ] || fail "the socket has gone with it"
    ! systemctl -q is-failed chvd || fail "failed"
}

install_chvd
mkdir -p /etc/chvd/chvd.conf.d
printf '[Service]\nIdleExit=3\n' >/etc/chvd/chvd.conf.d/50-idle.conf
systemctl start chvd.socket
systemctl start chvd
ended_well

# The bus, then the socket, with the definition that was made before.
create vm 6.12 vmlinux "$(cmdline '' halt)"
chvctl autostart vm on
[ "$(systemctl is-active chvd)" = active ] || fail "not started by the bus"
ended_well
chvctl --socket /run/chvd/bus list | grep -q '^vm ' || fail "no VM on the socket"
[ "$(systemctl is-active chvd)" = active ] || fail "not started by the socket"
ended_well
[ "$(property vm State)" != running ] || fail "started with the service once more"

# A client of the socket keeps it, and so does a VM.
chvctl --socket /run/chvd/bus monitor --timeout 8 >"$work/monitor.log"
[ "$(systemctl show -P ActiveState chvd)" = active ] || fail "gone with a client on its socket"
chvctl start vm
sleep 8
[ "$(systemctl is-active chvd)" = active ] || fail "gone with a VM"
pid=$(systemctl show -P MainPID chvd)
# One that is killed finds it again, and stays for it too.
kill -9 "$pid"
await 30 "another chvd" has_state vm running
sleep 8
[ "$(systemctl is-active chvd)" = active ] || fail "gone with a VM that was found"
chvctl poweroff vm
has_state vm shutdown || fail "state $(property vm State)"
ended_well
has_state vm shutdown || fail "state $(property vm State)"

# Calls around the end, by which none is lost.
for i in $(seq 8); do
    sleep "$((RANDOM % 2 + 2)).$((RANDOM % 10))"
    for _ in 1 2 3 4 5 6; do
        chvctl list >/dev/null & calls+=($!)
        sleep 0.03
    done
    for call in "${calls[@]}"; do wait "$call" || fail "a call of round $i is lost"; done
    calls=()
done

# When a call came at the very end it says so by its status, and is started again at once: as by this one, which does so once.
[ "$(systemctl is-active chvd)" = inactive ] || ended_well
mkdir -p /run/systemd/system/chvd.service.d
cat >/run/systemd/system/chvd.service.d/50-late.conf <<'EOF'
[Service]
ExecStart=
ExecStart=/usr/bin/python3 -c 'import os, socket; s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"]); os.path.exists("/run/chvd/late") and os.execv("/usr/libexec/chvd", ["chvd", "--system"]); open("/run/chvd/late", "w"); os._exit(75)'
EOF
systemctl daemon-reload
systemctl start chvd
is_called() { [ "$(systemctl show -P NRestarts chvd)" = 1 ] && [ "$(systemctl is-active chvd)" = active ] && chvctl list >/dev/null; }
await 30 "the restart of one that ended too late" is_called
! systemctl -q is-failed chvd || fail "failed"
