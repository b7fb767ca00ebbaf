/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A parked vCPU's state as a dictionary: KVM's own structures as bytes (they are its ABI), the
 * registers of the CPU model as pairs. Reading one part can settle what is pending in another
 * (INIT and SIPI change the registers, a pending exception sets CR2), and writing one part can reset
 * another: the two orders below are not to be changed lightly. The version of the format is in the
 * envelope that vcpu.c puts around.
 */

#include "hypervisor/kvm/kvm.h"

#include <errno.h>
#include <string.h>

#include "hypervisor/arch/x86_64/regs.h"
#include "hypervisor/error.h"

enum part {
        PART_MP_STATE,
        PART_EVENTS,
        PART_REGS,
        PART_SREGS,
        PART_XCRS,
        PART_LAPIC,
        PART_DEBUGREGS,
        PART_MAX,
};

static const struct {
        const char *name;
        size_t size;
        unsigned long get, set;
} parts[PART_MAX] = {
        [PART_MP_STATE] = { "mp-state", sizeof(struct kvm_mp_state), KVM_GET_MP_STATE,
                            KVM_SET_MP_STATE },
        [PART_EVENTS] = { "events", sizeof(struct kvm_vcpu_events), KVM_GET_VCPU_EVENTS,
                          KVM_SET_VCPU_EVENTS },
        [PART_REGS] = { "regs", sizeof(struct kvm_regs), KVM_GET_REGS, KVM_SET_REGS },
        [PART_SREGS] = { "sregs", sizeof(struct kvm_sregs), KVM_GET_SREGS, KVM_SET_SREGS },
        [PART_XCRS] = { "xcrs", sizeof(struct kvm_xcrs), KVM_GET_XCRS, KVM_SET_XCRS },
        [PART_LAPIC] = { "lapic", sizeof(struct kvm_lapic_state), KVM_GET_LAPIC, KVM_SET_LAPIC },
        [PART_DEBUGREGS] = { "debugregs", sizeof(struct kvm_debugregs), KVM_GET_DEBUGREGS,
                             KVM_SET_DEBUGREGS },
};

union part_data {
        struct kvm_mp_state mp_state;
        struct kvm_vcpu_events events;
        struct kvm_regs regs;
        struct kvm_sregs sregs;
        struct kvm_xcrs xcrs;
        struct kvm_lapic_state lapic;
        struct kvm_debugregs debugregs;
};

static GVariant *bytes(const void *data, size_t size) {
        return g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, data, size, 1);
}

static bool
failed(const struct hvk_vcpu *v, int r, const char *what, const char *name, GError **error) {
        return hv_error_errno(error, -r, "kvm: %s %s of vCPU %u", what, name, v->index);
}

static bool save_parts(struct hvk_vcpu *v, GVariantBuilder *b, GError **error) {
        for (enum part p = 0; p < PART_MAX; p++) {
                union part_data data;
                int r;

                memset(&data, 0, sizeof(data));
                r = hvk_ioctl(v->fd, parts[p].get, &data);
                if (r < 0)
                        return failed(v, r, "reading", parts[p].name, error);
                g_variant_builder_add(b, "{sv}", parts[p].name, bytes(&data, parts[p].size));
        }
        return true;
}

static bool save_xsave(struct hvk_vcpu *v, GVariantBuilder *b, GError **error) {
        size_t size = v->vm->xsave_size;
        g_autofree void *data = g_malloc0(size);
        int r;

        r = hvk_ioctl(v->fd, size > sizeof(struct kvm_xsave) ? KVM_GET_XSAVE2 : KVM_GET_XSAVE,
                      data);
        if (r < 0)
                return failed(v, r, "reading", "xsave", error);
        g_variant_builder_add(b, "{sv}", "xsave", bytes(data, size));
        return true;
}

static bool save_nested(struct hvk_vcpu *v, GVariantBuilder *b, GError **error) {
        size_t size = v->vm->nested_size;
        g_autofree struct kvm_nested_state *data = NULL;
        int r;

        if (size < sizeof(*data))
                return true;
        data = g_malloc0(size);
        data->size = (uint32_t) size;
        r = hvk_ioctl(v->fd, KVM_GET_NESTED_STATE, data);
        if (r < 0)
                return failed(v, r, "reading", "nested", error);
        g_variant_builder_add(b, "{sv}", "nested", bytes(data, MIN(data->size, size)));
        return true;
}

GVariant *hvk_vcpu_save(struct hv_vcpu *vcpu, GError **error) {
        struct hvk_vcpu *v = hvk_vcpu_of(vcpu);
        g_auto(GVariantBuilder) b = G_VARIANT_BUILDER_INIT(G_VARIANT_TYPE_VARDICT);
        uint64_t tsc, realtime;
        GVariant *msrs;
        int khz;

        if (!save_parts(v, &b, error) || !save_xsave(v, &b, error) || !save_nested(v, &b, error))
                return NULL;
        msrs = hvk_msrs_save(v, error);
        if (!msrs)
                return NULL;
        g_variant_builder_add(&b, "{sv}", "msrs", msrs);
        if (!hvk_tsc_save(v, &tsc, &realtime, error))
                return NULL;
        g_variant_builder_add(&b, "{sv}", "tsc", g_variant_new_uint64(tsc));
        g_variant_builder_add(&b, "{sv}", "realtime", g_variant_new_uint64(realtime));

        khz = hvk_ioctl(v->fd, KVM_GET_TSC_KHZ, NULL);
        if (khz < 0) {
                failed(v, khz, "reading", "tsc-khz", error);
                return NULL;
        }
        g_variant_builder_add(&b, "{sv}", "tsc-khz", g_variant_new_uint32((uint32_t) khz));
        return g_variant_builder_end(&b);
}

static bool missing(const char *name, GError **error) {
        g_set_error(error, HV_ERROR, HV_ERROR_STATE,
                    "vCPU state: '%s' is missing or of the wrong size", name);
        return false;
}

/* The bytes of an entry, NULL unless their number is within limits. */
static const void *
look_up(GVariant *state, const char *name, size_t min, size_t max, size_t *ret, GVariant **hold) {
        const void *data;
        gsize n = 0;

        *hold = g_variant_lookup_value(state, name, G_VARIANT_TYPE_BYTESTRING);
        if (!*hold)
                return NULL;
        data = g_variant_get_fixed_array(*hold, &n, 1);
        if (n < min || n > max)
                return NULL;
        *ret = n;
        return data;
}

static bool restore_part(struct hvk_vcpu *v, GVariant *state, enum part p, GError **error) {
        g_autoptr(GVariant) hold = NULL;
        union part_data data; /* KVM wants it aligned and writable */
        const void *from;
        size_t n;
        int r;

        from = look_up(state, parts[p].name, parts[p].size, parts[p].size, &n, &hold);
        if (!from)
                return missing(parts[p].name, error);
        memcpy(&data, from, n);
        r = hvk_ioctl(v->fd, parts[p].set, &data);
        return r < 0 ? failed(v, r, "setting", parts[p].name, error) : true;
}

static bool restore_xsave(struct hvk_vcpu *v, GVariant *state, GError **error) {
        g_autoptr(GVariant) hold = NULL;
        g_autofree void *data = g_malloc0(v->vm->xsave_size);
        const void *from;
        size_t n;
        int r;

        from = look_up(state, "xsave", sizeof(struct kvm_xsave), v->vm->xsave_size, &n, &hold);
        if (!from)
                return missing("xsave", error);
        memcpy(data, from, n);
        r = hvk_ioctl(v->fd, KVM_SET_XSAVE, data);
        return r < 0 ? failed(v, r, "setting", "xsave", error) : true;
}

static bool restore_nested(struct hvk_vcpu *v, GVariant *state, GError **error) {
        g_autoptr(GVariant) hold = NULL;
        g_autofree struct kvm_nested_state *data = NULL;
        const void *from;
        size_t n;
        int r;

        if (!g_variant_lookup(state, "nested", "@ay", NULL))
                return true;
        from = look_up(state, "nested", sizeof(*data), 1 << 16, &n, &hold);
        if (!from)
                return missing("nested", error);
        data = g_memdup2(from, n);
        if (data->size != n)
                return missing("nested", error);
        r = hvk_ioctl(v->fd, KVM_SET_NESTED_STATE, data);
        return r < 0 ? failed(v, r, "setting", "nested", error) : true;
}

static bool restore_msrs(struct hvk_vcpu *v, GVariant *state, GError **error) {
        g_autoptr(GVariant) msrs = NULL;
        uint64_t tsc, realtime;
        uint32_t khz;
        int have;

        if (!g_variant_lookup(state, "tsc-khz", "u", &khz))
                return missing("tsc-khz", error);
        if (!g_variant_lookup(state, "tsc", "t", &tsc))
                return missing("tsc", error);
        if (!g_variant_lookup(state, "realtime", "t", &realtime))
                return missing("realtime", error);
        msrs = g_variant_lookup_value(state, "msrs", G_VARIANT_TYPE("a(ut)"));
        if (!msrs)
                return missing("msrs", error);

        /* A host whose TSC runs at another rate scales it, if it can. */
        have = hvk_ioctl(v->fd, KVM_GET_TSC_KHZ, NULL);
        if (have != (int) khz) {
                int r = hvk_ioctl_value(v->fd, KVM_SET_TSC_KHZ, khz);

                if (r < 0)
                        return failed(v, r, "setting", "tsc-khz", error);
        }
        return hvk_tsc_restore(v, tsc, realtime, khz, error) && hvk_msrs_restore(v, msrs, error);
}

static bool restore_all(struct hvk_vcpu *v, GVariant *state, GError **error) {
        static const enum part before[] = { PART_SREGS, PART_XCRS, PART_LAPIC };
        static const enum part after[] = { PART_EVENTS, PART_MP_STATE, PART_DEBUGREGS, PART_REGS };

        for (size_t i = 0; i < G_N_ELEMENTS(before); i++)
                if (!restore_part(v, state, before[i], error))
                        return false;
        if (!restore_xsave(v, state, error) || !restore_msrs(v, state, error))
                return false;
        for (size_t i = 0; i < G_N_ELEMENTS(after); i++)
                if (!restore_part(v, state, after[i], error))
                        return false;
        return restore_nested(v, state, error);
}

bool hvk_vcpu_restore(struct hv_vcpu *vcpu, GVariant *state, GError **error) {
        struct hvk_vcpu *v = hvk_vcpu_of(vcpu);

        if (!g_variant_is_of_type(state, G_VARIANT_TYPE_VARDICT))
                return missing("dictionary", error);
        return restore_all(v, state, error);
}
