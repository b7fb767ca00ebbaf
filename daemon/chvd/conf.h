/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>

#include "daemon/chvd/quota.h"

/* What the administrator has set for the service: chvd.conf(5). */
typedef struct {
        ChvdLimit limits[CHVD_CHARGE_MAX];
        uint64_t machined; /* 0: running VMs are not registered with systemd-machined */
} ChvdConf;

/* Fills conf: the defaults, changed by what is found in folders (separated by colons; earlier ones mask later ones). Never fails: what cannot be
 * read or understood is told, one char * each, in warnings, and leaves what was there. Blocks as long as the disk does. */
void chvd_conf_read(ChvdConf *conf, const char *folders, GPtrArray *warnings);
