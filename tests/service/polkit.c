/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The stand-in for polkit: the two methods that its library calls, answers as a test wants them, and a record of what
 * was asked.
 */

#include "tests/service/polkit.h"

#include <string.h>

static const char introspection[] =
                "<node><interface name='org.freedesktop.PolicyKit1.Authority'>"
                "<method name='CheckAuthorization'>"
                "<arg type='(sa{sv})' direction='in'/><arg type='s' direction='in'/>"
                "<arg type='a{ss}' direction='in'/><arg type='u' direction='in'/>"
                "<arg type='s' direction='in'/><arg type='(bba{ss})' direction='out'/></method>"
                "<method name='CancelCheckAuthorization'><arg type='s' direction='in'/></method>"
                "<signal name='Changed'/></interface></node>";

static int compare_strings(gconstpointer a, gconstpointer b) {
        return strcmp(*(const char *const *) a, *(const char *const *) b);
}

static void record(Polkit *polkit, const char *action, GVariant *details, unsigned flags) {
        g_autoptr(GPtrArray) words = g_ptr_array_new_with_free_func(g_free);
        g_autofree char *joined = NULL;
        const char *key, *value;
        GVariantIter iter;

        g_variant_iter_init(&iter, details);
        while (g_variant_iter_next(&iter, "{&s&s}", &key, &value))
                g_ptr_array_add(words, g_strdup_printf("%s=%s", key, value));
        g_ptr_array_sort(words, compare_strings);
        g_ptr_array_add(words, NULL);
        joined = g_strjoinv(" ", (char **) words->pdata);
        g_ptr_array_add(polkit->asked,
                        g_strdup_printf("%s interactive=%u %s", action, flags & 1, joined));
}

static void answer(Polkit *polkit, GDBusMethodInvocation *invocation, bool yes, unsigned flags) {
        g_auto(GVariantBuilder) details = G_VARIANT_BUILDER_INIT(G_VARIANT_TYPE("a{ss}"));
        bool challenge = false;

        switch (yes ? polkit->answer : POLKIT_DENIES) {
        case POLKIT_DENIES:
                yes = false;
                break;
        case POLKIT_ALLOWS:
                break;
        case POLKIT_ASKS:
                yes = flags & 1;
                challenge = !yes;
                break;
        case POLKIT_HAS_NO_AGENT:
                yes = false;
                challenge = true;
                break;
        case POLKIT_IS_DISMISSED:
                yes = false;
                challenge = true;
                g_variant_builder_add(&details, "{ss}", "polkit.dismissed", "true");
                break;
        case POLKIT_FAILS:
                return g_dbus_method_invocation_return_dbus_error(
                                invocation, "org.freedesktop.PolicyKit1.Error.Failed",
                                "the rules are on fire");
        case POLKIT_HANGS:
                return g_ptr_array_add(polkit->held, invocation);
        }
        g_dbus_method_invocation_return_value(
                        invocation, g_variant_new("((bba{ss}))", yes, challenge, &details));
}

static void
on_call(GDBusConnection *bus,
        const char *sender,
        const char *path,
        const char *interface,
        const char *method,
        GVariant *parameters,
        GDBusMethodInvocation *invocation,
        gpointer data) {
        g_autoptr(GVariant) subject = NULL, details = NULL;
        const char *kind, *action;
        Polkit *polkit = data;
        unsigned flags;

        if (g_str_equal(method, "CancelCheckAuthorization")) {
                polkit->cancelled++;
                return g_dbus_method_invocation_return_value(invocation, NULL);
        }
        g_variant_get(parameters, "((&s@a{sv})&s@a{ss}u&s)", &kind, &subject, &action, &details,
                      &flags, NULL);
        g_assert_cmpstr(kind, ==, "system-bus-name");
        g_free(polkit->subject);
        g_assert_true(g_variant_lookup(subject, "name", "s", &polkit->subject));
        record(polkit, action, details, flags);
        answer(polkit, invocation, !polkit->only || g_str_equal(polkit->only, action), flags);
}

Polkit *polkit_start(Service *service, PolkitAnswer how) {
        static const GDBusInterfaceVTable vtable = { .method_call = on_call };
        g_autoptr(GDBusNodeInfo) info = g_dbus_node_info_new_for_xml(introspection, NULL);
        Polkit *polkit = g_new0(Polkit, 1);
        g_autoptr(GVariant) reply = NULL;
        g_autoptr(GError) error = NULL;

        polkit->bus = service_connect(service);
        polkit->answer = how;
        polkit->held = g_ptr_array_new();
        polkit->asked = g_ptr_array_new_with_free_func(g_free);
        polkit->object = g_dbus_connection_register_object(
                        polkit->bus, "/org/freedesktop/PolicyKit1/Authority", info->interfaces[0],
                        &vtable, polkit, NULL, &error);
        g_assert_no_error(error);
        reply = g_dbus_connection_call_sync(
                        polkit->bus, "org.freedesktop.DBus", "/org/freedesktop/DBus",
                        "org.freedesktop.DBus", "RequestName",
                        g_variant_new("(su)", "org.freedesktop.PolicyKit1", 0), NULL,
                        G_DBUS_CALL_FLAGS_NONE, -1, NULL, &error);
        g_assert_no_error(error);
        return polkit;
}

void polkit_stop(Polkit *polkit) {
        if (!polkit)
                return;
        (void) g_dbus_connection_unregister_object(polkit->bus, polkit->object);
        (void) g_dbus_connection_close_sync(polkit->bus, NULL, NULL);
        g_object_unref(polkit->bus);
        g_ptr_array_set_free_func(polkit->held, g_object_unref);
        g_ptr_array_unref(polkit->held);
        g_ptr_array_unref(polkit->asked);
        g_free(polkit->subject);
        g_free(polkit);
}

char *polkit_take_asked(Polkit *polkit) {
        char *text;

        g_ptr_array_add(polkit->asked, NULL);
        text = g_strjoinv("\n", (char **) polkit->asked->pdata);
        g_ptr_array_set_size(polkit->asked, 0);
        return text;
}

void polkit_release(Polkit *polkit, PolkitAnswer how) {
        polkit->answer = how;
        for (unsigned i = 0; i < polkit->held->len; i++)
                answer(polkit, g_ptr_array_index(polkit->held, i), true, 0);
        g_ptr_array_set_size(polkit->held, 0);
}
