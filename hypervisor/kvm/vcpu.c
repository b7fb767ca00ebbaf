/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * One vCPU on KVM: its descriptor, the page it shares with the kernel, and its CPUID. Created by the
 * main thread, run by its own, and looked at by the main thread again only while it is parked.
 */

#include "hypervisor/kvm/kvm.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hypervisor/arch/x86_64/regs.h"
#include "hypervisor/error.h"

static void hvk_vcpu_free(struct hv_vcpu *vcpu) {
        struct hvk_vcpu *v = hvk_vcpu_of(vcpu);

        if (v->run)
                (void) munmap(v->run, v->run_size);
        if (v->fd >= 0)
                (void) close(v->fd);
        g_clear_pointer(&v->power_on, g_variant_unref);
        g_free(v);
}

static void set_kick(struct hv_vcpu *vcpu, bool on) {
        /* KVM reads it at the start of KVM_RUN; a signal orders what comes before it */
        __atomic_store_n(&hvk_vcpu_of(vcpu)->run->immediate_exit, on, __ATOMIC_RELAXED);
}

static void was_paused(struct hv_vcpu *vcpu) {
        /* Keeps the guest's watchdogs quiet about the gap. A guest without the clock gets EINVAL. */
        (void) hvk_ioctl(hvk_vcpu_of(vcpu)->fd, KVM_KVMCLOCK_CTRL, NULL);
}

static bool nmi(struct hv_vcpu *vcpu, GError **error) {
        int r = hvk_ioctl(hvk_vcpu_of(vcpu)->fd, KVM_NMI, NULL);

        if (r < 0)
                return hv_error_errno(error, -r, "kvm: sending an NMI");
        return true;
}

static const struct hv_vcpu_ops hvk_vcpu_ops = {
        .free = hvk_vcpu_free,
        .boot = hvk_vcpu_boot,
        .run = hvk_vcpu_run,
        .set_kick = set_kick,
        .was_paused = was_paused,
        .nmi = nmi,
        .save = hvk_vcpu_save,
        .restore = hvk_vcpu_restore,
};

static bool map_run(struct hvk_vcpu *v, GError **error) {
        int size = hvk_ioctl_value(v->vm->hvk->fd, KVM_GET_VCPU_MMAP_SIZE, 0);
        void *run;

        if (size < (int) sizeof(struct kvm_run))
                return hv_error_errno(error, size < 0 ? -size : EPROTO, "kvm: size of kvm_run");
        run = mmap(NULL, (size_t) size, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
        if (run == MAP_FAILED)
                return hv_error_errno(error, errno, "kvm: mapping kvm_run");
        v->run = run;
        v->run_size = (size_t) size;
        return true;
}

/* The machine's part of CPUID, which waits for the first vCPU because only a vCPU knows the TSC's rate. */
static void complete_machine_cpuid(struct hvk_vcpu *v) {
        struct hvk_vm *vm = v->vm;
        const struct hv_vm_config *config = &vm->vm.config;
        int khz = hvk_ioctl(v->fd, KVM_GET_TSC_KHZ, NULL);

        vm->hvk->tsc_khz = (uint32_t) MAX(khz, 0);
        x86_cpuid_set_machine(
                        vm->cpuid, &(struct x86_cpuid_config){
                                                   .phys_bits = vm->phys_bits,
                                                   .nested = config->nested,
                                                   .hyperv = config->hyperv,
                                                   .amx = config->amx,
                                                   .tsc_khz = vm->hvk->tsc_khz,
                                                   .host = x86_cpuid_host,
                                   });
        vm->cpuid_complete = true;
}

static bool enable_hyperv(struct hvk_vcpu *v, GError **error) {
        int r;

        r = hvk_enable(v->fd, KVM_CAP_HYPERV_SYNIC2, 0);
        if (r < 0)
                r = hvk_enable(v->fd, KVM_CAP_HYPERV_SYNIC, 0);
        if (r < 0)
                return hv_error_errno(error, -r, "cpus.kvm_hyperv: enabling SynIC");
        return true;
}

struct hv_vcpu *
hvk_vcpu_new(struct hv_vm *vm, const struct hv_vcpu_config *config, GError **error) {
        g_autofree struct x86_cpuid *cpuid = NULL;
        struct hvk_vcpu *v;

        if (config->hw_id >= hvk_vm_of(vm)->hvk->max_vcpu_id) {
                g_set_error(error, HV_ERROR, HV_ERROR_INVALID,
                            "cpus.topology: vCPU %u would have the APIC id %u, but the host's KVM "
                            "allows ids below %u",
                            config->index, config->hw_id, hvk_vm_of(vm)->hvk->max_vcpu_id);
                return NULL;
        }

        v = g_new0(struct hvk_vcpu, 1);
        v->vcpu.ops = &hvk_vcpu_ops;
        v->vm = hvk_vm_of(vm);
        v->index = config->index;
        v->x2apic = config->max_hw_id > X86_XAPIC_MAX_ID;
        v->fd = hvk_ioctl_value(v->vm->fd, KVM_CREATE_VCPU, config->hw_id);
        if (v->fd < 0) {
                hv_error_errno(error, -v->fd, "kvm: creating vCPU %u", config->index);
                hvk_vcpu_free(&v->vcpu);
                return NULL;
        }

        if (!v->vm->cpuid_complete)
                complete_machine_cpuid(v);
        cpuid = g_memdup2(v->vm->cpuid, sizeof(*cpuid));
        x86_cpuid_set_vcpu(cpuid, &config->topology, config->hw_id);
        if (!map_run(v, error) || !hvk_set_cpuid(v->fd, cpuid, error) ||
            (vm->config.hyperv && !enable_hyperv(v, error))) {
                hvk_vcpu_free(&v->vcpu);
                return NULL;
        }
        return &v->vcpu;
}
