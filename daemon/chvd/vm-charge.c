/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What a run costs its VM's owner: vCPUs, memory and disks, charged from before the start until everything is released,
 * a reboot included. A VM that is only defined holds none of them.
 */

#include "daemon/chvd/quota.h"
#include "daemon/chvd/vm-private.h"

static void cost(const ChvdVm *vm, uint64_t ret[static CHVD_CHARGE_MAX]) {
        const ChvConfig *config = vm->definition->config;

        ret[CHVD_CHARGE_VCPU] = config->cpus.boot_vcpus;
        ret[CHVD_CHARGE_MEMORY] = config->memory.size;
        ret[CHVD_CHARGE_DISK] = config->n_disks;
}

bool chvd_vm_charge_run(ChvdVm *vm, GError **error) {
        uint64_t wanted[CHVD_CHARGE_MAX] = { 0 };

        g_return_val_if_fail(!vm->is_charged, true);
        cost(vm, wanted);
        vm->is_charged = true;
        for (unsigned i = 0; i < CHVD_CHARGE_MAX; i++) {
                if (!chvd_quota_charge_n(vm->context->quota, i, vm->owner, wanted[i], error)) {
                        chvd_vm_release_run(vm);
                        return false;
                }
                vm->charged[i] = wanted[i];
        }
        return true;
}

void chvd_vm_charge_run_again(ChvdVm *vm) {
        g_return_if_fail(!vm->is_charged);
        cost(vm, vm->charged);
        vm->is_charged = true;
        for (unsigned i = 0; i < CHVD_CHARGE_MAX; i++)
                chvd_quota_charge_n_again(vm->context->quota, i, vm->owner, vm->charged[i]);
}

void chvd_vm_release_run(ChvdVm *vm) {
        if (!vm->is_charged)
                return;
        vm->is_charged = false;
        for (unsigned i = 0; i < CHVD_CHARGE_MAX; i++) {
                chvd_quota_release_n(vm->context->quota, i, vm->owner, vm->charged[i]);
                vm->charged[i] = 0;
        }
}
