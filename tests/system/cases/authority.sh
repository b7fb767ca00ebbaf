#!/bin/bash
# SPDX-FileCopyrightText: The chvd developers
# SPDX-License-Identifier: Apache-2.0
# With the real polkit: a user without rights sees the list and nothing else, a rule lets her create, what she creates
# is hers and not another's, and root may do everything.
. "$(dirname "$0")/../lib.sh"

as() { runuser -u "$1" -- "${@:2}" </dev/null; }

verbs="start shutdown poweroff reboot reset pause resume nmi delete counters console"

start_chvd
create vm 6.12 vmlinux "$(cmdline '' halt)"
chvctl start vm
as alice chvctl list | grep -q vm || fail "the list is not open"
for verb in $verbs; do
    status=0
    as alice chvctl "$verb" vm || status=$?
    [ $status = 4 ] || fail "alice's $verb of root's VM ends with $status"
done
! as alice chvctl create hers --kernel /guest/6.12/vmlinux || fail "alice may create a VM"
info=$(as alice chvctl info vm)
case $info in
*cmdline* | */guest/*) fail "alice reads root's configuration: $info" ;;
*Hidden:*polkit*) ;;
*) fail "alice is not told what is hidden: $info" ;;
esac
all=$(as alice busctl call $manager /org/cloudhypervisor org.freedesktop.DBus.ObjectManager GetManagedObjects)
case $all in
*/guest/* | *"$work"*) fail "the object tree tells of the configuration: $all" ;;
esac
has_state vm running || fail "state $(property vm State)"

as alice chvctl top --count 1 --no-legend | grep -q '^vm  *running  *1  *-  *-  *-  *-  *-  *-$' || fail "alice sees what root's VM does"
chvctl top --count 1 --no-legend | grep -q '^vm  *running  *1  *[0-9.]*  *[0-9.]*[KMG]  *[0-9]' || fail "root does not"

# Files are opened as her, who may not enter /guest.
mkdir -p /srv/guest
mount --bind /guest/6.12 /srv/guest
# An administrator's rule, as it is documented: it sees the details.
cat >/etc/polkit-1/rules.d/40-alice.rules <<'END'
polkit.addRule(function(action, subject) {
    if (subject.user == "alice" && action.lookup("verb") == "CreateVM" && action.lookup("vm") == "hers" &&
        action.id == "org.cloudhypervisor.vm-create")
        return polkit.Result.YES;
});
END
chmod 644 /etc/polkit-1/rules.d/40-alice.rules
creates() {
    as alice chvctl create hers --kernel /srv/guest/vmlinux --initramfs /srv/guest/initramfs \
        --cmdline "$(cmdline '' halt)"
}
await 20 "alice's rule" creates
! as alice chvctl create other --kernel /guest/6.12/vmlinux || fail "the rule is for one name"
[ "$(property hers Owner)" = "$(id -u alice)" ] || fail "hers is $(property hers Owner)'s"
as alice chvctl start hers
has_state hers running || fail "state $(property hers State)"
as alice chvctl info hers | grep -q /srv/guest/vmlinux || fail "alice does not see her configuration"
as alice chvctl counters hers
for verb in $verbs; do
    ! as bob chvctl "$verb" hers || fail "bob may $verb alice's VM"
done
! as bob chvctl info hers | grep /guest/ || fail "bob reads alice's configuration"
! as alice chvctl set-owner hers bob || fail "alice may give her VM away"
as alice chvctl poweroff hers
chvctl set-owner hers bob
! as alice chvctl start hers || fail "alice may start what was hers"
as bob chvctl start hers
chvctl pause hers
chvctl delete --force hers

# Without polkit: no for everybody but root and owners.
systemctl mask --now --runtime polkit
! as alice chvctl create hers --kernel /guest/6.12/vmlinux 2>"$work/nobody" || fail "polkit is not needed"
grep -q "polkit cannot be asked" "$work/nobody" || fail "$(cat "$work/nobody")"
chvctl poweroff vm
chvctl delete vm
