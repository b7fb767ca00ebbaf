/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "hypervisor/vm.h"

/*
 * The vCPUs of one machine: one thread each, a run loop, and one way to stop them all.
 *
 * vcpus_* functions are called by the main thread only. Handlers run on the vCPU's thread.
 */

typedef struct vcpus vcpus;

/* Why a vCPU left the guest for good; reported once through handlers.stopped. */
enum vcpu_stop {
        VCPU_STOP_RESET, /* triple fault, or the hypervisor asked for a reset */
        VCPU_STOP_ERROR, /* internal error, failed entry, unknown exit; detail says which */
};

/* Called on vCPU threads, concurrently. The run path: no allocation, no lock held across system calls. */
struct vcpu_handlers {
        void (*pio_read)(void *opaque, uint16_t port, void *data, unsigned len);
        void (*pio_write)(void *opaque, uint16_t port, const void *data, unsigned len);
        void (*mmio_read)(void *opaque, uint64_t addr, void *data, unsigned len);
        void (*mmio_write)(void *opaque, uint64_t addr, const void *data, unsigned len);
        void (*eoi)(void *opaque, unsigned vector);
        void (*stopped)(void *opaque, unsigned vcpu, enum vcpu_stop why, const char *detail);
};

struct vcpu_topology {
        uint16_t threads_per_core, cores_per_die, dies_per_package,
                        packages; /* all 0: one package of n cores */
};

struct vcpu_affinity {
        uint32_t vcpu;
        const uint16_t *host_cpus;
        size_t n_host_cpus;
};

struct vcpus_config {
        uint32_t boot; /* present at boot */
        uint32_t max;
        struct vcpu_topology topology;
        const struct vcpu_affinity *affinity;
        size_t n_affinity;
        void (*thread_start)(
                        void *opaque); /* first thing on each vCPU thread (seccomp, names); may be NULL */
};

/* Where the first vCPU starts, as the loader left it (hypervisor/arch.h). */
struct boot_entry;

/* Creates the config->boot vCPUs that are present from the start, and their CPUID; APIC ids and topology leave room
 * for config->max. Threads are started but parked. */
vcpus *
vcpus_new(hv_vm *vm,
          const struct vcpus_config *config,
          const struct vcpu_handlers *handlers,
          void *opaque,
          GError **error);

/* Ends and joins the threads, closes the vCPUs. NULL is fine. Returns NULL. */
vcpus *vcpus_free(vcpus *v);

/* Sets every vCPU to its state at power-on, the first at entry. Only while parked. */
bool vcpus_boot(vcpus *v, const struct boot_entry *entry, GError **error);

/* Lets the vCPUs run / brings every one out of the guest and waits until all are parked (no handler runs then). Guest time goes on
 * during a pause; the guest is told of the gap, so that its watchdogs stay quiet. */
void vcpus_resume(vcpus *v);
void vcpus_pause(vcpus *v);
bool vcpus_paused(const vcpus *v);

/* APIC ids in order of vCPU index, for the firmware tables. */
uint32_t vcpus_apic_id(const vcpus *v, uint32_t index);

/* Exits since creation, for counters; any thread. */
uint64_t vcpus_n_exits(const vcpus *v);

/* Registers and all state of the parked vCPUs. Floating ref. */
GVariant *vcpus_save(vcpus *v, GError **error);
bool vcpus_restore(vcpus *v, GVariant *state, GError **error);

/* Non-maskable interrupt to every vCPU. */
bool vcpus_nmi(vcpus *v, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(vcpus, vcpus_free)
