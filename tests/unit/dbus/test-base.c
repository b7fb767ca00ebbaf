/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves that errors keep their code across the bus, that the tables of states and verbs are whole and agree with
 * the life of a VM as documented, and that no name gets through that could hurt as a file, unit or object name.
 */

#include "dbus/config.h"
#include "dbus/error.h"
#include "dbus/state.h"

static void test_errors_cross_the_bus(void) {
        for (int code = 0; code < CHV_ERROR_MAX; code++) {
                g_autoptr(GError) error = g_error_new(CHV_ERROR, code, "the reason");
                g_autofree char *name = g_dbus_error_encode_gerror(error);
                g_autoptr(GError) back = NULL;

                g_assert_true(g_str_has_prefix(
                                name, code == CHV_ERROR_NEEDS_INTERACTION
                                                      ? "org.freedesktop.DBus.Error.Interactive"
                                                      : "org.cloudhypervisor.Error."));
                back = g_dbus_error_new_for_dbus_error(name, "the reason");
                g_assert_error(back, CHV_ERROR, code);
                g_assert_true(g_dbus_error_strip_remote_error(back));
                g_assert_cmpstr(back->message, ==, "the reason");
        }
}

static void test_state_names(void) {
        g_assert_cmpint(chv_vm_state_from_string(NULL), ==, CHV_VM_STATE_INVALID);
        g_assert_cmpint(chv_vm_state_from_string(""), ==, CHV_VM_STATE_INVALID);
        g_assert_cmpint(chv_vm_state_from_string("Running"), ==, CHV_VM_STATE_INVALID);
        g_assert_null(chv_vm_state_to_string(CHV_VM_STATE_INVALID));
        g_assert_null(chv_vm_state_to_string(CHV_VM_STATE_MAX));
        g_assert_null(chv_vm_verb_to_string(CHV_VM_VERB_INVALID));
        g_assert_null(chv_vm_verb_to_string(CHV_VM_VERB_MAX));

        for (int s = 0; s < CHV_VM_STATE_MAX; s++) {
                const char *name = chv_vm_state_to_string(s);

                g_assert_nonnull(name);
                g_assert_cmpint(chv_vm_state_from_string(name), ==, s);
        }
        for (int v = 0; v < CHV_VM_VERB_MAX; v++) {
                g_assert_nonnull(chv_vm_verb_to_string(v));
                for (int w = 0; w < v; w++)
                        g_assert_cmpstr(chv_vm_verb_to_string(v), !=, chv_vm_verb_to_string(w));
        }
}

/* Every pair of states, spelled out a second time on purpose. */
static void test_transitions(void) {
        static const char *const may[CHV_VM_STATE_MAX][CHV_VM_STATE_MAX] = {
                [CHV_VM_STATE_CREATED] = { "starting" },
                [CHV_VM_STATE_STARTING] = { "created", "running", "paused", "stopping", "shutdown",
                                            "failed" },
                [CHV_VM_STATE_RUNNING] = { "paused", "stopping", "shutdown", "failed" },
                [CHV_VM_STATE_PAUSED] = { "running", "stopping", "shutdown", "failed" },
                [CHV_VM_STATE_STOPPING] = { "starting", "shutdown", "failed" },
                [CHV_VM_STATE_SHUTDOWN] = { "starting" },
                [CHV_VM_STATE_FAILED] = { "starting", "stopping", "shutdown" },
        };

        for (int from = 0; from < CHV_VM_STATE_MAX; from++) {
                for (int to = 0; to < CHV_VM_STATE_MAX; to++) {
                        bool expected = false;

                        for (int i = 0; i < CHV_VM_STATE_MAX && may[from][i]; i++)
                                expected |= chv_vm_state_from_string(may[from][i]) ==
                                            (ChvVmState) to;
                        g_assert_cmpint(chv_vm_state_may_follow(from, to), ==, expected);
                }
                g_assert_false(chv_vm_state_may_follow(from, CHV_VM_STATE_MAX));
                g_assert_false(chv_vm_state_may_follow(CHV_VM_STATE_INVALID, from));
        }
}

/* What a verb leads to must be a transition of the table; a state with no way out would strand the VM. */
static void test_verbs_agree_with_states(void) {
        static const struct {
                ChvVmVerb verb;
                ChvVmState to;
        } moves[] = {
                { CHV_VM_VERB_START, CHV_VM_STATE_STARTING },
                { CHV_VM_VERB_POWER_OFF, CHV_VM_STATE_STOPPING },
                { CHV_VM_VERB_REBOOT, CHV_VM_STATE_STOPPING },
                { CHV_VM_VERB_PAUSE, CHV_VM_STATE_PAUSED },
                { CHV_VM_VERB_RESUME, CHV_VM_STATE_RUNNING },
        };

        for (int s = 0; s < CHV_VM_STATE_MAX; s++) {
                bool out = false;

                for (size_t i = 0; i < G_N_ELEMENTS(moves); i++)
                        if (chv_vm_verb_allowed(moves[i].verb, s))
                                g_assert_true(chv_vm_state_may_follow(s, moves[i].to));
                for (int to = 0; to < CHV_VM_STATE_MAX; to++)
                        out |= chv_vm_state_may_follow(s, to);
                g_assert_true(out);
                g_assert_false(chv_vm_verb_allowed(CHV_VM_VERB_INVALID, s));
                g_assert_false(chv_vm_verb_allowed(CHV_VM_VERB_MAX, s));
        }
        g_assert_false(chv_vm_verb_allowed(CHV_VM_VERB_START, CHV_VM_STATE_INVALID));
        g_assert_false(chv_vm_verb_allowed(CHV_VM_VERB_DELETE, CHV_VM_STATE_RUNNING));
        g_assert_true(chv_vm_verb_allowed(CHV_VM_VERB_DELETE, CHV_VM_STATE_FAILED));
        g_assert_false(chv_vm_verb_allowed(CHV_VM_VERB_SHUTDOWN, CHV_VM_STATE_PAUSED));
}

static void test_names(void) {
        static const char *const bad[] = { "",    ".",  "..",  ".x", "-x",   "_x",  "a/b", "a b",
                                           "a\n", "a%", "a@b", "ä",  "a\"b", "a;b", "a\\b" };
        static const char *const good[] = { "a", "9", "vm-1", "web.example.org", "A_b" };
        g_autofree char *longest = g_strnfill(64, 'a');
        g_autofree char *too_long = g_strnfill(65, 'a');
        g_autofree char *absurd = g_strnfill(100000, '\n');

        for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
                g_autoptr(GError) error = NULL;

                g_assert_false(chv_name_valid(bad[i], &error));
                g_assert_error(error, CHV_ERROR, CHV_ERROR_INVALID_CONFIG);
        }
        g_assert_false(chv_name_valid(NULL, NULL));
        g_assert_false(chv_name_valid(too_long, NULL));
        {
                g_autoptr(GError) error = NULL;

                g_assert_false(chv_name_valid(absurd, &error));
                g_assert_cmpuint(strlen(error->message), <, 200);
        }
        for (size_t i = 0; i < G_N_ELEMENTS(good); i++)
                g_assert_true(chv_name_valid(good[i], NULL));
        g_assert_true(chv_name_valid(longest, NULL));
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/dbus/name", test_names);
        g_test_add_func("/dbus/state/names", test_state_names);
        g_test_add_func("/dbus/state/transitions", test_transitions);
        g_test_add_func("/dbus/state/verbs", test_verbs_agree_with_states);
        g_test_add_func("/dbus/error/cross-the-bus", test_errors_cross_the_bus);
        return g_test_run();
}
