/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Who may call what. One table maps each method that chvd exports to a polkit action; a method without a row is
 * refused, whatever the caller, so a new method stays shut until somebody has decided. The gate (gate.c) asks here
 * before any handler runs.
 *
 * The answer may need the bus (who is the caller? what does polkit say?), so it is asynchronous from end to end. The
 * rule: in session mode the service's own user may do everything and nobody else anything; in system mode open rows
 * are for all, root may do everything, a VM's owner what the row says of that VM, and everything else is polkit's to
 * decide. docs/authority.md has the same table for people, and a test that holds it against this one.
 */

#include "daemon/chvd/authority.h"

#include <stdint.h>
#include <unistd.h>

#include "daemon/chvd/callers.h"
#include "daemon/chvd/log.h"
#include "daemon/chvd/polkit.h"
#include "daemon/chvd/quota.h"
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
#define SET_OWNER "org.cloudhypervisor.vm-set-owner"

#define OPEN NULL, false
#define OWNERS(action) action, true
#define ASKED(action) action, false

/* One row a line: what does not fit is a reason to shorten names, not to break lines. */
/* clang-format off */
static const ChvdAuthorityRow rows[] = {
        { MANAGER, "CreateVM", ASKED(CREATE) },
        { MANAGER, "GetVM", OPEN },
        { MANAGER, "ListVMs", OPEN },
        { MANAGER, "CheckConfig", OPEN },
        { VM, "Start", OWNERS(OPERATE) },
        { VM, "Shutdown", OWNERS(OPERATE) },
        { VM, "PowerOff", OWNERS(OPERATE) },
        { VM, "Reboot", OWNERS(OPERATE) },
        { VM, "Reset", OWNERS(OPERATE) },
        { VM, "Pause", OWNERS(OPERATE) },
        { VM, "Resume", OWNERS(OPERATE) },
        { VM, "NMI", OWNERS(OPERATE) },
        { VM, "Delete", OWNERS(DELETE) },
        { VM, "Resize", OWNERS(CONFIGURE) },
        { VM, "AddDevice", OWNERS(CONFIGURE) },
        { VM, "RemoveDevice", OWNERS(CONFIGURE) },
        { VM, "SetOptions", OWNERS(CONFIGURE) },
        { VM, "UpdateGroup", OWNERS(CONFIGURE) },
        { VM, "SetConfig", OWNERS(CONFIGURE) },
        { VM, "Rename", OWNERS(CONFIGURE) },
        { VM, "GetCounters", OWNERS(INSPECT) },
        { VM, "GetConfig", OWNERS(INSPECT) },
        { VM, "GetConsolePaths", OWNERS(INSPECT) },
        { VM, "SetOwner", ASKED(SET_OWNER) },
        { VM, "OpenConsole", OWNERS(CONSOLE) },
        { VM, "ResizeConsole", OWNERS(CONSOLE) },
        { DEVICE, "Update", OWNERS(CONFIGURE) },
        { DEVICE, "Resize", OWNERS(CONFIGURE) },
        { DEVICE, "Remove", OWNERS(CONFIGURE) },
        { DEVICE, "StartCapture", OWNERS(CONSOLE) },
        { DEVICE, "StopCapture", OWNERS(CONSOLE) },
        { DEVICE, "GetCounters", OWNERS(INSPECT) },
        { DEVICE, "GetConfig", OWNERS(INSPECT) },
        { JOB, "Cancel", OWNERS(OPERATE) },
};
/* clang-format on */

struct ChvdAuthority {
        bool session;
        ChvdQuota *quota; /* borrowed */
        ChvdCallers *callers;
};

/* A call that is being judged. */
typedef struct {
        ChvdAuthority *authority;    /* borrowed: it outlives the main loop */
        const ChvdAuthorityRow *row; /* NULL: none */
        const char *action;          /* what polkit is asked; NULL: nothing */
        char *method;                /* with its interface, for messages */
        ChvdSubject subject;
        char *vm, *device; /* own those of subject */
        uid_t caller;
} Check;

static void check_free(gpointer data) {
        Check *check = data;

        g_free(check->method);
        g_free(check->vm);
        g_free(check->device);
        g_free(check);
}

ChvdAuthority *chvd_authority_new(bool session, ChvdQuota *quota) {
        ChvdAuthority *authority = g_new0(ChvdAuthority, 1);

        authority->session = session;
        authority->quota = quota;
        authority->callers = chvd_callers_new();
        return authority;
}

void chvd_authority_free(ChvdAuthority *authority) {
        if (!authority)
                return;
        chvd_callers_free(authority->callers);
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
        return row->owner && subject->owned && subject->owner == caller;
}

static void deny(GTask *task, int code, const char *why) {
        Check *check = g_task_get_task_data(task);

        g_autoptr(GError) error =
                        g_error_new(CHV_ERROR, code, "uid %u may not call %s%s%s%s%s%s: %s",
                                    check->caller, check->method, check->vm ? " of VM '" : "",
                                    check->vm ?: "", check->vm ? "'" : "",
                                    check->action ? ", action " : "", check->action ?: "", why);

        /* One that lacks interaction is not refused yet: it will be made again. */
        if (code != CHV_ERROR_NEEDS_INTERACTION)
                chvd_log_denied(check->vm, check->caller, check->method, check->action,
                                error->message);
        g_task_return_error(task, g_steal_pointer(&error));
}

static void on_polkit(GObject *source, GAsyncResult *result, gpointer data) {
        g_autoptr(GTask) task = data;
        Check *check = g_task_get_task_data(task);
        g_autoptr(GError) error = NULL;

        chvd_quota_release(check->authority->quota, CHVD_CHARGE_QUESTION, check->caller);
        if (chvd_polkit_ask_finish(result, &error))
                g_task_return_boolean(task, true);
        else
                deny(task, error->code, error->message);
}

static bool may_interact(GDBusMethodInvocation *invocation) {
        GDBusMessage *message = g_dbus_method_invocation_get_message(invocation);

        return g_dbus_message_get_flags(message) &
               G_DBUS_MESSAGE_FLAGS_ALLOW_INTERACTIVE_AUTHORIZATION;
}

static void ask(GTask *task) {
        Check *check = g_task_get_task_data(task);
        GDBusMethodInvocation *invocation = g_task_get_source_object(task);
        const char *sender = g_dbus_method_invocation_get_sender(invocation);
        g_autoptr(GStrvBuilder) builder = g_strv_builder_new();
        g_auto(GStrv) details = NULL;
        g_autoptr(GError) error = NULL;
        ChvdPolkitQuestion question;

        if (!sender)
                return deny(task, CHV_ERROR_ACCESS_DENIED, "polkit knows callers by their bus");
        if (!chvd_quota_charge(
                            check->authority->quota, CHVD_CHARGE_QUESTION, check->caller, &error))
                return g_task_return_error(task, g_steal_pointer(&error));

        g_strv_builder_add_many(
                        builder, "verb", g_dbus_method_invocation_get_method_name(invocation),
                        NULL);
        if (check->vm)
                g_strv_builder_add_many(builder, "vm", check->vm, NULL);
        if (check->device)
                g_strv_builder_add_many(builder, "device", check->device, NULL);
        if (check->subject.owned) {
                g_autofree char *owner = g_strdup_printf("%u", check->subject.owner);

                g_strv_builder_add_many(builder, "owner", owner, NULL);
        }
        details = g_strv_builder_end(builder);
        question = (ChvdPolkitQuestion){
                .bus = g_dbus_method_invocation_get_connection(invocation),
                .sender = sender,
                .action = check->action,
                .interactive = may_interact(invocation),
                .details = (const char *const *) details,
        };
        chvd_polkit_ask_async(&question, on_polkit, g_object_ref(task));
}

static void decide(GTask *task, uid_t caller) {
        Check *check = g_task_get_task_data(task);
        bool session = check->authority->session;

        check->caller = caller;
        if (chvd_authority_permits(session, getuid(), caller, check->row, &check->subject))
                return g_task_return_boolean(task, true);
        if (!check->row)
                return g_task_return_new_error(
                                task, CHV_ERROR, CHV_ERROR_ACCESS_DENIED,
                                "%s is not open to anybody", check->method);
        if (session)
                return deny(task, CHV_ERROR_ACCESS_DENIED, "only the service's own user may");
        ask(task);
}

static void on_caller(gpointer data, uid_t uid, const GError *error) {
        g_autoptr(GTask) task = data;

        if (error)
                return g_task_return_new_error(
                                task, CHV_ERROR, CHV_ERROR_ACCESS_DENIED,
                                "the caller's uid is not known: %s", error->message);
        decide(task, uid);
}

static GTask *
check_new(ChvdAuthority *authority,
          GDBusMethodInvocation *invocation,
          const char *action,
          const ChvdSubject *subject,
          GAsyncReadyCallback callback,
          gpointer data) {
        GTask *task = g_task_new(invocation, /* cancellable= */ NULL, callback, data);
        Check *check = g_new0(Check, 1);

        check->authority = authority;
        check->action = action;
        check->method = g_strdup_printf(
                        "%s.%s", g_dbus_method_invocation_get_interface_name(invocation),
                        g_dbus_method_invocation_get_method_name(invocation));
        check->vm = g_strdup(subject->vm);
        check->device = g_strdup(subject->device);
        check->subject = *subject;
        check->subject.vm = check->vm;
        check->subject.device = check->device;
        g_task_set_task_data(task, check, check_free);
        return task;
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
        const ChvdAuthorityRow *row = chvd_authority_row(interface, method);
        g_autoptr(GTask) task = check_new(
                        authority, invocation, row ? row->action : NULL, subject, callback, data);
        Check *check = g_task_get_task_data(task);
        GCredentials *peer;
        uid_t uid;

        check->row = row;

        if (sender) {
                chvd_callers_ask(
                                authority->callers, bus, sender, on_caller, g_steal_pointer(&task));
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

void chvd_authority_check_action_async(
                ChvdAuthority *authority,
                GDBusMethodInvocation *invocation,
                uid_t caller,
                const char *action,
                const ChvdSubject *subject,
                GAsyncReadyCallback callback,
                gpointer data) {
        g_autoptr(GTask) task = check_new(authority, invocation, action, subject, callback, data);
        Check *check = g_task_get_task_data(task);

        check->caller = caller;
        if (authority->session || caller == 0)
                return g_task_return_boolean(task, true);
        ask(task);
}

bool chvd_authority_check_finish(
                ChvdAuthority *authority, GAsyncResult *result, uid_t *ret_caller, GError **error) {
        Check *check = g_task_get_task_data(G_TASK(result));

        if (!g_task_propagate_boolean(G_TASK(result), error))
                return false;
        *ret_caller = check->caller;
        return true;
}
