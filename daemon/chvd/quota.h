/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>
#include <stdbool.h>
#include <sys/types.h>

/* Largest configuration dictionary a client may send, in bytes of its D-Bus form. */
#define CHVD_MAX_CONFIG_BYTES (1024 * 1024)

typedef enum {
        CHVD_CHARGE_VM,
        CHVD_CHARGE_JOB,
        CHVD_CHARGE_QUESTION, /* to polkit */
        CHVD_CHARGE_MAX,
} ChvdCharge;

/* How much of what each uid holds, and the limits. Main thread only. */
typedef struct ChvdQuota ChvdQuota;

ChvdQuota *chvd_quota_new(void);
void chvd_quota_free(ChvdQuota *quota);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ChvdQuota, chvd_quota_free)

/* Charges one; CHV_ERROR_LIMIT when the uid's share or the service's is used up. */
bool chvd_quota_charge(ChvdQuota *quota, ChvdCharge what, uid_t uid, GError **error);
/* Charges one whatever the limits are: for what was there before. */
void chvd_quota_charge_again(ChvdQuota *quota, ChvdCharge what, uid_t uid);
void chvd_quota_release(ChvdQuota *quota, ChvdCharge what, uid_t uid);
