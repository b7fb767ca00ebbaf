/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Model-specific registers of a vCPU: their values at power-on, and saving and restoring all that
 * KVM lists as state, with the MTRRs that its list leaves out. KVM stops at the first register it
 * cannot read or write; reading goes on after it, and writing minds it only where the value was not
 * zero. The TSC goes by itself, with the time of day at which it was read, and before the others: the
 * TSC-deadline among them counts from it.
 */

#include "hypervisor/kvm/kvm.h"

#include <errno.h>

#include "hypervisor/arch/x86_64/regs.h"
#include "hypervisor/error.h"

#define TSC_FAR (1ull << 44) /* more than a second of any TSC */

struct msrs {
        struct kvm_msrs head;
        struct kvm_msr_entry entries[];
};

static struct msrs *msrs_new(size_t n) {
        return g_malloc0(sizeof(struct msrs) + n * sizeof(struct kvm_msr_entry));
}

/* Reads or writes all entries; skip is told of each that fails. */
static bool
transfer(struct hvk_vcpu *v,
         unsigned long request,
         struct msrs *m,
         bool (*skip)(const struct kvm_msr_entry *e, GError **error),
         size_t *ret_done,
         GError **error) {
        size_t n = m->head.nmsrs, at = 0, kept = 0;

        while (at < n) {
                g_autofree struct msrs *part = msrs_new(n - at);
                int r;

                part->head.nmsrs = (uint32_t) (n - at);
                memcpy(part->entries, m->entries + at, (n - at) * sizeof(m->entries[0]));
                r = hvk_ioctl(v->fd, request, part);
                if (r < 0)
                        return hv_error_errno(error, -r, "kvm: registers of vCPU %u", v->index);
                memmove(m->entries + kept, part->entries, (size_t) r * sizeof(m->entries[0]));
                kept += (size_t) r;
                at += (size_t) r;
                if (at < n && !skip(&part->entries[r], error))
                        return false;
                at += at < n;
        }
        if (ret_done)
                *ret_done = kept;
        return true;
}

static bool skip_any(const struct kvm_msr_entry *e, GError **error) {
        return true;
}

static bool skip_zero(const struct kvm_msr_entry *e, GError **error) {
        if (e->data == 0)
                return true;
        g_set_error(error, HV_ERROR, HV_ERROR_STATE,
                    "vCPU state: this host refuses model-specific register %#x = %#llx", e->index,
                    (unsigned long long) e->data);
        return false;
}

GVariant *hvk_msrs_save(struct hvk_vcpu *v, GError **error) {
        const struct kvm_msr_list *list = v->vm->hvk->state_msrs;
        g_autofree struct msrs *m = msrs_new(list->nmsrs + x86_n_mtrr_msrs + 1);
        GVariantBuilder b;
        size_t n = 0;

        for (uint32_t i = 0; i < list->nmsrs; i++)
                if (list->indices[i] != X86_MSR_TSC && list->indices[i] != X86_MSR_TSC_DEADLINE)
                        m->entries[n++].index = list->indices[i];
        for (size_t i = 0; i < x86_n_mtrr_msrs; i++)
                m->entries[n++].index = x86_mtrr_msrs[i];
        m->entries[n++].index = X86_MSR_TSC_DEADLINE;
        m->head.nmsrs = (uint32_t) n;
        if (!transfer(v, KVM_GET_MSRS, m, skip_any, &n, error))
                return NULL;

        g_variant_builder_init(&b, G_VARIANT_TYPE("a(ut)"));
        for (size_t i = 0; i < n; i++)
                g_variant_builder_add(&b, "(ut)", m->entries[i].index, m->entries[i].data);
        return g_variant_builder_end(&b);
}

static bool
one_msr(struct hvk_vcpu *v,
        unsigned long request,
        uint32_t index,
        uint64_t *value,
        GError **error) {
        g_autofree struct msrs *m = msrs_new(1);
        int r;

        m->head.nmsrs = 1;
        m->entries[0] = (struct kvm_msr_entry){ .index = index, .data = *value };
        r = hvk_ioctl(v->fd, request, m);
        if (r != 1)
                return hv_error_errno(
                                error, r < 0 ? -r : EINVAL,
                                "kvm: model-specific register %#x of vCPU %u", index, v->index);
        *value = m->entries[0].data;
        return true;
}

bool hvk_tsc_save(struct hvk_vcpu *v, uint64_t *ret_tsc, uint64_t *ret_realtime, GError **error) {
        uint64_t before = hvk_realtime_ns(), tsc = 0;

        if (!one_msr(v, KVM_GET_MSRS, X86_MSR_TSC, &tsc, error))
                return false;
        *ret_tsc = tsc;
        *ret_realtime = before + (hvk_realtime_ns() - before) / 2;
        return true;
}

/* KVM takes a TSC written within a second of the one it expects for an attempt to synchronise vCPUs, and
 * keeps its own (before Linux 6.8 even for the first write). That is right for all vCPUs but the first, whose
 * exact value the others are to follow: a value far away makes KVM forget what it expected. */
bool hvk_tsc_restore(
                struct hvk_vcpu *v, uint64_t tsc, uint64_t realtime, uint32_t khz, GError **error) {
        uint64_t far = tsc + TSC_FAR, now;

        if (v->index == 0 && !one_msr(v, KVM_SET_MSRS, X86_MSR_TSC, &far, error))
                return false;
        /* a host clock that runs behind the other's must not turn the guest's back */
        now = hvk_realtime_ns();
        if (now > realtime)
                tsc += (uint64_t) ((__uint128_t) (now - realtime) * khz / 1000000u);
        return one_msr(v, KVM_SET_MSRS, X86_MSR_TSC, &tsc, error);
}

bool hvk_msrs_restore(struct hvk_vcpu *v, GVariant *msrs, GError **error) {
        size_t n = g_variant_n_children(msrs);
        g_autofree struct msrs *m = NULL;
        GVariantIter iter;
        uint32_t index;
        uint64_t value;

        /* far more than any KVM lists: a damaged state must not make us allocate at will */
        if (n > 4096) {
                g_set_error_literal(
                                error, HV_ERROR, HV_ERROR_STATE,
                                "vCPU state: too many model-specific registers");
                return false;
        }
        m = msrs_new(n);
        g_variant_iter_init(&iter, msrs);
        while (g_variant_iter_next(&iter, "(ut)", &index, &value))
                m->entries[m->head.nmsrs++] =
                                (struct kvm_msr_entry){ .index = index, .data = value };
        return transfer(v, KVM_SET_MSRS, m, skip_zero, /* ret_done= */ NULL, error);
}

/* Registers that describe the host's CPU (microcode revision, speculation controls) are handed on. */
static bool propagate_features(struct hvk_vcpu *v, GError **error) {
        const struct hvk *h = v->vm->hvk;
        g_autofree struct msrs *m = msrs_new(h->feature_msrs->nmsrs);
        struct hvk_vcpu host = { .fd = h->fd, .index = v->index };
        size_t n = 0;

        for (uint32_t i = 0; i < h->feature_msrs->nmsrs; i++) {
                uint32_t index = h->feature_msrs->indices[i];

                /* what VMX can do follows from the CPUID that the vCPU has, nested guests or not */
                if (index < 0x480 || index > 0x491)
                        m->entries[n++].index = index;
        }
        m->head.nmsrs = (uint32_t) n;
        if (!transfer(&host, KVM_GET_MSRS, m, skip_any, &n, error))
                return false;
        m->head.nmsrs = (uint32_t) n;
        /* a register that the vCPU's CPUID does not show cannot be set, and need not */
        return transfer(v, KVM_SET_MSRS, m, skip_any, /* ret_done= */ NULL, error);
}

bool hvk_msrs_boot(struct hvk_vcpu *v, GError **error) {
        g_autofree struct msrs *m = msrs_new(x86_n_boot_msrs);

        if (!propagate_features(v, error))
                return false;
        m->head.nmsrs = (uint32_t) x86_n_boot_msrs;
        for (size_t i = 0; i < x86_n_boot_msrs; i++) {
                m->entries[i].index = x86_boot_msrs[i].index;
                m->entries[i].data = x86_boot_msrs[i].value;
        }
        return transfer(v, KVM_SET_MSRS, m, skip_any, /* ret_done= */ NULL, error);
}
