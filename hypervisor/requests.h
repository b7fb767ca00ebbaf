/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/*
 * The ioctl(2) requests of the KVM backend, for whoever filters system calls. A request that is missing here is one that the
 * program cannot make in its sandbox: the list changes with the code of the backend.
 */

enum hv_request_user {
        HV_REQUEST_MAIN = 1 << 0, /* builds, pauses, saves the machine; makes every request */
        HV_REQUEST_VCPU = 1 << 1, /* runs the guest, and what a guest's exit can change */
        HV_REQUEST_IO = 1 << 2,   /* sends interrupts */
};

struct hv_request {
        unsigned long request;
        unsigned users; /* enum hv_request_user, with HV_REQUEST_MAIN */
        bool rare;      /* not part of every machine's life: no test of the sandbox counts on it */
};

/* Constant. Any thread. */
const struct hv_request *hv_kvm_requests(size_t *ret_n);
