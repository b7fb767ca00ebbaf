/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The one door between the bus and the handlers. Every skeleton of the service is of a type derived from the generated
 * one, whose dispatcher asks the authority without blocking and only then hands the call on to the generated
 * dispatcher. So no handler can forget to ask, and none runs before the answer. (GDBus' own "g-authorize-method" is no
 * such door: it is emitted in a thread for each call, where the state of VMs may not be read and calls lose their
 * order.)
 *
 * Calls of one sender stay in order, because the bus answers in order; only a call that polkit is asked about may be
 * overtaken, as a person may have to type a password for it. While the answer is awaited the object may have gone: then
 * the caller hears NoSuchVM, even when there is a new one of that name, which nobody was asked about.
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

static GQuark gate_quark(void) {
        return g_quark_from_static_string("chvd-gate");
}

static GQuark caller_quark(void) {
        return g_quark_from_static_string("chvd-caller");
}

static const GDBusInterfaceVTable *generated(gpointer skeleton) {
        GDBusInterfaceSkeletonClass *parent =
                        g_type_class_peek_parent(G_DBUS_INTERFACE_SKELETON_GET_CLASS(skeleton));

        return parent->get_vtable(skeleton);
}

static void on_checked(GObject *source, GAsyncResult *result, gpointer data) {
        GDBusMethodInvocation *invocation = G_DBUS_METHOD_INVOCATION(source);
        g_autofree Passage *passage = data;
        g_autoptr(GDBusInterfaceSkeleton) skeleton = passage->skeleton;
        const char *path = g_dbus_method_invocation_get_object_path(invocation);
        g_autoptr(GError) error = NULL;
        uid_t caller;

        if (!chvd_authority_check_finish(passage->authority, result, &caller, &error))
                return g_dbus_method_invocation_return_gerror(invocation, error);
        if (!g_dbus_interface_skeleton_get_object_path(skeleton))
                return g_dbus_method_invocation_return_error(
                                invocation, CHV_ERROR, CHV_ERROR_NO_SUCH_VM, "%s is gone", path);
        g_object_set_qdata(G_OBJECT(invocation), caller_quark(), GUINT_TO_POINTER(caller));
        generated(skeleton)->method_call(
                        g_dbus_method_invocation_get_connection(invocation),
                        g_dbus_method_invocation_get_sender(invocation), path,
                        g_dbus_method_invocation_get_interface_name(invocation),
                        g_dbus_method_invocation_get_method_name(invocation),
                        g_dbus_method_invocation_get_parameters(invocation), invocation, skeleton);
}

static void
on_method_call(GDBusConnection *connection,
               const char *sender,
               const char *path,
               const char *interface,
               const char *method,
               GVariant *parameters,
               GDBusMethodInvocation *invocation,
               gpointer skeleton) {
        const Gate *gate = g_object_get_qdata(skeleton, gate_quark());
        Passage *passage = g_new0(Passage, 1);
        ChvdSubject subject = { 0 };

        passage->authority = gate->authority;
        passage->skeleton = g_object_ref(skeleton);
        gate->subject(gate->data, invocation, &subject);
        chvd_authority_check_async(gate->authority, invocation, &subject, on_checked, passage);
}

static GVariant *
on_get_property(GDBusConnection *connection,
                const char *sender,
                const char *path,
                const char *interface,
                const char *property,
                GError **error,
                gpointer skeleton) {
        return generated(skeleton)->get_property(
                        connection, sender, path, interface, property, error, skeleton);
}

/* No property of the service can be written: there is no setter. */
static GDBusInterfaceVTable *get_vtable(GDBusInterfaceSkeleton *skeleton) {
        static GDBusInterfaceVTable vtable = {
                .method_call = on_method_call,
                .get_property = on_get_property,
        };

        return &vtable;
}

static void class_init(gpointer class, gpointer data) {
        G_DBUS_INTERFACE_SKELETON_CLASS(class)->get_vtable = get_vtable;
}

static GType gated_type(GType parent) {
        g_autofree char *name = g_strconcat("Chvd", g_type_name(parent), NULL);
        GType type = g_type_from_name(name);
        GTypeQuery query;

        if (type)
                return type;
        g_type_query(parent, &query);
        return g_type_register_static_simple(
                        parent, name, query.class_size, class_init, query.instance_size,
                        /* instance_init= */ NULL, /* flags= */ 0);
}

gpointer
chvd_gate_new(GType skeleton_type,
              ChvdAuthority *authority,
              ChvdSubjectFunc subject,
              gpointer data) {
        gpointer skeleton =
                        g_object_new(gated_type(skeleton_type), /* first_property_name= */ NULL);
        Gate *gate = g_new0(Gate, 1);

        gate->authority = authority;
        gate->subject = subject;
        gate->data = data;
        g_object_set_qdata_full(skeleton, gate_quark(), gate, g_free);
        return skeleton;
}

uid_t chvd_gate_caller(GDBusMethodInvocation *invocation) {
        return GPOINTER_TO_UINT(g_object_get_qdata(G_OBJECT(invocation), caller_quark()));
}
