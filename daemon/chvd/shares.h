/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>
#include <stdbool.h>
#include <stdint.h>

#include "dbus/config.h"
#include "dbus/generated.h"
#include "dbus/limit.h"

#define CHVD_MEMORY_AUTO (UINT64_MAX - 1)

/* What a VM's process has of the host's processors, memory and disks, as far as systemd sees to it. All zero is the default. */
typedef struct {
        uint64_t values[CHV_LIMIT_MAX]; /* by ChvLimitId; 0: not set; memory may be CHVD_MEMORY_AUTO */
} ChvdShares;

/* Rows for chvd_options_check(). */
#define CHVD_SHARES_OPTIONS                                                                        \
        "cpu-weight", "u", "cpu-quota", "u", "memory-max", "*", "io-weight", "u", "tasks-max",     \
                        "u", "shutdown-timeout", "u"

/* Changes what the options name. CHV_ERROR_INVALID_CONFIG names the option; the shares may be changed in part then. */
bool chvd_shares_update(ChvdShares *shares, GVariant *options, GError **error);
bool chvd_shares_equal(const ChvdShares *a, const ChvdShares *b);
/* Sets the properties of the VM's object. */
void chvd_shares_show(const ChvdShares *shares, const ChvConfig *config, ChvVm *skeleton);

/* Floating a{sv}: properties of a unit of systemd. For a running one that is what can be changed, with what is not set taken back; else only what
 * is set, or what every such unit needs. */
GVariant *chvd_shares_limits(const ChvdShares *shares, const ChvConfig *config, bool running);

/* The lines of a record that say what is set. */
char *chvd_shares_to_text(const ChvdShares *shares);
/* What is wrong in them is left out and told in warnings, which may be NULL. */
void chvd_shares_read(ChvdShares *shares, GKeyFile *file, const char *group, GPtrArray *warnings);
