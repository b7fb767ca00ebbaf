/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What a VM may have of the host, brought to its process: with the start, and when it is changed while it runs. Only a
 * unit of systemd can be held to it. For other processes it stays what is stored, the property Unit is empty, and the
 * log says once that nothing is in force.
 */

#include "daemon/chvd/units.h"
#include "daemon/chvd/vm-private.h"

GVariant *chvd_vm_limits(const ChvdVm *vm) {
        static const ChvdShares none = { 0 };

        if (!chvd_units_wanted(vm->context->units) && !chvd_shares_equal(&vm->policy.shares, &none))
                chvd_units_note_no_limits(vm->context->units);
        return chvd_shares_limits(&vm->policy.shares, vm->definition->config, /* running= */ false);
}

void chvd_vm_apply_limits(
                ChvdVm *vm, void (*done)(gpointer data, const GError *error), gpointer data) {
        if (!vm->worker)
                return done(data, /* error= */ NULL);
        if (chvd_worker_unit(vm->worker)[0] == '\0') {
                chvd_units_note_no_limits(vm->context->units);
                return done(data, /* error= */ NULL);
        }
        chvd_worker_set_limits(
                        vm->worker,
                        chvd_shares_limits(
                                        &vm->policy.shares, vm->definition->config,
                                        /* running= */ true),
                        done, data);
}
