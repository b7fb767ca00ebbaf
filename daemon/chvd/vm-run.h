/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "daemon/chvd/job.h"
#include "daemon/chvd/vm.h"

/*
 * How a VM's runs begin and end. The caller has made sure that the state allows it. What takes time is a job: false and error when it could not
 * be begun; else ret_job (may be NULL) gets its path, newly allocated, and done (may be NULL) is called when it is over, possibly before the function returns.
 */

#define CHVD_START_TIMEOUT_S 120 /* for a worker to build the machine */
#define CHVD_QUIT_GRACE_S 5      /* for a worker to end its machine when asked */

/* The job ends when the guest is about to run, or with an error and everything released. */
bool chvd_vm_start(
                ChvdVm *vm,
                uid_t caller,
                bool paused,
                unsigned timeout_s,
                ChvdJobDone done,
                gpointer data,
                char **ret_job,
                GError **error);

/* The job ends when everything is released. The worker is killed after grace_s. */
bool chvd_vm_power_off(
                ChvdVm *vm,
                uid_t caller,
                unsigned grace_s,
                ChvdJobDone done,
                gpointer data,
                char **ret_job,
                GError **error);

/* Powers off and starts again. With force the guest is not asked; without, it has timeout_s to react (0: for ever). */
bool chvd_vm_reboot(
                ChvdVm *vm,
                uid_t caller,
                bool force,
                unsigned timeout_s,
                ChvdJobDone done,
                gpointer data,
                char **ret_job,
                GError **error);

/* It runs and can be reached. */
bool chvd_vm_hears_power_button(const ChvdVm *vm);
/* Asks the guest to power off by its power button, and powers off after timeout_s (0: never). done hears whether the button was pressed. */
typedef void (*ChvdPressed)(gpointer data, const GError *error);
void chvd_vm_press_power_button(ChvdVm *vm, unsigned timeout_s, ChvdPressed done, gpointer data);

/* Ends the run, whatever it is at, for good; does nothing when there is none. */
void chvd_vm_stop(ChvdVm *vm, const char *reason, unsigned grace_ms);
bool chvd_vm_has_run(const ChvdVm *vm);
