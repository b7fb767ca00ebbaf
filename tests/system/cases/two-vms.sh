#!/bin/bash
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
# Two VMs run at once and end on their own; one's end does not touch the other.
. "$(dirname "$0")/../lib.sh"

start_chvd
create one 6.12 vmlinux "$(cmdline '' button)"
create two 6.1 bzImage "$(cmdline 'while :; do date +tick=%s; sleep 1; done' halt)"
chvctl start one
chvctl start two
await_text 90 one 'waiting for the power button'
await_text 90 two 'tick='
chvctl list
[ "$(chvctl list --json | python3 -c '
import json, sys
text = json.dumps(json.load(sys.stdin))
print(text.count("\"running\""))')" = 2 ] || fail "not two running VMs in the list"
chvctl shutdown one
await_state 30 one shutdown
ticks=$(grep -a -c tick= "$work/two.log")
await_text 20 two tick= $((ticks + 3))
has_state two running || fail "the other VM is $(property two State)"
