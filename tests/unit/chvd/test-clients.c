/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves the two things that keep clients apart before a handler runs: the inbox lets no client have more on the way than its share, and
 * gives the share back with the answer; callers are asked for once, again when the bus does not answer, and are told in order.
 */

#include <fcntl.h>
#include <gio/gunixfdlist.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/chvd/callers.h"
#include "daemon/chvd/inbox.h"
#include "dbus/error.h"

/* Two ends of one connection without a bus. */
typedef struct {
        GDBusConnection *service, *client;
        GPtrArray *held; /* invocations that nobody answered */
        unsigned ignore; /* this many calls are left unanswered for good */
        unsigned calls;
        guint object;
} Pair;

static const char xml[] = "<node><interface name='org.freedesktop.DBus'>"
                          "<method name='GetConnectionUnixUser'><arg type='s' direction='in'/>"
                          "<arg type='u' direction='out'/></method>"
                          "<method name='Hold'><arg type='ay' direction='in'/>"
                          "<arg type='ah' direction='in'/></method></interface></node>";

static void
on_call(GDBusConnection *bus,
        const char *sender,
        const char *path,
        const char *interface,
        const char *method,
        GVariant *parameters,
        GDBusMethodInvocation *invocation,
        gpointer data) {
        Pair *pair = data;

        pair->calls++;
        if (g_str_equal(method, "Hold") || pair->ignore > 0) {
                pair->ignore -= pair->ignore > 0;
                g_ptr_array_add(pair->held, invocation);
                return;
        }
        g_variant_get_child(parameters, 0, "&s", &sender);
        if (g_str_equal(sender, ":1.404"))
                g_dbus_method_invocation_return_error(
                                invocation, G_DBUS_ERROR, G_DBUS_ERROR_NAME_HAS_NO_OWNER, "gone");
        else
                g_dbus_method_invocation_return_value(invocation, g_variant_new("(u)", 1234));
}

static void on_connected(GObject *source, GAsyncResult *result, gpointer data) {
        *(GDBusConnection **) data = g_dbus_connection_new_finish(result, NULL);
}

static GSocketConnection *stream_of(int fd) {
        g_autoptr(GSocket) socket = g_socket_new_from_fd(fd, NULL);

        return g_socket_connection_factory_create_connection(socket);
}

static void pair_up(Pair *pair) {
        static const GDBusInterfaceVTable vtable = { .method_call = on_call };
        g_autofree char *guid = g_dbus_generate_guid();
        g_autoptr(GDBusNodeInfo) info = g_dbus_node_info_new_for_xml(xml, NULL);
        g_autoptr(GSocketConnection) a = NULL, b = NULL;
        int fds[2];

        (void) CHV_ERROR;
        g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
        a = stream_of(fds[0]);
        b = stream_of(fds[1]);
        *pair = (Pair){ .held = g_ptr_array_new() };
        g_dbus_connection_new(
                        G_IO_STREAM(a), guid, G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_SERVER, NULL,
                        NULL, on_connected, &pair->service);
        g_dbus_connection_new(
                        G_IO_STREAM(b), NULL, G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT, NULL,
                        NULL, on_connected, &pair->client);
        while (!pair->service || !pair->client)
                (void) g_main_context_iteration(NULL, true);
        pair->object = g_dbus_connection_register_object(
                        pair->service, "/org/freedesktop/DBus", info->interfaces[0], &vtable, pair,
                        NULL, NULL);
}

static void part(Pair *pair) {
        g_ptr_array_unref(pair->held);
        (void) g_dbus_connection_unregister_object(pair->service, pair->object);
        (void) g_dbus_connection_close_sync(pair->client, NULL, NULL);
        g_object_unref(pair->service);
        g_object_unref(pair->client);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Pair, part)

typedef struct {
        unsigned answered, refused;
} Tally;

static void on_answer(GObject *source, GAsyncResult *result, gpointer data) {
        Tally *tally = data;
        g_autoptr(GError) error = NULL;
        g_autoptr(GVariant) reply = g_dbus_connection_call_with_unix_fd_list_finish(
                        G_DBUS_CONNECTION(source), NULL, result, &error);

        if (reply) {
                tally->answered++;
                return;
        }
        g_assert_error(error, CHV_ERROR, CHV_ERROR_LIMIT);
        tally->refused++;
}

static void hold(Pair *pair, unsigned bytes, unsigned n_fds, Tally *tally) {
        g_autofree char *zeros = g_malloc0(bytes + 1);
        GVariant *body = g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, zeros, bytes, 1);
        g_autoptr(GUnixFDList) list = g_unix_fd_list_new();
        int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
        GVariantBuilder handles;

        g_variant_builder_init(&handles, G_VARIANT_TYPE("ah"));
        for (unsigned i = 0; i < n_fds; i++)
                g_variant_builder_add(&handles, "h", g_unix_fd_list_append(list, null, NULL));
        (void) close(null);
        g_dbus_connection_call_with_unix_fd_list(
                        pair->client, NULL, "/org/freedesktop/DBus", "org.freedesktop.DBus", "Hold",
                        g_variant_new("(@ayah)", body, &handles), NULL, G_DBUS_CALL_FLAGS_NONE,
                        G_MAXINT, list, NULL, on_answer, tally);
}

static void answer_all(Pair *pair) {
        for (unsigned i = 0; i < pair->held->len; i++)
                g_dbus_method_invocation_return_value(g_ptr_array_index(pair->held, i), NULL);
        g_ptr_array_set_size(pair->held, 0);
}

static void check_share(unsigned calls, unsigned bytes, unsigned n_fds, unsigned fit) {
        g_auto(Pair) pair = { 0 };

        pair_up(&pair);
        chvd_inbox_attach(pair.service);
        /* Twice: the share comes back. */
        for (unsigned round = 0; round < 2; round++) {
                Tally tally = { 0 };

                for (unsigned i = 0; i < calls; i++)
                        hold(&pair, bytes, n_fds, &tally);
                while (tally.refused + pair.held->len < calls)
                        (void) g_main_context_iteration(NULL, true);
                g_assert_cmpuint(pair.held->len, ==, fit);
                answer_all(&pair);
                while (tally.answered < fit)
                        (void) g_main_context_iteration(NULL, true);
                g_assert_cmpuint(tally.refused, ==, calls - fit);
        }
}

static void test_inbox_calls(void) {
        check_share(CHVD_INBOX_CALLS + 40, 1, 0, CHVD_INBOX_CALLS);
}

static void test_inbox_fds(void) {
        check_share(CHVD_INBOX_FDS / 8 + 3, 1, 8, CHVD_INBOX_FDS / 8);
}

static void test_inbox_bytes(void) {
        check_share(6, CHVD_INBOX_BYTES / 4, 0, 3);
}

typedef struct {
        GArray *told; /* of uid_t, -1: an error */
} Ear;

static void on_told(gpointer data, uid_t uid, const GError *error) {
        Ear *ear = data;

        if (error)
                uid = (uid_t) -1;
        (void) g_array_append_val(ear->told, uid);
}

static void listen_for(Ear *ear, unsigned n) {
        while (ear->told->len < n)
                (void) g_main_context_iteration(NULL, true);
        g_assert_cmpuint(ear->told->len, ==, n);
}

static uid_t nth(const Ear *ear, unsigned n) {
        return g_array_index(ear->told, uid_t, n);
}

static void test_callers(void) {
        g_auto(Pair) pair = { 0 };
        g_autoptr(ChvdCallers) callers = chvd_callers_new();
        g_autoptr(GArray) told = g_array_new(false, false, sizeof(uid_t));
        Ear ear = { told };

        pair_up(&pair);
        /* One question for all that wait, none for those that come later. */
        for (unsigned i = 0; i < 3; i++)
                chvd_callers_ask(callers, pair.client, ":1.1", on_told, &ear);
        listen_for(&ear, 3);
        chvd_callers_ask(callers, pair.client, ":1.1", on_told, &ear);
        g_assert_cmpuint(told->len, ==, 4);
        g_assert_cmpuint(pair.calls, ==, 1);
        for (unsigned i = 0; i < 4; i++)
                g_assert_cmpuint(nth(&ear, i), ==, 1234);

        /* Who is not known is not remembered either. */
        for (unsigned i = 0; i < 2; i++) {
                chvd_callers_ask(callers, pair.client, ":1.404", on_told, &ear);
                listen_for(&ear, 5 + i);
                g_assert_cmpuint(nth(&ear, 4 + i), ==, (uid_t) -1);
        }
        g_assert_cmpuint(pair.calls, ==, 3);
}

/* An answer that is lost is asked for again, and all are told. */
static void test_callers_lost_answer(void) {
        g_auto(Pair) pair = { 0 };
        g_autoptr(ChvdCallers) callers = chvd_callers_new();
        g_autoptr(GArray) told = g_array_new(false, false, sizeof(uid_t));
        Ear ear = { told };

        pair_up(&pair);
        pair.ignore = 1;
        for (unsigned i = 0; i < 2; i++)
                chvd_callers_ask(callers, pair.client, ":1.1", on_told, &ear);
        listen_for(&ear, 2);
        g_assert_cmpuint(nth(&ear, 1), ==, 1234);
        g_assert_cmpuint(pair.calls, >=, 2);
        /* Late, and of no use to anybody. */
        g_dbus_method_invocation_return_value(
                        g_ptr_array_index(pair.held, 0), g_variant_new("(u)", 1));
}

/* What is kept is bounded, and what was dropped is asked for again. */
static void test_callers_bounded(void) {
        enum {
                CLIENTS = 1500
        };
        g_auto(Pair) pair = { 0 };
        g_autoptr(ChvdCallers) callers = chvd_callers_new();
        g_autoptr(GArray) told = g_array_new(false, false, sizeof(uid_t));
        Ear ear = { told };

        pair_up(&pair);
        for (unsigned i = 0; i < CLIENTS; i++) {
                g_autofree char *name = g_strdup_printf(":1.%u", 1000 + i);

                chvd_callers_ask(callers, pair.client, name, on_told, &ear);
                listen_for(&ear, i + 1);
        }
        chvd_callers_ask(callers, pair.client, ":1.1000", on_told, &ear);
        listen_for(&ear, CLIENTS + 1);
        g_assert_cmpuint(pair.calls, ==, CLIENTS + 1);
        /* One that is still waited for when the service ends. */
        chvd_callers_ask(callers, pair.client, ":1.9999", on_told, &ear);
        g_clear_pointer(&callers, chvd_callers_free);
        while (g_main_context_iteration(NULL, false))
                ;
        g_assert_cmpuint(told->len, ==, CLIENTS + 1);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/clients/inbox/calls", test_inbox_calls);
        g_test_add_func("/clients/inbox/fds", test_inbox_fds);
        g_test_add_func("/clients/inbox/bytes", test_inbox_bytes);
        g_test_add_func("/clients/callers", test_callers);
        g_test_add_func("/clients/callers/lost-answer", test_callers_lost_answer);
        g_test_add_func("/clients/callers/bounded", test_callers_bounded);
        return g_test_run();
}
