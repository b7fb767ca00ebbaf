/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What a client can make grow is charged to its uid before it is built and released when it is gone. A uid has a
 * share, and all together have a bound, so that neither one user nor many can exhaust the service. Entries of uids
 * that hold nothing are dropped.
 */

#include "daemon/chvd/quota.h"

#include "dbus/error.h"

static const struct {
        const char *what;
        unsigned per_uid, total;
} limits[] = {
        [CHVD_CHARGE_VM] = { "virtual machines", 1024, 4096 },
        [CHVD_CHARGE_JOB] = { "running jobs", 256, 2048 },
        [CHVD_CHARGE_QUESTION] = { "calls that wait for polkit", 32, 512 },
};

G_STATIC_ASSERT(G_N_ELEMENTS(limits) == CHVD_CHARGE_MAX);

struct ChvdQuota {
        GHashTable *held[CHVD_CHARGE_MAX]; /* uid → count */
        unsigned total[CHVD_CHARGE_MAX];
};

ChvdQuota *chvd_quota_new(void) {
        ChvdQuota *quota = g_new0(ChvdQuota, 1);

        for (unsigned i = 0; i < CHVD_CHARGE_MAX; i++)
                quota->held[i] = g_hash_table_new(NULL, NULL);
        return quota;
}

void chvd_quota_free(ChvdQuota *quota) {
        if (!quota)
                return;
        for (unsigned i = 0; i < CHVD_CHARGE_MAX; i++)
                g_hash_table_unref(quota->held[i]);
        g_free(quota);
}

bool chvd_quota_charge(ChvdQuota *quota, ChvdCharge what, uid_t uid, GError **error) {
        unsigned held = GPOINTER_TO_UINT(
                        g_hash_table_lookup(quota->held[what], GUINT_TO_POINTER(uid)));

        if (held >= limits[what].per_uid) {
                g_set_error(error, CHV_ERROR, CHV_ERROR_LIMIT,
                            "uid %u has %u %s, which is the most one user may have", uid, held,
                            limits[what].what);
                return false;
        }
        if (quota->total[what] >= limits[what].total) {
                g_set_error(error, CHV_ERROR, CHV_ERROR_LIMIT,
                            "there are %u %s, which is the most this service holds",
                            quota->total[what], limits[what].what);
                return false;
        }
        chvd_quota_charge_again(quota, what, uid);
        return true;
}

void chvd_quota_charge_again(ChvdQuota *quota, ChvdCharge what, uid_t uid) {
        unsigned held = GPOINTER_TO_UINT(
                        g_hash_table_lookup(quota->held[what], GUINT_TO_POINTER(uid)));

        (void) g_hash_table_insert(
                        quota->held[what], GUINT_TO_POINTER(uid), GUINT_TO_POINTER(held + 1));
        quota->total[what]++;
}

void chvd_quota_release(ChvdQuota *quota, ChvdCharge what, uid_t uid) {
        unsigned held = GPOINTER_TO_UINT(
                        g_hash_table_lookup(quota->held[what], GUINT_TO_POINTER(uid)));

        g_return_if_fail(held > 0);
        if (held == 1)
                (void) g_hash_table_remove(quota->held[what], GUINT_TO_POINTER(uid));
        else
                (void) g_hash_table_insert(
                                quota->held[what], GUINT_TO_POINTER(uid),
                                GUINT_TO_POINTER(held - 1));
        quota->total[what]--;
}
