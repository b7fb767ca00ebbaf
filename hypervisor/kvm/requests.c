/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What the backend asks of KVM, and on which threads (hypervisor/requests.h). Behind each request stands who makes it.
 */

#include "hypervisor/requests.h"

#include <glib.h>
#include <linux/kvm.h>

#define MAIN HV_REQUEST_MAIN
#define VCPU (HV_REQUEST_MAIN | HV_REQUEST_VCPU)
#define VCPU_IO (HV_REQUEST_MAIN | HV_REQUEST_VCPU | HV_REQUEST_IO)

static const struct hv_request requests[] = {
        { KVM_RUN, VCPU },                   /* run.c */
        { KVM_GET_REGS, VCPU },              /* run.c: where a failed guest was; boot.c, state.c */
        { KVM_SET_GSI_ROUTING, VCPU, true }, /* irq.c: the guest writes an MSI-X entry */
        { KVM_IRQFD, VCPU, true },           /* irq.c: the guest unmasks a vector */
        { KVM_IOEVENTFD, VCPU },             /* vm.c: the guest moves a BAR or starts a queue */
        { KVM_SIGNAL_MSI, VCPU_IO, true },   /* irq.c: an IOAPIC pin */
        { KVM_GET_API_VERSION, MAIN },       /* kvm.c */
        { KVM_CHECK_EXTENSION, MAIN },       /* kvm.c */
        { KVM_CREATE_VM, MAIN },             /* kvm.c; also when the guest has reset */
        { KVM_GET_MSR_INDEX_LIST, MAIN },    /* kvm.c */
        { KVM_GET_MSR_FEATURE_INDEX_LIST, MAIN }, /* kvm.c */
        { KVM_GET_SUPPORTED_CPUID, MAIN },        /* cpuid.c */
        { KVM_GET_VCPU_MMAP_SIZE, MAIN },         /* vcpu.c */
        { KVM_ENABLE_CAP, MAIN },                 /* kvm.c: split irqchip, x2APIC, Hyper-V */
        { KVM_SET_TSS_ADDR, MAIN },               /* vm.c */
        { KVM_SET_IDENTITY_MAP_ADDR, MAIN },      /* vm.c */
        { KVM_SET_USER_MEMORY_REGION, MAIN },     /* slot.c */
        { KVM_GET_DIRTY_LOG, MAIN, true },        /* slot.c */
        { KVM_CREATE_VCPU, MAIN },                /* vcpu.c */
        { KVM_SET_CPUID2, MAIN },                 /* cpuid.c */
        { KVM_KVMCLOCK_CTRL, MAIN },              /* vcpu.c: after a pause */
        { KVM_NMI, MAIN, true },                  /* vcpu.c */
        { KVM_GET_TSC_KHZ, MAIN },                /* vcpu.c, state.c */
        { KVM_SET_TSC_KHZ, MAIN, true },          /* state.c */
        { KVM_GET_CLOCK, MAIN, true },            /* clock.c */
        { KVM_SET_CLOCK, MAIN, true },            /* clock.c */
        { KVM_SET_REGS, MAIN },                   /* boot.c, state.c */
        { KVM_GET_SREGS, MAIN },                  /* boot.c, state.c */
        { KVM_SET_SREGS, MAIN },                  /* boot.c, state.c */
        { KVM_SET_FPU, MAIN },                    /* boot.c */
        { KVM_GET_LAPIC, MAIN },                  /* boot.c, state.c */
        { KVM_SET_LAPIC, MAIN },                  /* boot.c, state.c */
        { KVM_GET_MSRS, MAIN },                   /* msr.c */
        { KVM_SET_MSRS, MAIN },                   /* msr.c */
        { KVM_GET_MP_STATE, MAIN },               /* state.c */
        { KVM_SET_MP_STATE, MAIN, true },         /* state.c */
        { KVM_GET_VCPU_EVENTS, MAIN },            /* state.c */
        { KVM_SET_VCPU_EVENTS, MAIN, true },      /* state.c */
        { KVM_GET_XCRS, MAIN },                   /* state.c */
        { KVM_SET_XCRS, MAIN, true },             /* state.c */
        { KVM_GET_DEBUGREGS, MAIN },              /* state.c */
        { KVM_SET_DEBUGREGS, MAIN, true },        /* state.c */
        { KVM_GET_XSAVE, MAIN },                  /* state.c */
        { KVM_GET_XSAVE2, MAIN, true },           /* state.c */
        { KVM_SET_XSAVE, MAIN, true },            /* state.c */
        { KVM_GET_NESTED_STATE, MAIN, true },     /* state.c */
        { KVM_SET_NESTED_STATE, MAIN, true },     /* state.c */
};

const struct hv_request *hv_kvm_requests(size_t *ret_n) {
        *ret_n = G_N_ELEMENTS(requests);
        return requests;
}
