/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Who may call what. One table maps each method that chvd exports to a polkit action; a method without a row is
 * refused, whatever the caller, so a new method stays shut until somebody has decided. The gate (gate.c) asks here
 * before any handler runs.
 *
 * The answer may need the bus (who is the caller?), so it is asynchronous from end to end. The rule: in session
 * mode the service's own user may do everything and nobody else anything; in system mode open rows are for all, root
 * may do everything, and a VM's owner everything to that VM. What has no owner yet, such as creating, is root's.
 */

#include "daemon/chvd/authority.h"

#include <stdint.h>
#include <unistd.h>

#include "dbus/error.h"

#define MANAGER "org.cloudhypervisor.Manager"
#define VM "org.cloudhypervisor.VM"
#define DEVICE "org.cloudhypervisor.Device"
#define JOB "org.cloudhypervisor.Job"

#define CREATE "org.cloudhypervisor.vm-create"
#define OPERATE "org.cloudhypervisor.vm-operate"
#define CONFIGURE "org.cloudhypervisor.vm-configure"
#define DELETE "org.cloudhypervisor.vm-delete"
#define CONSOLE "org.cloudhypervisor.vm-console"
#define INSPECT "org.cloudhypervisor.vm-inspect"

static const ChvdAuthorityRow rows[] = {
        { MANAGER, "CreateVM", CREATE },  { MANAGER, "GetVM", NULL },
        { MANAGER, "ListVMs", NULL },     { MANAGER, "CheckConfig", NULL },
        { VM, "Start", OPERATE },         { VM, "Shutdown", OPERATE },
        { VM, "PowerOff", OPERATE },      { VM, "Reboot", OPERATE },
        { VM, "Reset", OPERATE },         { VM, "Pause", OPERATE },
        { VM, "Resume", OPERATE },        { VM, "NMI", OPERATE },
        { VM, "Delete", DELETE },         { VM, "Resize", CONFIGURE },
        { VM, "AddDevice", CONFIGURE },   { VM, "RemoveDevice", CONFIGURE },
        { VM, "GetCounters", INSPECT },   { VM, "OpenConsole", CONSOLE },
        { VM, "ResizeConsole", CONSOLE }, { DEVICE, "Update", CONFIGURE },
        { DEVICE, "Remove", CONFIGURE },  { DEVICE, "GetCounters", INSPECT },
        { JOB, "Cancel", OPERATE },
};

struct ChvdAuthority {
        bool session;
};

typedef struct {
        bool session;
        const ChvdAuthorityRow *row; /* NULL: none */
        char *method;                /* with its interface, for messages */
        ChvdSubject subject;
        char *vm; /* owns subject.vm */
        uid_t caller;
} Check;

static void check_free(gpointer data) {
        Check *check = data;

        g_free(check->method);
        g_free(check->vm);
        g_free(check);
}

ChvdAuthority *chvd_authority_new(bool session) {
        ChvdAuthority *authority = g_new0(ChvdAuthority, 1);

        authority->session = session;
        return authority;
}

void chvd_authority_free(ChvdAuthority *authority) {
        g_free(authority);
}

const ChvdAuthorityRow *chvd_authority_row(const char *interface, const char *method) {
        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++)
                if (g_str_equal(rows[i].interface, interface) &&
                    g_str_equal(rows[i].method, method))
                        return &rows[i];
        return NULL;
}

bool chvd_authority_permits(
                bool session,
                uid_t self,
                uid_t caller,
                const ChvdAuthorityRow *row,
                const ChvdSubject *subject) {
        if (!row)
                return false;
        if (session)
                return caller == self;
        if (!row->action || caller == 0)
                return true;
        return subject->owned && subject->owner == caller;
}

static void decide(GTask *task, uid_t caller) {
        Check *check = g_task_get_task_data(task);

        check->caller = caller;
        if (chvd_authority_permits(check->session, getuid(), caller, check->row, &check->subject))
                return g_task_return_boolean(task, true);
        if (!check->row)
                return g_task_return_new_error(
                                task, CHV_ERROR, CHV_ERROR_ACCESS_DENIED,
                                "%s is not open to anybody", check->method);
        g_task_return_new_error(
                        task, CHV_ERROR, CHV_ERROR_ACCESS_DENIED,
                        "uid %u may not call %s%s%s%s (%s)", caller, check->method,
                        check->vm ? " of VM '" : "", check->vm ?: "", check->vm ? "'" : "",
                        check->row->action ?: "only the service's own user may");
}

static void on_uid(GObject *source, GAsyncResult *result, gpointer data) {
        g_autoptr(GTask) task = data;
        g_autoptr(GError) error = NULL;
        g_autoptr(GVariant) reply =
                        g_dbus_connection_call_finish(G_DBUS_CONNECTION(source), result, &error);
        uint32_t uid;

        if (!reply)
                return g_task_return_new_error(
                                task, CHV_ERROR, CHV_ERROR_ACCESS_DENIED,
                                "the caller's uid is not known: %s", error->message);
        g_variant_get(reply, "(u)", &uid);
        decide(task, uid);
}

void chvd_authority_check_async(
                ChvdAuthority *authority,
                GDBusMethodInvocation *invocation,
                const ChvdSubject *subject,
                GAsyncReadyCallback callback,
                gpointer data) {
        const char *interface = g_dbus_method_invocation_get_interface_name(invocation);
        const char *method = g_dbus_method_invocation_get_method_name(invocation);
        const char *sender = g_dbus_method_invocation_get_sender(invocation);
        GDBusConnection *bus = g_dbus_method_invocation_get_connection(invocation);
        g_autoptr(GTask) task = g_task_new(invocation, /* cancellable= */ NULL, callback, data);
        Check *check = g_new0(Check, 1);
        GCredentials *peer;
        uid_t uid;

        check->session = authority->session;
        check->row = chvd_authority_row(interface, method);
        check->method = g_strdup_printf("%s.%s", interface, method);
        check->vm = g_strdup(subject->vm);
        check->subject = *subject;
        check->subject.vm = check->vm;
        g_task_set_task_data(task, check, check_free);

        if (sender) {
                g_dbus_connection_call(
                                bus, "org.freedesktop.DBus", "/org/freedesktop/DBus",
                                "org.freedesktop.DBus", "GetConnectionUnixUser",
                                g_variant_new("(s)", sender), G_VARIANT_TYPE("(u)"),
                                G_DBUS_CALL_FLAGS_NONE,
                                /* timeout_msec= */ -1,
                                /* cancellable= */ NULL, on_uid, g_steal_pointer(&task));
                return;
        }

        /* No bus between us: the kernel says who is at the other end. */
        peer = g_dbus_connection_get_peer_credentials(bus);
        uid = peer ? g_credentials_get_unix_user(peer, /* error= */ NULL) : (uid_t) -1;
        if (uid == (uid_t) -1)
                return g_task_return_new_error(
                                task, CHV_ERROR, CHV_ERROR_ACCESS_DENIED,
                                "the caller's uid is not known");
        decide(task, uid);
}

bool chvd_authority_check_finish(
                ChvdAuthority *authority, GAsyncResult *result, uid_t *ret_caller, GError **error) {
        Check *check = g_task_get_task_data(G_TASK(result));

        if (!g_task_propagate_boolean(G_TASK(result), error))
                return false;
        *ret_caller = check->caller;
        return true;
}
