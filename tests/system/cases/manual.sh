#!/bin/bash
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
# Every busctl and gdbus example of the manual runs as it is printed.
. "$(dirname "$0")/../lib.sh"

# The commands of the literal blocks of a page, each ended by a NUL; a command goes on while its
# quotes are open or its line ends in a backslash.
examples() {
    python3 - "$1" <<'END'
import re
import subprocess
import sys

command, literal = "", False
for line in open(sys.argv[1]):
    if literal and re.match(r"\S", line):
        literal = False
    if literal and (command or line.strip()):
        command += line[4:]
        done = subprocess.run(["bash", "-n", "-c", command], capture_output=True).returncode == 0
        if done and not command.rstrip().endswith("\\"):
            if command.strip():
                sys.stdout.write(command + "\0")
            command = ""
    literal = literal or line.rstrip().endswith("::")
sys.exit("an example does not end: " + command if command.strip() else 0)
END
}

cp /guest/6.12/bzImage /boot/vmlinuz
mkdir -p /srv
truncate -s 64M /srv/web.img
start_chvd
n=0
while IFS= read -r -d '' example; do
    n=$((n + 1))
    echo "$example"
    case $example in
    *CreateVM*)
        chvctl delete web 2>/dev/null || true
        bash -euc "$example"
        has_state web created || fail "state $(property web State)"
        ;;
    *' Delete '*)
        chvctl poweroff web
        await_state 30 web shutdown
        bash -euc "$example"
        ! property web State 2>/dev/null || fail "the VM is still there"
        ;;
    *' Start '*)
        bash -euc "$example"
        await_state 60 web running
        ;;
    *'gdbus monitor'*)
        timeout 2 bash -uc "$example" || [ $? = 124 ] || fail "it does not watch"
        ;;
    *) bash -euc "$example" ;;
    esac
done < <(examples docs/dbus-examples.rst)
[ $n -ge 8 ] || fail "only $n examples found"
grep -q -F dbus-examples.rst docs/meson.build || fail "the manual does not have them"
