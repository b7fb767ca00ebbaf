/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "hypervisor/arch.h"
#include "hypervisor/vcpu.h"
#include "tests/guest/lib/mailbox.h"

/*
 * The host's side of a guest test: a machine with nothing in it but RAM, vCPUs and the two ports of
 * mailbox.h, on /dev/kvm. A test adds what it wants to prove through hooks. Whatever fails in setting
 * up fails the test.
 */

typedef struct machine machine;

struct machine_config {
        const char *guest; /* file name of the guest, beside the test's own executable */
        bool pvh;          /* enter at the 32-bit PVH entry instead of the 64-bit one */
        uint64_t ram;      /* 0: 32 MiB */
        uint32_t vcpus;    /* 0: 1 */
        struct vcpu_topology topology;
        struct hv_vm_config vm; /* max_vcpus is filled in */
        const struct vcpu_handlers
                        *hooks; /* accesses but those of the ports; NULL members: nobody there */
        void *opaque;           /* of the hooks */
        uint64_t args[4];
};

struct machine {
        struct gmem *mem;
        struct arch_layout layout;
        struct hv *hv;
        struct hv_vm *vm;
        vcpus *vcpus;
        struct boot_entry entry;
        struct mailbox *mailbox;
        struct machine_run *run;
};

/* Ends the program as skipped, with the reason, where /dev/kvm cannot be opened. Call it first thing in main(). */
void machine_require_kvm(void);

/* False where this host lacks something that the machine would need. Any other failure fails the test. */
bool machine_supports(const struct hv_vm_config *config);

/* Builds the machine, loads the guest and boots the vCPUs, which stay parked. */
struct machine *machine_new(const struct machine_config *config);

/* The same without loading a guest or booting a vCPU. */
struct machine *machine_new_empty(const struct machine_config *config);
struct machine *machine_free(struct machine *m);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(machine, machine_free)

/* Clears the memory of the paused machine, loads the guest anew and boots again, as after a reset. */
void machine_reload(struct machine *m);

/* Lets it run and waits until the guest exits or stops. machine_wait() fails the test after 60 s. */
void machine_start(struct machine *m);
void machine_wait(struct machine *m);

/* Start, wait, and require that the guest exited with 0. */
void machine_run(struct machine *m);

/* Waits until the guest has set mailbox->ready. */
void machine_wait_ready(struct machine *m);

/* How it ended: the guest's exit status, or -1 when it stopped without one. */
int machine_status(struct machine *m);

/* Whether it stopped, why, and with which words. */
bool machine_stopped(struct machine *m, enum vcpu_stop *ret_why, const char **ret_detail);
