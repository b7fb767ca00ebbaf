#!/bin/bash
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
# A worker killed with SIGKILL is that VM's failure and nobody else's: chvd and the other VM go on,
# and the dead one can be started again.
. "$(dirname "$0")/../lib.sh"

start_chvd
create victim 6.12 vmlinux "$(cmdline '' halt)"
create other 6.12 vmlinux "$(cmdline 'while :; do date +tick=%s; sleep 1; done' halt)"
chvctl start victim
chvctl start other
await_text 90 victim 'chv-init: halt'
await_text 90 other 'tick='
daemon=$(busctl call org.freedesktop.DBus / org.freedesktop.DBus GetConnectionUnixProcessID s $manager)
kill -KILL "$(property victim WorkerPID)"
await_state 20 victim failed
property victim StateReason
[ "$(busctl call org.freedesktop.DBus / org.freedesktop.DBus GetConnectionUnixProcessID s $manager)" \
    = "$daemon" ] || fail "chvd is another process now"
has_state other running || fail "the other VM is $(property other State)"
ticks=$(grep -a -c tick= "$work/other.log")
await_text 20 other tick= $((ticks + 3))
chvctl start victim
await_text 90 victim 'chv-init: up' 2
has_state victim running || fail "state $(property victim State)"
