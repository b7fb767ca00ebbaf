/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves that the table of authority has exactly one row for each method that the introspection data holds (a new
 * method without one fails here), that docs/authority.md has the same methods with the same actions, that the actions
 * are those of the installed polkit policy, and the rule itself for every kind of caller.
 */

#include <string.h>

#include "daemon/chvd/authority.h"
#include "dbus/generated.h"

static GDBusInterfaceInfo *interfaces(unsigned i) {
        GDBusInterfaceInfo *(*const infos[])(void) = {
                chv_manager_interface_info,
                chv_vm_interface_info,
                chv_device_interface_info,
                chv_job_interface_info,
        };

        return i < G_N_ELEMENTS(infos) ? infos[i]() : NULL;
}

static void test_no_method_without_row(void) {
        GDBusInterfaceInfo *interface;
        unsigned methods = 0;

        for (unsigned i = 0; (interface = interfaces(i)); i++)
                for (GDBusMethodInfo **method = interface->methods; method && *method; method++) {
                        methods++;
                        if (!chvd_authority_row(interface->name, (*method)->name))
                                g_error("%s.%s has no row", interface->name, (*method)->name);
                }
        g_assert_cmpuint(methods, >, 15);
}

/* The row of the documented table, without blanks: "|VM|Start|vm-operate|". */
static char *documented(const char *interface, const char *method, const char *action) {
        return g_strdup_printf(
                        "\n|%s|%s|%s|", strrchr(interface, '.') + 1, method,
                        action ? strrchr(action, '.') + 1 : "–");
}

static void test_is_documented(void) {
        g_autofree char *text = NULL;
        g_auto(GStrv) words = NULL;
        GDBusInterfaceInfo *interface;
        unsigned methods = 0, rows = 0;

        g_assert_true(g_file_get_contents(g_getenv("CHV_AUTHORITY_TABLE"), &text, NULL, NULL));
        words = g_strsplit(text, " ", -1);
        g_free(text);
        text = g_strjoinv("", words);
        for (unsigned i = 0; (interface = interfaces(i)); i++)
                for (GDBusMethodInfo **method = interface->methods; method && *method; method++) {
                        const ChvdAuthorityRow *row =
                                        chvd_authority_row(interface->name, (*method)->name);
                        g_autofree char *line =
                                        documented(interface->name, row->method, row->action);

                        methods++;
                        if (!strstr(text, line))
                                g_error("docs/authority.md has no row %s", line);
                }
        for (const char *p = text; (p = strstr(p, "|yes|\n")); p++)
                rows++;
        g_assert_cmpuint(rows, ==, methods);
}

static void test_no_writable_property(void) {
        GDBusInterfaceInfo *interface;

        for (unsigned i = 0; (interface = interfaces(i)); i++)
                for (GDBusPropertyInfo **p = interface->properties; p && *p; p++)
                        g_assert_false((*p)->flags & G_DBUS_PROPERTY_INFO_FLAGS_WRITABLE);
}

static void test_unknown_is_refused(void) {
        const ChvdSubject own = { .vm = "a", .owned = true, .owner = 1000 };

        g_assert_null(chvd_authority_row("org.cloudhypervisor.VM", "Explode"));
        g_assert_null(chvd_authority_row("org.cloudhypervisor.Vmm", "Boot"));
        g_assert_false(chvd_authority_permits(false, 0, 0, NULL, &own));
        g_assert_false(chvd_authority_permits(true, 1000, 1000, NULL, &own));
}

static void test_actions_are_installed(void) {
        g_autofree char *policy = NULL;
        g_autoptr(GHashTable) used = g_hash_table_new(g_str_hash, g_str_equal);
        GDBusInterfaceInfo *interface;
        unsigned installed = 0;

        g_assert_true(g_file_get_contents(g_getenv("CHV_POLKIT_POLICY"), &policy, NULL, NULL));
        for (unsigned i = 0; (interface = interfaces(i)); i++)
                for (GDBusMethodInfo **method = interface->methods; method && *method; method++) {
                        const ChvdAuthorityRow *row =
                                        chvd_authority_row(interface->name, (*method)->name);
                        g_autofree char *id = NULL;

                        if (!row->action)
                                continue;
                        g_hash_table_add(used, (gpointer) row->action);
                        id = g_strdup_printf("<action id=\"%s\">", row->action);
                        if (!strstr(policy, id))
                                g_error("%s is not in the policy", row->action);
                }
        g_assert_nonnull(strstr(policy, "<action id=\"" CHVD_ACTION_HOST_ACCESS "\">"));
        for (const char *p = policy; (p = strstr(p, "<action id=")); p++)
                installed++;
        /* Each of them decides something. */
        g_assert_cmpuint(installed, ==, g_hash_table_size(used) + 1);
}

static void test_rule(void) {
        const ChvdAuthorityRow *open = chvd_authority_row("org.cloudhypervisor.Manager", "ListVMs");
        const ChvdAuthorityRow *create =
                        chvd_authority_row("org.cloudhypervisor.Manager", "CreateVM");
        const ChvdAuthorityRow *start = chvd_authority_row("org.cloudhypervisor.VM", "Start");
        const ChvdSubject none = { 0 }, owned = { .vm = "a", .owned = true, .owner = 1000 };
        const struct {
                bool session;
                uid_t self, caller;
                const ChvdAuthorityRow *row;
                const ChvdSubject *subject;
                bool permitted;
        } cases[] = {
                { false, 0, 0, create, &none, true },
                { false, 0, 1000, create, &none, false },
                { false, 0, 1000, open, &none, true },
                { false, 0, 0, start, &owned, true },
                { false, 0, 1000, start, &owned, true },
                { false, 0, 1001, start, &owned, false },
                /* No owner is not owner 0. */
                { false, 0, 1001, start, &none, false },
                { true, 1000, 1000, create, &none, true },
                { true, 1000, 1000, start, &owned, true },
                { true, 1000, 1001, open, &none, false },
                { true, 1000, 0, start, &owned, false },
        };

        for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++)
                g_assert_true(chvd_authority_permits(
                                              cases[i].session, cases[i].self, cases[i].caller,
                                              cases[i].row,
                                              cases[i].subject) == cases[i].permitted);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/authority/unknown-is-refused", test_unknown_is_refused);
        g_test_add_func("/authority/no-method-without-row", test_no_method_without_row);
        g_test_add_func("/authority/is-documented", test_is_documented);
        g_test_add_func("/authority/no-writable-property", test_no_writable_property);
        g_test_add_func("/authority/actions-are-installed", test_actions_are_installed);
        g_test_add_func("/authority/rule", test_rule);
        return g_test_run();
}
