/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Entering the guest and taking its exits apart. This is the run path: no lock, no allocation, and
 * nothing but the handlers and KVM_RUN itself. KVM completes an access of the guest (the value of an
 * IN, the next element of an OUTS) when it is entered the next time, before it looks for a kick;
 * that is why a vCPU is parked only after KVM_RUN said EINTR, when nothing is half done.
 */

#include "hypervisor/kvm/kvm.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#define HV_STATUS_INVALID_HYPERCALL_CODE 2

static void handle_pio(struct kvm_run *run, const struct vcpu_handlers *h, void *opaque) {
        uint8_t *data = (uint8_t *) run + run->io.data_offset;

        /* INS and OUTS come with a count of elements */
        for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size) {
                if (run->io.direction == KVM_EXIT_IO_IN) {
                        memset(data, 0xff, run->io.size);
                        h->pio_read(opaque, run->io.port, data, run->io.size);
                } else
                        h->pio_write(opaque, run->io.port, data, run->io.size);
        }
}

static void handle_mmio(struct kvm_run *run, const struct vcpu_handlers *h, void *opaque) {
        if (run->mmio.is_write) {
                h->mmio_write(opaque, run->mmio.phys_addr, run->mmio.data, run->mmio.len);
                return;
        }
        memset(run->mmio.data, 0xff, sizeof(run->mmio.data));
        h->mmio_read(opaque, run->mmio.phys_addr, run->mmio.data, run->mmio.len);
}

static uint64_t rip_of(struct hvk_vcpu *v) {
        struct kvm_regs regs;

        return ioctl(v->fd, KVM_GET_REGS, &regs) == 0 ? regs.rip : 0;
}

static enum hv_run internal_error(struct hvk_vcpu *v, char *detail) {
        const struct kvm_run *run = v->run;
        char bytes[2 * 15 + 1] = "";
        unsigned n = 0;

        if (run->internal.suberror != KVM_INTERNAL_ERROR_EMULATION) {
                (void) snprintf(detail, HV_DETAIL_MAX, "KVM internal error %u at %#llx",
                                run->internal.suberror, (unsigned long long) rip_of(v));
                return HV_RUN_ERROR;
        }
        if (run->emulation_failure.ndata >= 1 &&
            (run->emulation_failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES))
                n = MIN(run->emulation_failure.insn_size, 15);
        for (unsigned i = 0; i < n; i++)
                (void) snprintf(bytes + (size_t) 2 * i, 3, "%02x",
                                run->emulation_failure.insn_bytes[i]);
        (void) snprintf(detail, HV_DETAIL_MAX, "KVM cannot emulate the instruction at %#llx (%s)",
                        (unsigned long long) rip_of(v), n > 0 ? bytes : "bytes unknown");
        return HV_RUN_ERROR;
}

static enum hv_run system_event(const struct kvm_run *run, char *detail) {
        if (run->system_event.type == KVM_SYSTEM_EVENT_RESET) {
                (void) snprintf(detail, HV_DETAIL_MAX, "system reset");
                return HV_RUN_RESET;
        }
        (void) snprintf(detail, HV_DETAIL_MAX, "system event %u (%s)", run->system_event.type,
                        run->system_event.type == KVM_SYSTEM_EVENT_CRASH ? "guest crash"
                                                                         : "unexpected");
        return HV_RUN_ERROR;
}

static enum hv_run
dispatch(struct hvk_vcpu *v, const struct vcpu_handlers *h, void *opaque, char *detail) {
        struct kvm_run *run = v->run;

        switch (run->exit_reason) {
        case KVM_EXIT_IO:
                handle_pio(run, h, opaque);
                return HV_RUN_AGAIN;
        case KVM_EXIT_MMIO:
                handle_mmio(run, h, opaque);
                return HV_RUN_AGAIN;
        case KVM_EXIT_IOAPIC_EOI:
                h->eoi(opaque, run->eoi.vector);
                return HV_RUN_AGAIN;
        case KVM_EXIT_HYPERV:
                /* SynIC pages are the guest's own business; no hypercall of ours exists */
                if (run->hyperv.type == KVM_EXIT_HYPERV_HCALL)
                        run->hyperv.u.hcall.result = HV_STATUS_INVALID_HYPERCALL_CODE;
                return HV_RUN_AGAIN;
        case KVM_EXIT_INTR:
        case KVM_EXIT_IRQ_WINDOW_OPEN:
        case KVM_EXIT_SET_TPR:
                return HV_RUN_AGAIN;
        case KVM_EXIT_SHUTDOWN:
                (void) snprintf(detail, HV_DETAIL_MAX, "triple fault at %#llx",
                                (unsigned long long) rip_of(v));
                return HV_RUN_RESET;
        case KVM_EXIT_SYSTEM_EVENT:
                return system_event(run, detail);
        case KVM_EXIT_INTERNAL_ERROR:
                return internal_error(v, detail);
        case KVM_EXIT_FAIL_ENTRY:
                (void) snprintf(detail, HV_DETAIL_MAX,
                                "entering the guest failed: hardware reason %#llx",
                                (unsigned long long) run->fail_entry.hardware_entry_failure_reason);
                return HV_RUN_ERROR;
        default:
                (void) snprintf(detail, HV_DETAIL_MAX, "unknown KVM exit %u", run->exit_reason);
                return HV_RUN_ERROR;
        }
}

enum hv_run
hvk_vcpu_run(struct hv_vcpu *vcpu,
             const struct vcpu_handlers *handlers,
             void *opaque,
             char *detail) {
        struct hvk_vcpu *v = hvk_vcpu_of(vcpu);

        if (ioctl(v->fd, KVM_RUN, NULL) == 0)
                return dispatch(v, handlers, opaque, detail);
        if (errno == EINTR)
                return HV_RUN_KICKED;
        if (errno == EAGAIN) /* a vCPU waiting for INIT or SIPI was woken */
                return HV_RUN_AGAIN;
        (void) snprintf(detail, HV_DETAIL_MAX, "running the guest failed: %s%s",
                        strerrorname_np(errno), errno == EFAULT ? " (host memory is missing)" : "");
        return HV_RUN_ERROR;
}
