/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A vCPU's state at power-on. KVM creates vCPUs in it, but for what a firmware would have done
 * (MTRRs, FPU, the local APIC's lines). That initial state is kept, so that a vCPU that has run can
 * be brought back to it: every vCPU but the first waits for INIT and SIPI again.
 */

#include "hypervisor/kvm/kvm.h"

#include <string.h>

#include "hypervisor/arch/x86_64/regs.h"
#include "hypervisor/error.h"

static struct kvm_segment to_kvm(const struct x86_segment *s) {
        return (struct kvm_segment){
                .base = s->base,
                .limit = s->limit,
                .selector = s->selector,
                .type = s->type,
                .present = 1,
                .s = !s->system,
                .l = s->long_mode,
                .db = s->size32,
                .g = s->granular,
        };
}

static void
enter_payload(const struct boot_entry *entry, struct kvm_regs *regs, struct kvm_sregs *sregs) {
        struct x86_boot_regs b;

        x86_boot_regs_for(entry, &b);
        *regs = (struct kvm_regs){
                .rip = b.rip,
                .rsp = b.rsp,
                .rbx = b.rbx,
                .rbp = b.rbp,
                .rsi = b.rsi,
                .rdi = b.rdi,
                .rflags = b.rflags,
        };
        sregs->cr0 = b.cr0;
        sregs->cr3 = b.cr3;
        sregs->cr4 = b.cr4;
        sregs->efer = b.efer;
        sregs->gdt.base = b.gdt_base;
        sregs->gdt.limit = b.gdt_limit;
        sregs->idt.base = b.idt_base;
        sregs->idt.limit = b.idt_limit;
        sregs->cs = to_kvm(&b.code);
        sregs->ds = sregs->es = sregs->fs = sregs->gs = sregs->ss = to_kvm(&b.data);
        sregs->tr = to_kvm(&b.tss);
}

static int set_registers(struct hvk_vcpu *v, const struct boot_entry *entry) {
        struct kvm_sregs sregs;
        struct kvm_regs regs;
        int r;

        r = hvk_ioctl(v->fd, KVM_GET_SREGS, &sregs);
        if (r == 0)
                r = hvk_ioctl(v->fd, KVM_GET_REGS, &regs);
        if (r < 0)
                return r;
        if (v->x2apic)
                sregs.apic_base |= X86_APIC_BASE_X2APIC;
        if (entry)
                enter_payload(entry, &regs, &sregs);
        r = hvk_ioctl(v->fd, KVM_SET_SREGS, &sregs);
        if (r < 0)
                return r;
        return hvk_ioctl(v->fd, KVM_SET_REGS, &regs);
}

static int set_fpu(struct hvk_vcpu *v) {
        struct kvm_fpu fpu = { .fcw = X86_FPU_FCW, .mxcsr = X86_FPU_MXCSR };

        return hvk_ioctl(v->fd, KVM_SET_FPU, &fpu);
}

static void set_lvt(struct kvm_lapic_state *lapic, size_t offset, uint32_t mode) {
        uint32_t value;

        memcpy(&value, lapic->regs + offset, sizeof(value));
        value = (value & ~0x10700u) | mode; /* neither masked nor in its former mode */
        memcpy(lapic->regs + offset, &value, sizeof(value));
}

static int set_lapic(struct hvk_vcpu *v) {
        struct kvm_lapic_state lapic;
        int r;

        r = hvk_ioctl(v->fd, KVM_GET_LAPIC, &lapic);
        if (r < 0)
                return r;
        set_lvt(&lapic, X86_APIC_LVT_LINT0, X86_APIC_MODE_EXTINT);
        set_lvt(&lapic, X86_APIC_LVT_LINT1, X86_APIC_MODE_NMI);
        return hvk_ioctl(v->fd, KVM_SET_LAPIC, &lapic);
}

bool hvk_vcpu_boot(struct hv_vcpu *vcpu, const struct boot_entry *entry, GError **error) {
        struct hvk_vcpu *v = hvk_vcpu_of(vcpu);
        int r;

        if (!v->power_on) {
                GVariant *state = hvk_vcpu_save(vcpu, error);

                if (!state)
                        return false;
                v->power_on = g_variant_ref_sink(state);
        } else if (!hvk_vcpu_restore(vcpu, v->power_on, error))
                return false;

        if (!hvk_msrs_boot(v, error))
                return false;
        r = set_registers(v, entry);
        if (r < 0)
                return hv_error_errno(error, -r, "kvm: setting registers of vCPU %u", v->index);
        r = set_fpu(v);
        if (r < 0)
                return hv_error_errno(error, -r, "kvm: setting the FPU of vCPU %u", v->index);
        r = set_lapic(v);
        if (r < 0)
                return hv_error_errno(error, -r, "kvm: setting the APIC of vCPU %u", v->index);
        return true;
}
