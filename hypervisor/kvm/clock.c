/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The machine's own state on KVM: the paravirtual clock. (The interrupt routes are the devices' and
 * the IOAPIC's to restore.) Guest time follows real time across a save: what passed meanwhile is
 * added to the clock and, by the vCPUs, to their TSCs, so that the two agree and the wall clock is
 * right. Saved state is (version, architecture, a{sv}).
 */

#include "hypervisor/kvm/kvm.h"

#include <errno.h>
#include <time.h>

#include "hypervisor/error.h"

#define STATE_VERSION 1
#define STATE_TYPE "(usa{sv})"
#define STATE_ARCH "x86_64"

uint64_t hvk_realtime_ns(void) {
        struct timespec t;

        (void) clock_gettime(CLOCK_REALTIME, &t);
        return (uint64_t) t.tv_sec * 1000000000u + (uint64_t) t.tv_nsec;
}

GVariant *hvk_vm_save(struct hv_vm *vm, GError **error) {
        struct kvm_clock_data clock = { 0 };
        GVariantBuilder b;
        uint64_t now;
        int r;

        r = hvk_ioctl(hvk_vm_of(vm)->fd, KVM_GET_CLOCK, &clock);
        if (r < 0) {
                hv_error_errno(error, -r, "kvm: reading the clock");
                return NULL;
        }
        now = clock.flags & KVM_CLOCK_REALTIME ? clock.realtime : hvk_realtime_ns();

        g_variant_builder_init(&b, G_VARIANT_TYPE_VARDICT);
        g_variant_builder_add(&b, "{sv}", "clock", g_variant_new_uint64(clock.clock));
        g_variant_builder_add(&b, "{sv}", "realtime", g_variant_new_uint64(now));
        return g_variant_new(STATE_TYPE, STATE_VERSION, STATE_ARCH, &b);
}

bool hvk_vm_restore(struct hv_vm *vm, GVariant *state, GError **error) {
        g_autoptr(GVariant) values = NULL;
        struct kvm_clock_data clock = { 0 };
        uint64_t saved, realtime, now;
        const char *arch;
        uint32_t version;
        int r;

        if (!g_variant_is_of_type(state, G_VARIANT_TYPE(STATE_TYPE))) {
                g_set_error_literal(
                                error, HV_ERROR, HV_ERROR_STATE, "machine state: not of our form");
                return false;
        }
        g_variant_get(state, "(u&s@a{sv})", &version, &arch, &values);
        if (version != STATE_VERSION || !g_str_equal(arch, STATE_ARCH)) {
                g_set_error(error, HV_ERROR, HV_ERROR_STATE,
                            "machine state: version %u for %s instead of %u for %s", version, arch,
                            STATE_VERSION, STATE_ARCH);
                return false;
        }
        if (!g_variant_lookup(values, "clock", "t", &saved) ||
            !g_variant_lookup(values, "realtime", "t", &realtime)) {
                g_set_error_literal(
                                error, HV_ERROR, HV_ERROR_STATE, "machine state: no clock in it");
                return false;
        }

        /* a host clock that runs behind the other's must not turn the guest's back */
        now = hvk_realtime_ns();
        clock.clock = now > realtime ? saved + (now - realtime) : saved;
        r = hvk_ioctl(hvk_vm_of(vm)->fd, KVM_SET_CLOCK, &clock);
        if (r < 0)
                return hv_error_errno(error, -r, "kvm: setting the clock");
        return true;
}
