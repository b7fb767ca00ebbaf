/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What a VM may have of the host, brought to its process: with the start, and when it is changed while it runs. A unit of systemd can be
 * held to it, and a process in a control group of our making (cgroup.c). For others it stays what is stored, the property
 * LimitsInForce is false, and the log says once why nothing is in force.
 */

#include "daemon/chvd/vm-private.h"

GVariant *chvd_vm_limits(const ChvdVm *vm) {
        return chvd_shares_limits(&vm->policy.shares, vm->definition->config, /* running= */ false);
}

void chvd_vm_apply_limits(
                ChvdVm *vm, void (*done)(gpointer data, const GError *error), gpointer data) {
        if (!vm->worker || !chvd_worker_has_limits(vm->worker))
                return done(data, /* error= */ NULL);
        chvd_worker_set_limits(
                        vm->worker,
                        chvd_shares_limits(
                                        &vm->policy.shares, vm->definition->config,
                                        /* running= */ true),
                        done, data);
}
