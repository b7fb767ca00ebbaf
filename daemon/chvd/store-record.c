/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A record as text: a key file, see the table in store.c. The reader trusts nothing: a record is a file that somebody
 * may have edited, or that a failing disk has cut short. Complete= is the last line for that reason, so no beginning
 * of a record is a record. The writer reads its own text back before anybody relies on it.
 */

#include "daemon/chvd/store-record.h"

#include <string.h>

#include "dbus/error.h"

#define GROUP "Definition"
#define VERSION 1

ChvdRecord *chvd_record_copy(const ChvdRecord *record) {
        ChvdRecord *copy = g_memdup2(record, sizeof(*record));

        copy->config = g_variant_ref(record->config);
        copy->given = record->given ? g_variant_ref(record->given) : NULL;
        return copy;
}

void chvd_record_free(ChvdRecord *record) {
        if (!record)
                return;
        g_clear_pointer(&record->config, g_variant_unref);
        g_clear_pointer(&record->given, g_variant_unref);
        g_free(record);
}

static bool broken(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);

static bool broken(GError **error, const char *format, ...) {
        va_list args;

        va_start(args, format);
        if (error)
                *error = g_error_new_valist(CHV_ERROR, CHV_ERROR_INVALID_CONFIG, format, args);
        va_end(args);
        return false;
}

static bool
read_number(GKeyFile *file, const char *key, uint64_t max, uint64_t *ret, GError **error) {
        g_autofree char *text = g_key_file_get_value(file, GROUP, key, /* error= */ NULL);
        guint64 value;

        if (!text)
                return broken(error, "%s= is missing", key);
        if (!g_ascii_string_to_unsigned(text, 10, 0, max, &value, /* error= */ NULL)) {
                g_autofree char *quoted = chv_quote_text(text);

                return broken(error, "%s=%s is not a number up to %" G_GUINT64_FORMAT, key, quoted,
                              max);
        }
        *ret = value;
        return true;
}

static void read_optional_number(
                GKeyFile *file, const char *key, uint64_t max, unsigned *ret, GPtrArray *warnings) {
        g_autoptr(GError) error = NULL;
        uint64_t value = 0;

        if (!g_key_file_has_key(file, GROUP, key, /* error= */ NULL))
                return;
        if (read_number(file, key, max, &value, &error))
                *ret = (unsigned) value;
        else if (warnings)
                g_ptr_array_add(warnings, g_strdup(error->message));
}

/* warnings may be NULL. */
static void warn(GPtrArray *warnings, const char *key, const char *value, const char *what) {
        g_autofree char *quoted = chv_quote_text(value);

        if (warnings)
                g_ptr_array_add(warnings, g_strdup_printf("%s=%s %s", key, quoted, what));
}

static void read_policy(GKeyFile *file, ChvdPolicy *policy, GPtrArray *warnings) {
        g_autofree char *autostart = g_key_file_get_value(file, GROUP, "Autostart", NULL);
        g_autofree char *crash = g_key_file_get_value(file, GROUP, "CrashPolicy", NULL);

        policy->autostart = g_strcmp0(autostart, "true") == 0;
        if (autostart && !policy->autostart && !g_str_equal(autostart, "false"))
                warn(warnings, "Autostart", autostart, "is neither true nor false");
        read_optional_number(file, "AutostartOrder", G_MAXUINT32, &policy->start_order, warnings);
        read_optional_number(
                        file, "AutostartDelay", CHVD_POLICY_MAX_DELAY_S, &policy->start_delay,
                        warnings);
        chvd_shares_read(&policy->shares, file, GROUP, warnings);
        if (crash)
                policy->crash = chvd_crash_from_string(crash);
        if (policy->crash != CHVD_CRASH_INVALID)
                return;
        policy->crash = CHVD_CRASH_DESTROY;
        warn(warnings, "CrashPolicy", crash, "is not known");
}

static GVariant *
read_variant(GKeyFile *file, const char *key, const GVariantType *type, GError **error) {
        g_autofree char *text = g_key_file_get_value(file, GROUP, key, /* error= */ NULL);
        g_autoptr(GError) syntax = NULL;
        GVariant *value;

        if (!text) {
                (void) broken(error, "%s= is missing", key);
                return NULL;
        }
        value = g_variant_parse(type, text, /* limit= */ NULL, /* endptr= */ NULL, &syntax);
        if (!value)
                (void) broken(error, "%s= can't be read: %s", key, syntax->message);
        return value;
}

static bool check_version(GKeyFile *file, GError **error) {
        uint64_t version = 0;

        if (!read_number(file, "Version", G_MAXUINT32, &version, error))
                return false;
        if (version == VERSION)
                return true;
        if (error)
                *error = g_error_new(
                                CHV_ERROR, CHV_ERROR_NOT_SUPPORTED,
                                "Version=%" G_GUINT64_FORMAT " is not known here", version);
        return false;
}

static bool check_complete(GKeyFile *file, GError **error) {
        g_autofree char *complete = g_key_file_get_value(file, GROUP, "Complete", NULL);

        return g_strcmp0(complete, "true") == 0 || broken(error, "it is cut short");
}

ChvdRecord *
chvd_record_from_text(const char *text, size_t size, GPtrArray *warnings, GError **error) {
        g_autoptr(GKeyFile) file = g_key_file_new();
        g_autoptr(GError) syntax = NULL;
        g_autoptr(ChvdRecord) record = g_new0(ChvdRecord, 1);
        uint64_t owner = 0;

        if (size > CHVD_RECORD_MAX_SIZE || !g_utf8_validate(text, (gssize) size, NULL)) {
                (void) broken(error, size > CHVD_RECORD_MAX_SIZE ? "it is larger than 4 MiB"
                                                                 : "it is not text");
                return NULL;
        }
        if (!g_key_file_load_from_data(file, text, size, G_KEY_FILE_NONE, &syntax)) {
                (void) broken(error, "%s", syntax->message);
                return NULL;
        }
        if (!check_version(file, error) || !check_complete(file, error) ||
            !read_number(file, "Owner", G_MAXUINT32 - 1, &owner, error) ||
            !read_number(file, "Created", G_MAXINT64, &record->created, error))
                return NULL;
        record->owner = (uid_t) owner;
        read_policy(file, &record->policy, warnings);
        record->given = read_variant(file, "Given", G_VARIANT_TYPE_STRING_ARRAY, error);
        if (!record->given)
                return NULL;
        record->config = read_variant(file, "Config", G_VARIANT_TYPE_VARDICT, error);
        return record->config ? g_steal_pointer(&record) : NULL;
}

static bool same_policy(const ChvdPolicy *a, const ChvdPolicy *b) {
        return a->autostart == b->autostart && a->start_order == b->start_order &&
               a->start_delay == b->start_delay && a->crash == b->crash &&
               chvd_shares_equal(&a->shares, &b->shares);
}

static bool same(const ChvdRecord *a, const ChvdRecord *b) {
        bool none = !b->given || g_variant_n_children(b->given) == 0;

        return (none ? g_variant_n_children(a->given) == 0 : g_variant_equal(a->given, b->given)) &&
               a->owner == b->owner && a->created == b->created &&
               same_policy(&a->policy, &b->policy) && g_variant_equal(a->config, b->config);
}

char *chvd_record_to_text(const ChvdRecord *record, GError **error) {
        const ChvdPolicy *policy = &record->policy;
        g_autofree char *shares = chvd_shares_to_text(&policy->shares);
        g_autofree char *config = g_variant_print(record->config, /* type_annotate= */ true);
        g_autofree char *given =
                        record->given ? g_variant_print(record->given, /* type_annotate= */ true)
                                      : g_strdup("[]");
        g_autofree char *text =
                        g_strdup_printf("[" GROUP "]\n"
                                        "Version=%d\n"
                                        "Owner=%u\n"
                                        "Created=%" G_GUINT64_FORMAT "\n"
                                        "Autostart=%s\n"
                                        "AutostartOrder=%u\n"
                                        "AutostartDelay=%u\n"
                                        "CrashPolicy=%s\n"
                                        "%s"
                                        "Given=%s\n"
                                        "Config=%s\n"
                                        "Complete=true\n",
                                        VERSION, record->owner, record->created,
                                        policy->autostart ? "true" : "false", policy->start_order,
                                        policy->start_delay, chvd_crash_to_string(policy->crash),
                                        shares, given, config);
        g_autoptr(GError) reason = NULL;
        g_autoptr(ChvdRecord) again =
                        chvd_record_from_text(text, strlen(text), /* warnings= */ NULL, &reason);

        if (again && same(again, record))
                return g_steal_pointer(&text);
        (void) broken(error, "the definition can't be stored: %s",
                      reason ? reason->message : "it would not be read back as it is");
        return NULL;
}
