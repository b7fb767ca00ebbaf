/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What a client can make grow is charged to its uid before it is built and released when it is gone. A uid has a
 * share, and all together have a bound, so that neither one user nor many can exhaust the service. Entries of uids
 * that hold nothing are dropped. The administrator may change the limits at any time; they are held against what is
 * charged from then on.
 */

#include "daemon/chvd/quota.h"

#include <inttypes.h>
#include <string.h>

#include "dbus/error.h"

static const struct {
        const char *what;
        const char *key; /* in chvd.conf */
        bool is_size;
        ChvdLimit limit; /* when nobody sets another */
} kinds[] = {
        [CHVD_CHARGE_VM] = { "virtual machines", "MaxVMs", false, { 1024, 4096 } },
        [CHVD_CHARGE_VCPU] = { "vCPUs of running virtual machines",
                               "MaxVCPUs",
                               false,
                               { CHVD_NO_LIMIT, CHVD_NO_LIMIT } },
        [CHVD_CHARGE_MEMORY] = { "memory of running virtual machines",
                                 "MaxMemory",
                                 true,
                                 { CHVD_NO_LIMIT, CHVD_NO_LIMIT } },
        [CHVD_CHARGE_DISK] = { "disks of running virtual machines",
                               "MaxDisks",
                               false,
                               { CHVD_NO_LIMIT, CHVD_NO_LIMIT } },
        [CHVD_CHARGE_JOB] = { "running jobs", "MaxJobs", false, { 256, 2048 } },
        [CHVD_CHARGE_QUESTION] = { "calls that wait for polkit", NULL, false, { 32, 512 } },
};

G_STATIC_ASSERT(G_N_ELEMENTS(kinds) == CHVD_CHARGE_MAX);

typedef struct {
        uint64_t n[CHVD_CHARGE_MAX];
} Account;

struct ChvdQuota {
        ChvdLimit limits[CHVD_CHARGE_MAX];
        bool exempts_root;
        GHashTable *accounts; /* uid → Account */
        Account total;
};

ChvdQuota *chvd_quota_new(void) {
        ChvdQuota *quota = g_new0(ChvdQuota, 1);

        chvd_quota_default_limits(quota->limits);
        quota->accounts = g_hash_table_new_full(NULL, NULL, NULL, g_free);
        return quota;
}

void chvd_quota_free(ChvdQuota *quota) {
        if (!quota)
                return;
        g_hash_table_unref(quota->accounts);
        g_free(quota);
}

const char *chvd_quota_key(ChvdCharge what) {
        return kinds[what].key;
}

bool chvd_quota_is_size(ChvdCharge what) {
        return kinds[what].is_size;
}

void chvd_quota_default_limits(ChvdLimit limits[static CHVD_CHARGE_MAX]) {
        for (unsigned i = 0; i < CHVD_CHARGE_MAX; i++)
                limits[i] = kinds[i].limit;
}

void chvd_quota_set_limits(ChvdQuota *quota, const ChvdLimit limits[static CHVD_CHARGE_MAX]) {
        memcpy(quota->limits, limits, sizeof(quota->limits));
}

void chvd_quota_exempt_root(ChvdQuota *quota) {
        quota->exempts_root = true;
}

/* As chvd.conf would have it. */
static char *format(ChvdCharge what, uint64_t n) {
        static const char suffixes[] = "KMGT";
        unsigned suffix = 0;

        if (!kinds[what].is_size || n == 0 || n % 1024 != 0)
                return g_strdup_printf("%" PRIu64 "%s", n, kinds[what].is_size ? "B" : "");
        for (n /= 1024; n % 1024 == 0 && suffixes[suffix + 1]; suffix++)
                n /= 1024;
        return g_strdup_printf("%" PRIu64 "%c", n, suffixes[suffix]);
}

static bool exceeds(uint64_t held, uint64_t n, uint64_t limit) {
        return n > limit || held > limit - n;
}

/* who: whose amount held is, "uid 1000 has" */
static bool
refuse(ChvdCharge what,
       const char *who,
       uint64_t held,
       uint64_t n,
       bool total,
       uint64_t limit,
       GError **error) {
        g_autofree char *has = format(what, held), *wants = format(what, n),
                        *most = format(what, limit);

        if (kinds[what].key)
                g_set_error(error, CHV_ERROR, CHV_ERROR_LIMIT,
                            "%s %s %s; %s more would exceed the limit %s%s=%s", who, has,
                            kinds[what].what, wants, kinds[what].key, total ? "Total" : "", most);
        else
                g_set_error(error, CHV_ERROR, CHV_ERROR_LIMIT,
                            "%s %s %s, and no more than %s are allowed", who, has, kinds[what].what,
                            most);
        return false;
}

bool chvd_quota_charge_n(ChvdQuota *quota, ChvdCharge what, uid_t uid, uint64_t n, GError **error) {
        const Account *account = g_hash_table_lookup(quota->accounts, GUINT_TO_POINTER(uid));
        uint64_t held = account ? account->n[what] : 0, all = quota->total.n[what];
        const ChvdLimit *limit = &quota->limits[what];
        bool exempt = quota->exempts_root && uid == 0 && kinds[what].key;

        /* What needs nothing is no fault of what is held, even if that is too much. */
        if (n == 0)
                return true;
        if (!exempt && exceeds(held, n, limit->owner)) {
                g_autofree char *who = g_strdup_printf("uid %u has", uid);

                return refuse(what, who, held, n, /* total= */ false, limit->owner, error);
        }
        if (exceeds(all, n, limit->total))
                return refuse(what, "all users together have", all, n, /* total= */ true,
                              limit->total, error);
        chvd_quota_charge_n_again(quota, what, uid, n);
        return true;
}

void chvd_quota_charge_n_again(ChvdQuota *quota, ChvdCharge what, uid_t uid, uint64_t n) {
        Account *account = g_hash_table_lookup(quota->accounts, GUINT_TO_POINTER(uid));

        if (n == 0)
                return;
        if (!account) {
                account = g_new0(Account, 1);
                (void) g_hash_table_insert(quota->accounts, GUINT_TO_POINTER(uid), account);
        }
        account->n[what] += n;
        quota->total.n[what] += n;
}

void chvd_quota_release_n(ChvdQuota *quota, ChvdCharge what, uid_t uid, uint64_t n) {
        static const Account nothing = { 0 };
        Account *account = g_hash_table_lookup(quota->accounts, GUINT_TO_POINTER(uid));

        if (n == 0)
                return;
        g_return_if_fail(account && account->n[what] >= n);
        account->n[what] -= n;
        quota->total.n[what] -= n;
        if (memcmp(account, &nothing, sizeof(nothing)) == 0)
                (void) g_hash_table_remove(quota->accounts, GUINT_TO_POINTER(uid));
}

bool chvd_quota_charge(ChvdQuota *quota, ChvdCharge what, uid_t uid, GError **error) {
        return chvd_quota_charge_n(quota, what, uid, 1, error);
}

void chvd_quota_charge_again(ChvdQuota *quota, ChvdCharge what, uid_t uid) {
        chvd_quota_charge_n_again(quota, what, uid, 1);
}

void chvd_quota_release(ChvdQuota *quota, ChvdCharge what, uid_t uid) {
        chvd_quota_release_n(quota, what, uid, 1);
}
