/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * CPUID between KVM's structures and ours, and the permission that AMX needs of the kernel before
 * KVM admits to having it.
 */

#include "hypervisor/kvm/kvm.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hypervisor/error.h"

#define ARCH_GET_XCOMP_GUEST_PERM 0x1024
#define ARCH_REQ_XCOMP_GUEST_PERM 0x1025
#define XFEATURE_XTILEDATA 18

struct x86_cpuid *hvk_supported_cpuid(int kvm_fd, GError **error) {
        g_autofree struct kvm_cpuid2 *k = NULL;
        g_autofree struct x86_cpuid *c = g_new0(struct x86_cpuid, 1);
        int r;

        k = g_malloc0(sizeof(*k) + X86_CPUID_MAX * sizeof(k->entries[0]));
        k->nent = X86_CPUID_MAX;
        r = hvk_ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, k);
        if (r < 0) {
                hv_error_errno(error, -r, "kvm: asking for the supported CPUID");
                return NULL;
        }

        for (uint32_t i = 0; i < MIN(k->nent, X86_CPUID_MAX); i++) {
                const struct kvm_cpuid_entry2 *e = &k->entries[i];

                c->leaf[c->n++] = (struct x86_cpuid_leaf){
                        .function = e->function,
                        .index = e->index,
                        .indexed = (e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) != 0,
                        .eax = e->eax,
                        .ebx = e->ebx,
                        .ecx = e->ecx,
                        .edx = e->edx,
                };
        }
        return g_steal_pointer(&c);
}

bool hvk_set_cpuid(int vcpu_fd, const struct x86_cpuid *c, GError **error) {
        g_autofree struct kvm_cpuid2 *k = NULL;
        int r;

        k = g_malloc0(sizeof(*k) + c->n * sizeof(k->entries[0]));
        k->nent = (uint32_t) c->n;
        for (size_t i = 0; i < c->n; i++) {
                const struct x86_cpuid_leaf *l = &c->leaf[i];

                k->entries[i] = (struct kvm_cpuid_entry2){
                        .function = l->function,
                        .index = l->index,
                        .flags = l->indexed ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
                        .eax = l->eax,
                        .ebx = l->ebx,
                        .ecx = l->ecx,
                        .edx = l->edx,
                };
        }
        r = hvk_ioctl(vcpu_fd, KVM_SET_CPUID2, k);
        if (r < 0)
                return hv_error_errno(error, -r, "cpus: setting the CPUID");
        return true;
}

bool hvk_allow_amx(GError **error) {
        uint64_t have = 0;

        if (syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_GUEST_PERM, XFEATURE_XTILEDATA) == 0 &&
            syscall(SYS_arch_prctl, ARCH_GET_XCOMP_GUEST_PERM, &have) == 0 &&
            (have & 1ull << XFEATURE_XTILEDATA))
                return true;
        g_set_error_literal(
                        error, HV_ERROR, HV_ERROR_UNSUPPORTED,
                        "cpus.features.amx: the host has no AMX for guests");
        return false;
}
