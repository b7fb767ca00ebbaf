#!/bin/bash
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
# The real polkit decides: a user without rights sees the list and nothing else, until a rule says
# otherwise; what the owner may do, a stranger may not.
. "$(dirname "$0")/../lib.sh"

start_chvd
create vm 6.12 vmlinux "$(cmdline '' halt)"
as() { runuser -u "$1" -- "${@:2}"; }
as alice chvctl list | grep -q vm || fail "the list is not open"
for verb in start poweroff delete; do
    ! as alice chvctl $verb vm </dev/null || fail "alice may $verb root's VM"
done
! as alice chvctl create --name hers --kernel /guest/6.12/vmlinux </dev/null ||
    fail "alice may create a VM without being asked"
cat >/etc/polkit-1/rules.d/10-alice.rules <<'END'
polkit.addRule(function(action, subject) {
    if (action.id.indexOf("org.cloudhypervisor.") == 0 && subject.user == "alice")
        return polkit.Result.YES;
});
END
await 20 "the rule for alice" as alice chvctl create --name hers --kernel /guest/6.12/vmlinux
[ "$(property hers Owner)" = "$(id -u alice)" ] || fail "owner $(property hers Owner)"
! as bob chvctl delete hers </dev/null || fail "bob may delete alice's VM"
rm /etc/polkit-1/rules.d/10-alice.rules
sleep 3
as alice chvctl delete hers || fail "the owner may not delete her own VM"
