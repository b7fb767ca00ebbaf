/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "daemon/chvd/quota.h"

#define CHVD_CONF_UNSET (UINT64_MAX - 1)

/* What the administrator has set for the service: chvd.conf(5). */
typedef struct {
        ChvdLimit limits[CHVD_CHARGE_MAX];
        uint64_t machined;     /* 0: running VMs are not registered with systemd-machined */
        uint64_t idle_exit_ms; /* 0 and CHVD_NO_LIMIT: never; CHVD_CONF_UNSET: nothing is said of it */
} ChvdConf;

/* Fills conf: the defaults, changed by what is found in folders (separated by colons; earlier ones mask later ones). Never fails: what cannot be
 * read or understood is told, one char * each, in warnings, and leaves what was there. Blocks as long as the disk does. */
void chvd_conf_read(ChvdConf *conf, const char *folders, GPtrArray *warnings);
/* A number of seconds, or one with a unit as systemd's, ms, s, min or h; or infinity, which is CHVD_NO_LIMIT. */
bool chvd_conf_parse_time(const char *text, uint64_t *ret_ms);
