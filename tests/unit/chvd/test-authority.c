/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves that the table of authority has exactly one row for each method that the introspection data holds (a new
 * method without one fails here), that its actions are those of the installed polkit policy, and the rule itself for
 * every kind of caller.
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
        GDBusInterfaceInfo *interface;

        g_assert_true(g_file_get_contents(g_getenv("CHV_POLKIT_POLICY"), &policy, NULL, NULL));
        for (unsigned i = 0; (interface = interfaces(i)); i++)
                for (GDBusMethodInfo **method = interface->methods; method && *method; method++) {
                        const ChvdAuthorityRow *row =
                                        chvd_authority_row(interface->name, (*method)->name);
                        g_autofree char *id = NULL;

                        if (!row->action)
                                continue;
                        id = g_strdup_printf("<action id=\"%s\">", row->action);
                        if (!strstr(policy, id))
                                g_error("%s is not in the policy", row->action);
                }
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
        g_test_add_func("/authority/no-writable-property", test_no_writable_property);
        g_test_add_func("/authority/actions-are-installed", test_actions_are_installed);
        g_test_add_func("/authority/rule", test_rule);
        return g_test_run();
}
