/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * One machine on KVM: its descriptor, the split interrupt controller (LAPICs in the kernel, IOAPIC
 * ours), 32-bit APIC ids, the memory slots of its RAM and its doorbells. KVM ties a machine to the
 * process that made it, and so it lives and dies with the worker.
 */

#include "hypervisor/kvm/kvm.h"

#include <errno.h>
#include <unistd.h>

#include "hypervisor/arch/x86_64/layout.h"
#include "hypervisor/error.h"

static void hvk_vm_free(struct hv_vm *vm) {
        struct hvk_vm *v = hvk_vm_of(vm);

        hvk_irq_free(v);
        if (v->fd >= 0)
                (void) close(v->fd);
        hvk_slots_free(v);
        (void) pthread_mutex_destroy(&v->slot_lock);
        g_free(v->cpuid);
        g_free(v);
}

static int hvk_doorbell(struct hv_vm *vm, const struct hv_doorbell *bell, bool assign) {
        struct kvm_ioeventfd e = {
                .addr = bell->addr,
                .len = bell->len,
                .fd = bell->fd,
                .datamatch = bell->data,
        };

        if (bell->space == HV_SPACE_PIO)
                e.flags |= KVM_IOEVENTFD_FLAG_PIO;
        if (bell->with_data)
                e.flags |= KVM_IOEVENTFD_FLAG_DATAMATCH;
        if (!assign)
                e.flags |= KVM_IOEVENTFD_FLAG_DEASSIGN;
        return hvk_ioctl(hvk_vm_of(vm)->fd, KVM_IOEVENTFD, &e);
}

static const struct hv_vm_ops hvk_vm_ops = {
        .free = hvk_vm_free,
        .doorbell = hvk_doorbell,
        .map = hvk_map,
        .unmap = hvk_unmap,
        .log_dirty = hvk_log_dirty,
        .take_dirty = hvk_take_dirty,
        .save = hvk_vm_save,
        .restore = hvk_vm_restore,
        .vcpu_new = hvk_vcpu_new,
};

static bool set_up_chips(struct hvk_vm *v, GError **error) {
        uint64_t identity = X86_KVM_IDENTITY;
        int r;

        /* Intel hosts without unrestricted guests need these pages; others ignore them. */
        r = hvk_ioctl_value(v->fd, KVM_SET_TSS_ADDR, X86_KVM_TSS);
        if (r < 0)
                return hv_error_errno(error, -r, "kvm: placing the TSS");
        r = hvk_ioctl(v->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity);
        if (r < 0)
                return hv_error_errno(error, -r, "kvm: placing the identity map");

        r = hvk_enable(v->fd, KVM_CAP_SPLIT_IRQCHIP, ARCH_N_IOAPIC_PINS);
        if (r < 0)
                return hv_error_errno(error, -r, "kvm: creating the split interrupt controller");
        r = hvk_enable(v->fd, KVM_CAP_X2APIC_API,
                       KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK);
        if (r < 0)
                return hv_error_errno(error, -r, "kvm: enabling 32-bit APIC ids");
        return true;
}

static bool set_up_cpuid(struct hvk_vm *v, GError **error) {
        const struct hv_vm_config *config = &v->vm.config;

        if (config->amx) {
                if (!hvk_allow_amx(error))
                        return false;
                /* what KVM supports has grown by the permission */
                v->cpuid = hvk_supported_cpuid(v->hvk->fd, error);
        } else
                v->cpuid = g_memdup2(v->hvk->cpuid, sizeof(*v->hvk->cpuid));
        return v->cpuid != NULL;
}

static bool map_ram(struct hvk_vm *v, GError **error) {
        for (size_t i = 0; i < gmem_n_regions(v->vm.mem); i++) {
                const struct gmem_region *r = gmem_region(v->vm.mem, i);
                int e = hvk_map(&v->vm, r->base, r->size, r->host, /* readonly= */ false);

                if (e < 0)
                        return hv_error_errno(error, -e, "memory: giving a region to the guest");
        }
        return true;
}

static bool check_config(struct hvk *h, const struct hv_vm_config *config, GError **error) {
        if (config->max_vcpus > h->max_vcpus) {
                g_set_error(error, HV_ERROR, HV_ERROR_INVALID,
                            "cpus.max: %u is more than the %u vCPUs that the host's KVM allows",
                            config->max_vcpus, h->max_vcpus);
                return false;
        }
        if (config->hyperv && hvk_check(h->fd, KVM_CAP_HYPERV_SYNIC) == 0 &&
            hvk_check(h->fd, KVM_CAP_HYPERV_SYNIC2) == 0) {
                g_set_error_literal(
                                error, HV_ERROR, HV_ERROR_UNSUPPORTED,
                                "cpus.kvm_hyperv: the host's KVM lacks the Hyper-V interface");
                return false;
        }
        return true;
}

struct hv_vm *
hvk_vm_new(struct hv *base, const struct hv_vm_config *config, struct gmem *mem, GError **error) {
        g_autoptr(hv_vm) vm = NULL;
        struct hvk *h = (struct hvk *) base;
        struct hvk_vm *v;

        if (!check_config(h, config, error))
                return NULL;

        v = g_new0(struct hvk_vm, 1);
        vm = &v->vm;
        v->vm.ops = &hvk_vm_ops;
        v->vm.hv = base;
        v->vm.mem = mem;
        v->vm.config = *config;
        v->hvk = h;
        v->phys_bits = h->phys_bits;
        if (config->max_phys_bits != 0)
                v->phys_bits = MIN(v->phys_bits, config->max_phys_bits);
        (void) pthread_mutex_init(&v->slot_lock, NULL);
        (void) pthread_mutex_init(&v->irq.lock, NULL);

        v->fd = hvk_ioctl_value(h->fd, KVM_CREATE_VM, 0);
        if (v->fd < 0) {
                hv_error_errno(error, -v->fd, "kvm: creating a machine");
                return NULL;
        }
        v->xsave_size = (size_t) hvk_check(v->fd, KVM_CAP_XSAVE2);
        v->xsave_size = MAX(v->xsave_size, sizeof(struct kvm_xsave));
        if (config->nested)
                v->nested_size = (size_t) hvk_check(v->fd, KVM_CAP_NESTED_STATE);

        if (!set_up_chips(v, error) || !hvk_irq_init(v, error) || !set_up_cpuid(v, error) ||
            !map_ram(v, error))
                return NULL;
        return g_steal_pointer(&vm);
}
