/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves what the journal is told: texts of hostile origin are made harmless, refusals can't flood it, each event is the
 * kind of message that it should be, with its fields, and each kind is known to the catalog and to the manual.
 */

#include <string.h>

#include "daemon/chvd/log.h"

static GPtrArray *messages; /* GHashTable: field → value */

static GLogWriterOutput
writer(GLogLevelFlags level, const GLogField *fields, gsize n, gpointer data) {
        GHashTable *message = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);

        for (gsize i = 0; i < n; i++) {
                g_assert_cmpint(fields[i].length, ==, -1);
                g_assert_true(g_hash_table_insert(
                                message, g_strdup(fields[i].key), g_strdup(fields[i].value)));
        }
        g_ptr_array_add(messages, message);
        return G_LOG_WRITER_HANDLED;
}

static const char *field(unsigned i, const char *name) {
        g_assert_cmpuint(i, <, messages->len);
        return g_hash_table_lookup(g_ptr_array_index(messages, i), name);
}

static void forget(void) {
        g_ptr_array_set_size(messages, 0);
}

static void tell(const char *event, const char *properties) {
        g_autoptr(GVariant) dict =
                        g_variant_parse(G_VARIANT_TYPE("a{sv}"), properties, NULL, NULL, NULL);

        g_assert_nonnull(dict);
        forget();
        chvd_log_event("web1", "a-uuid", event, dict);
}

static void test_hostile(void) {
        g_autofree char *large = g_strnfill(1024 * 1024, 'x');

        forget();
        chvd_log(CHVD_LOG_STOPPED, "web1", NULL, "%s", "a\nMESSAGE=b\r\x1b[2J\x7f\xff\xfe");
        g_assert_cmpstr(field(0, "MESSAGE"), ==, "a?MESSAGE=b??[2J?\xef\xbf\xbd\xef\xbf\xbd");
        chvd_log(CHVD_LOG_STOPPED, "web1", NULL, "%s", large);
        g_assert_cmpuint(strlen(field(1, "MESSAGE")), ==, 1024);
        /* Events that a worker makes up, or properties of wrong types. */
        tell("stopped", "{'state': <7>, 'reason': <@as []>}");
        g_assert_cmpstr(field(0, "MESSAGE"), ==, "VM 'web1' has stopped");
        tell("restarting", "{}");
        tell("renamed", "{}");
        g_assert_cmpuint(messages->len, ==, 1);
        tell("booted", "{'reason': <'no'>}");
        tell("", "{}");
        g_assert_cmpuint(messages->len, ==, 0);
}

static void test_events(void) {
        static const struct {
                const char *event, *properties;
                ChvdLogKind kind;
                const char *priority, *text;
        } cases[] = {
                { "created", "{}", CHVD_LOG_CREATED, "5", "VM 'web1' was created" },
                { "deleted", "{'name': <'web1'>}", CHVD_LOG_DELETED, "5", "VM 'web1' was deleted" },
                { "renamed", "{'to': <'web2'>}", CHVD_LOG_RENAMED, "5",
                  "VM 'web1' is now called 'web2'" },
                { "started", "{}", CHVD_LOG_STARTED, "5", "VM 'web1' has started" },
                { "stopped", "{'state': <'shutdown'>, 'reason': <''>}", CHVD_LOG_STOPPED, "5",
                  "VM 'web1' has stopped" },
                { "stopped", "{'state': <'shutdown'>, 'reason': <'powered off'>}", CHVD_LOG_STOPPED,
                  "5", "VM 'web1' has stopped: powered off" },
                { "stopped", "{'state': <'failed'>, 'reason': <'killed'>}", CHVD_LOG_FAILED, "4",
                  "VM 'web1' has failed: killed" },
                { "start-failed", "{'reason': <'no disk'>}", CHVD_LOG_START_FAILED, "4",
                  "VM 'web1' was not started: no disk" },
                { "restarting", "{'delay': <uint32 8>}", CHVD_LOG_RESTARTING, "5",
                  "VM 'web1' is started again in 8 s" },
        };

        for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
                tell(cases[i].event, cases[i].properties);
                g_assert_cmpuint(messages->len, ==, 1);
                g_assert_cmpstr(field(0, "MESSAGE"), ==, cases[i].text);
                g_assert_cmpstr(field(0, "MESSAGE_ID"), ==, chvd_log_id(cases[i].kind));
                g_assert_cmpstr(field(0, "PRIORITY"), ==, cases[i].priority);
                g_assert_cmpstr(field(0, "CHV_VM"), ==, "web1");
                g_assert_cmpstr(field(0, "CHV_VM_UUID"), ==, "a-uuid");
        }
        forget();
        chvd_log(CHVD_LOG_RELOADED, NULL, NULL, "read");
        g_assert_null(field(0, "CHV_VM"));
        g_assert_null(field(0, "CHV_VM_UUID"));
}

static void test_denied(void) {
        forget();
        for (unsigned i = 0; i < 100000; i++)
                chvd_log_denied(i % 2 ? "web1" : NULL, 1000, "I.Start", "an.action", "no\n");
        g_assert_cmpuint(messages->len, >=, 10);
        /* However slow this machine is, most of them are not told. */
        g_assert_cmpuint(messages->len, <, 50000);
        g_assert_cmpstr(field(0, "MESSAGE"), ==, "no?");
        g_assert_cmpstr(field(1, "MESSAGE_ID"), ==, chvd_log_id(CHVD_LOG_DENIED));
        g_assert_cmpstr(field(1, "CHV_VM"), ==, "web1");
        g_assert_cmpstr(field(1, "CHV_CALLER_UID"), ==, "1000");
        g_assert_cmpstr(field(1, "CHV_METHOD"), ==, "I.Start");
        g_assert_cmpstr(field(1, "CHV_ACTION"), ==, "an.action");
}

static unsigned occurrences(const char *text, const char *what) {
        unsigned n = 0;

        for (const char *p = text; (p = strstr(p, what)); p++)
                n++;
        return n;
}

static void test_is_documented(void) {
        g_autofree char *catalog = NULL, *manual = NULL;

        g_assert_true(g_file_get_contents(g_getenv("CHV_CATALOG"), &catalog, NULL, NULL));
        g_assert_true(g_file_get_contents(g_getenv("CHV_MANUAL"), &manual, NULL, NULL));
        g_assert_cmpuint(occurrences(catalog, "\n-- "), ==, CHVD_LOG_MAX);
        g_assert_cmpuint(occurrences(catalog, "\nSubject: "), ==, CHVD_LOG_MAX);
        for (unsigned i = 0; i < CHVD_LOG_MAX; i++) {
                g_autofree char *heading = g_strdup_printf("\n-- %s\nSubject: ", chvd_log_id(i));

                g_assert_cmpuint(strlen(chvd_log_id(i)), ==, 32);
                g_assert_cmpuint(occurrences(catalog, heading), ==, 1);
                g_assert_cmpuint(occurrences(manual, chvd_log_id(i)), ==, 1);
        }
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        messages = g_ptr_array_new_with_free_func((GDestroyNotify) g_hash_table_unref);
        g_log_set_writer_func(writer, NULL, NULL);
        g_test_add_func("/log/hostile", test_hostile);
        g_test_add_func("/log/events", test_events);
        g_test_add_func("/log/denied", test_denied);
        g_test_add_func("/log/is-documented", test_is_documented);
        return g_test_run();
}
