/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * User-mode networking: passt, a process that turns the guest's packets into sockets of its own, so it needs no right and no
 * interface of the host. One for each network and run. It gets one end of a stream as standard input and serves that alone; when the
 * worker has closed the other end, passt ends, whoever is there to see it. One that ends before is missed by the worker, and started
 * again (vm-link.c).
 *
 * It is the user that the VM belongs to, who could open the same ports and connections himself: under systemd a unit of that user
 * (of nobody in particular for root's), confined by chvd-passt-.service.d; in session mode a child in a session of its own.
 * The host's own addresses are not mapped for the guest: what listens there trusts who is on the host.
 */

#include "daemon/chvd/passt.h"

#include <errno.h>
#include <gio/gio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/chvd/resource.h"
#include "daemon/chvd/units.h"
#include "dbus/error.h"
#include "dbus/fd.h"

static char **find_arguments(const ChvResource *need, GError **error) {
        g_autofree char *program = g_find_program_in_path("passt");

        if (!program) {
                (void) chvd_resource_fail(
                                need, 0, "the program passt is not installed (package passt)",
                                error);
                return NULL;
        }
        return chvd_passt_arguments(program, need->config);
}

static void add(GPtrArray *argv, const char *option, const char *value) {
        g_ptr_array_add(argv, g_strdup(option));
        if (value)
                g_ptr_array_add(argv, g_strdup(value));
}

char **chvd_passt_arguments(const char *program, const ChvNetConfig *net) {
        GPtrArray *argv = g_ptr_array_new();

        add(argv, program, NULL);
        add(argv, "--foreground", NULL);
        add(argv, "--quiet", NULL);
        add(argv, "--no-map-gw", NULL);
        add(argv, "--fd", "0");
        if (net->mtu) {
                g_autofree char *mtu = g_strdup_printf("%u", net->mtu);

                add(argv, "--mtu", mtu);
        }
        /* "tcp:" and "udp:" before what passt takes. */
        for (char **f = net->forward; f && *f; f++)
                add(argv, g_str_has_prefix(*f, "udp:") ? "--udp-ports" : "--tcp-ports", *f + 4);
        g_ptr_array_add(argv, NULL);
        return (char **) g_ptr_array_free(argv, /* free_segment= */ FALSE);
}

static void in_child(gpointer data) {
        (void) setsid();
}

/* Nobody waits for it: it is not ours when this returns. */
static bool start_child(char **argv, const ChvResource *need, int theirs, GError **error) {
        g_autoptr(GError) ours = NULL;

        if (g_spawn_async_with_pipes_and_fds(
                            "/", (const char *const *) argv, /* envp= */ NULL, G_SPAWN_DEFAULT,
                            in_child, /* user_data= */ NULL, theirs, /* stdout_fd= */ -1,
                            /* stderr_fd= */ -1, /* source_fds= */ NULL, /* target_fds= */ NULL,
                            /* n_fds= */ 0, /* child_pid_out= */ NULL, /* stdin_pipe_out= */ NULL,
                            /* stdout_pipe_out= */ NULL, /* stderr_pipe_out= */ NULL, &ours))
                return true;
        return chvd_resource_fail(need, 0, ours->message, error);
}

static GVariant *unit_properties(char **argv, uid_t uid) {
        g_autofree char *user = g_strdup_printf("%u", uid);
        GVariantBuilder list, commands;

        g_variant_builder_init(&list, G_VARIANT_TYPE("a(sv)"));
        g_variant_builder_add(
                        &list, "(sv)", "Description",
                        g_variant_new_string("Network of a virtual machine"));
        g_variant_builder_add(&list, "(sv)", "Slice", g_variant_new_string("chv.slice"));
        g_variant_builder_add(
                        &list, "(sv)", "CollectMode", g_variant_new_string("inactive-or-failed"));
        if (uid == 0)
                g_variant_builder_add(&list, "(sv)", "DynamicUser", g_variant_new_boolean(true));
        else
                g_variant_builder_add(&list, "(sv)", "User", g_variant_new_string(user));
        g_variant_builder_add(
                        &list, "(sv)", "StandardInputFileDescriptor", g_variant_new_handle(0));
        g_variant_builder_init(&commands, G_VARIANT_TYPE("a(sasb)"));
        g_variant_builder_add(
                        &commands, "(s@asb)", argv[0],
                        g_variant_new_strv((const char *const *) argv, -1),
                        /* ignore_failure= */ FALSE);
        g_variant_builder_add(&list, "(sv)", "ExecStart", g_variant_builder_end(&commands));
        return g_variant_builder_end(&list);
}

/* *ret_absent: there is no systemd. */
static bool
start_unit(const ChvdRights *rights,
           char **argv,
           const ChvResource *need,
           int theirs,
           GCancellable *cancellable,
           bool *ret_absent,
           GError **error) {
        static gint last; /* atomic */
        g_autofree char *unit = g_strdup_printf(
                        "chvd-passt-%d-%d.service", getpid(), g_atomic_int_add(&last, 1));
        g_autoptr(GError) ours = NULL;

        if (chvd_units_start_transient(
                            rights->bus, unit, unit_properties(argv, rights->uid), theirs,
                            cancellable, ret_absent, &ours))
                return true;
        if (g_error_matches(ours, G_IO_ERROR, G_IO_ERROR_CANCELLED)) {
                g_propagate_error(error, g_steal_pointer(&ours));
                return false;
        }
        return chvd_resource_fail(need, 0, ours->message, error);
}

static bool
start(const ChvdRights *rights,
      char **argv,
      const ChvResource *need,
      int theirs,
      GCancellable *cancellable,
      GError **error) {
        g_autoptr(GError) refused = NULL;
        bool absent = true;

        if (rights->bus && start_unit(rights, argv, need, theirs, cancellable, &absent, &refused))
                return true;
        if (!absent) {
                g_propagate_error(error, g_steal_pointer(&refused));
                return false;
        }
        if (!rights->self)
                return chvd_resource_fail(
                                need, 0, "passt of another user needs systemd to start it", error);
        return start_child(argv, need, theirs, error);
}

int chvd_passt_start(
                const ChvdRights *rights,
                const ChvResource *need,
                GCancellable *cancellable,
                GError **error) {
        g_auto(GStrv) argv = find_arguments(need, error);
        chv_autofd ours = -1, theirs = -1;
        int ends[2];

        if (!argv)
                return -1;
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) {
                (void) chvd_resource_fail(need, errno, "cannot make a socket", error);
                return -1;
        }
        ours = ends[0];
        theirs = ends[1];
        return start(rights, argv, need, theirs, cancellable, error) ? chv_fd_steal(&ours) : -1;
}
