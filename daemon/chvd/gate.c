/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The one door between the bus and the handlers. GDBus asks "g-authorize-method" before it dispatches a call; the gate
 * always answers no, which hands it the invocation, asks the authority without blocking, and only then gives the call
 * to the skeleton's own dispatcher. So no handler can forget to ask, and none runs before the answer.
 *
 * Calls of one sender stay in order, because the bus answers in order. While the answer is awaited the object may have
 * gone: then the caller hears NoSuchVM.
 */

#include "daemon/chvd/gate.h"

#include "dbus/error.h"

typedef struct {
        ChvdAuthority *authority;
        ChvdSubjectFunc subject;
        gpointer data;
} Gate;

typedef struct {
        ChvdAuthority *authority;
        GDBusInterfaceSkeleton *skeleton;
} Passage;

static GQuark caller_quark(void) {
        return g_quark_from_static_string("chvd-caller");
}

static void on_checked(GObject *source, GAsyncResult *result, gpointer data) {
        GDBusMethodInvocation *invocation = G_DBUS_METHOD_INVOCATION(source);
        g_autofree Passage *passage = data;
        g_autoptr(GDBusInterfaceSkeleton) skeleton = passage->skeleton;
        GDBusInterfaceVTable *vtable = g_dbus_interface_skeleton_get_vtable(skeleton);
        g_autoptr(GError) error = NULL;
        uid_t caller;

        if (!chvd_authority_check_finish(passage->authority, result, &caller, &error))
                return g_dbus_method_invocation_return_gerror(invocation, error);
        if (!g_dbus_interface_skeleton_get_object_path(skeleton))
                return g_dbus_method_invocation_return_error(
                                invocation, CHV_ERROR, CHV_ERROR_NO_SUCH_VM, "%s is gone",
                                g_dbus_method_invocation_get_object_path(invocation));
        g_object_set_qdata(G_OBJECT(invocation), caller_quark(), GUINT_TO_POINTER(caller));
        vtable->method_call(
                        g_dbus_method_invocation_get_connection(invocation),
                        g_dbus_method_invocation_get_sender(invocation),
                        g_dbus_method_invocation_get_object_path(invocation),
                        g_dbus_method_invocation_get_interface_name(invocation),
                        g_dbus_method_invocation_get_method_name(invocation),
                        g_dbus_method_invocation_get_parameters(invocation), invocation, skeleton);
}

static gboolean
on_authorize(GDBusInterfaceSkeleton *skeleton, GDBusMethodInvocation *invocation, gpointer data) {
        Gate *gate = data;
        Passage *passage = g_new0(Passage, 1);
        ChvdSubject subject = { 0 };

        passage->authority = gate->authority;
        passage->skeleton = g_object_ref(skeleton);
        gate->subject(gate->data, &subject);
        chvd_authority_check_async(gate->authority, invocation, &subject, on_checked, passage);
        return false;
}

static void gate_free(gpointer data, GClosure *closure) {
        g_free(data);
}

void chvd_gate_install(
                GDBusInterfaceSkeleton *skeleton,
                ChvdAuthority *authority,
                ChvdSubjectFunc subject,
                gpointer data) {
        Gate *gate = g_new0(Gate, 1);

        gate->authority = authority;
        gate->subject = subject;
        gate->data = data;
        (void) g_signal_connect_data(
                        skeleton, "g-authorize-method", G_CALLBACK(on_authorize), gate, gate_free,
                        /* connect_flags= */ 0);
}

uid_t chvd_gate_caller(GDBusMethodInvocation *invocation) {
        return GPOINTER_TO_UINT(g_object_get_qdata(G_OBJECT(invocation), caller_quark()));
}
