/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "hypervisor/vcpu.h"
#include "hypervisor/vm.h"

/*
 * What a hypervisor backend implements. Private to hypervisor/: vm.c and vcpu.c turn the public
 * functions into these calls. A backend embeds the three structs at the start of its own.
 */

struct hv_vcpu;
struct boot_entry;

/* Makes of the public configuration what every vCPU needs to know of the others. */
struct hv_vcpu_config {
        uint32_t index;
        uint32_t hw_id; /* x86: APIC id */
        uint32_t max_hw_id;
        struct vcpu_topology topology; /* complete: no zeros */
};

/* How a call of run() ended. */
enum hv_run {
        HV_RUN_AGAIN,  /* an exit was handled: call again */
        HV_RUN_KICKED, /* interrupted by a signal or a kick; no access of the guest is half done */
        HV_RUN_RESET,
        HV_RUN_ERROR,
};

struct hv_ops {
        void (*free)(struct hv *base);
        void (*get_info)(const struct hv *base, struct hv_info *ret);
        struct hv_vm *(*vm_new)(
                        struct hv *base,
                        const struct hv_vm_config *config,
                        struct gmem *mem,
                        GError **error);
};

struct hv {
        const struct hv_ops *ops;
};

struct hv_vm_ops {
        void (*free)(struct hv_vm *vm);
        int (*doorbell)(struct hv_vm *vm, const struct hv_doorbell *bell, bool assign);
        int (*map)(struct hv_vm *vm, gaddr base, uint64_t size, void *host, bool readonly);
        int (*unmap)(struct hv_vm *vm, gaddr base, uint64_t size);
        bool (*log_dirty)(struct hv_vm *vm, bool on, GError **error);
        bool (*take_dirty)(struct hv_vm *vm, size_t region, uint64_t *bitmap, GError **error);
        GVariant *(*save)(struct hv_vm *vm, GError **error);
        bool (*restore)(struct hv_vm *vm, GVariant *state, GError **error);
        struct hv_vcpu *(*vcpu_new)(
                        struct hv_vm *vm, const struct hv_vcpu_config *config, GError **error);
};

struct hv_vm {
        const struct hv_vm_ops *ops;
        struct hv *hv;
        struct gmem *mem;
        struct hv_vm_config config;
        struct intc intc;
};

struct hv_vcpu_ops {
        void (*free)(struct hv_vcpu *vcpu);

        /* State at power-on; with an entry, that of the first vCPU about to run the payload. */
        bool (*boot)(struct hv_vcpu *vcpu, const struct boot_entry *entry, GError **error);

        /* On the vCPU's thread: enters the guest and handles one exit. detail (of HV_DETAIL_MAX bytes) is
         * written when the result is HV_RUN_RESET or HV_RUN_ERROR. */
        enum hv_run (*run)(
                        struct hv_vcpu *vcpu,
                        const struct vcpu_handlers *handlers,
                        void *opaque,
                        char *detail);

        /* Any thread. While on, run() finishes what is pending and returns HV_RUN_KICKED without running guest
         * code. A vCPU inside the guest needs a signal besides. */
        void (*set_kick)(struct hv_vcpu *vcpu, bool on);

        /* The rest: main thread, vCPU parked. */
        void (*was_paused)(struct hv_vcpu *vcpu);
        bool (*nmi)(struct hv_vcpu *vcpu, GError **error);
        GVariant *(*save)(struct hv_vcpu *vcpu, GError **error);
        bool (*restore)(struct hv_vcpu *vcpu, GVariant *state, GError **error);
};

struct hv_vcpu {
        const struct hv_vcpu_ops *ops;
};

#define HV_DETAIL_MAX 160

/* The hardware id of vCPU index in this complete topology, as the architecture composes it. */
uint32_t arch_vcpu_hw_id(const struct vcpu_topology *topology, uint32_t index);

/* The most threads a core can have on this architecture. */
uint16_t arch_max_threads_per_core(void);
