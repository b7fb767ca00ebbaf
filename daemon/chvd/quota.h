/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Largest configuration dictionary a client may send, in bytes of its D-Bus form. */
#define CHVD_MAX_CONFIG_BYTES (1024 * 1024)

typedef enum {
        CHVD_CHARGE_VM,
        CHVD_CHARGE_VCPU,   /* of VMs that run */
        CHVD_CHARGE_MEMORY, /* of VMs that run; bytes */
        CHVD_CHARGE_DISK,   /* of VMs that run */
        CHVD_CHARGE_JOB,
        CHVD_CHARGE_QUESTION, /* to polkit */
        CHVD_CHARGE_MAX,
} ChvdCharge;

#define CHVD_NO_LIMIT UINT64_MAX

typedef struct {
        uint64_t owner; /* what one uid may have */
        uint64_t total; /* what all may have together */
} ChvdLimit;

/* How much of what each uid holds, and the limits. Main thread only. */
typedef struct ChvdQuota ChvdQuota;

/* With the limits that hold when nobody has set others. */
ChvdQuota *chvd_quota_new(void);
void chvd_quota_free(ChvdQuota *quota);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ChvdQuota, chvd_quota_free)

/* The name of the limit of one user in chvd.conf, "MaxVMs"; that of all has "Total" behind it. NULL: can't be set there. */
const char *chvd_quota_key(ChvdCharge what);
bool chvd_quota_is_size(ChvdCharge what);
void chvd_quota_default_limits(ChvdLimit limits[static CHVD_CHARGE_MAX]);
/* What is held already stays, even beyond a limit. */
void chvd_quota_set_limits(ChvdQuota *quota, const ChvdLimit limits[static CHVD_CHARGE_MAX]);
/* From now on root is bound by what all may have only, as far as chvd.conf sets it. */
void chvd_quota_exempt_root(ChvdQuota *quota);

/* Charges one; CHV_ERROR_LIMIT when the uid's share or the service's is used up. */
bool chvd_quota_charge(ChvdQuota *quota, ChvdCharge what, uid_t uid, GError **error);
/* Charges one whatever the limits are: for what was there before. */
void chvd_quota_charge_again(ChvdQuota *quota, ChvdCharge what, uid_t uid);
void chvd_quota_release(ChvdQuota *quota, ChvdCharge what, uid_t uid);

/* The same for an amount, which may be 0. The error names the limit, what it is, what is held and what was wanted. */
bool chvd_quota_charge_n(ChvdQuota *quota, ChvdCharge what, uid_t uid, uint64_t n, GError **error);
void chvd_quota_charge_n_again(ChvdQuota *quota, ChvdCharge what, uid_t uid, uint64_t n);
void chvd_quota_release_n(ChvdQuota *quota, ChvdCharge what, uid_t uid, uint64_t n);
