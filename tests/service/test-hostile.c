/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves that a client that floods, hangs up half-way through a message, never reads, sends what is too large, or asks for as much as it
 * can get harms only itself: meanwhile another client reads properties, lists machines and operates its own, and afterwards the service
 * holds what it held before.
 */

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/service/raw.h"
#include "tests/service/service.h"
#include "tests/service/usage.h"

#define MIB (1024u * 1024u)
/* What the allocator may keep: freed memory stays where it was cut up. */
#define GROWTH_KIB (32 * 1024)

typedef struct {
        Service *service;
        GDBusConnection *other; /* the client that behaves */
        char *vm;               /* its machine */
        Usage before;
} Scene;

/* While the queue towards chvd is full, a bus refuses what anybody sends there; that passes when chvd reads on. */
static GVariant *
call_other(Scene *scene,
           const char *path,
           const char *interface,
           const char *method,
           GVariant *params,
           GUnixFDList *list) {
        g_autoptr(GVariant) owned = g_variant_ref_sink(params);

        for (;;) {
                g_autoptr(GError) error = NULL;
                GVariant *reply =
                                service_call_as(scene->other, G_DBUS_CALL_FLAGS_NONE, path,
                                                interface, method, owned, list, &error);

                if (reply)
                        return reply;
                if (!g_error_matches(error, G_DBUS_ERROR, G_DBUS_ERROR_LIMITS_EXCEEDED))
                        g_assert_no_error(error);
                service_linger(10);
        }
}

static void ask(Scene *scene, const char *interface, const char *method, GVariant *params) {
        bool manager = g_str_equal(interface, MANAGER);
        g_autoptr(GVariant) reply = call_other(
                        scene, manager ? MANAGER_PATH : scene->vm, interface, method, params,
                        /* list= */ NULL);
}

/* The other client gets what it asks for. */
static void assert_served(Scene *scene) {
        ask(scene, "org.freedesktop.DBus.Properties", "Get", g_variant_new("(ss)", VM, "State"));
        ask(scene, MANAGER, "ListVMs", g_variant_new("(a{sv})", NULL));
        ask(scene, VM, "Pause", g_variant_new("(a{sv})", NULL));
        ask(scene, VM, "Resume", g_variant_new("(a{sv})", NULL));
}

static void set(Scene *scene) {
        *scene = (Scene){ .service = service_start(NULL) };
        scene->other = service_connect(scene->service);
        scene->vm = vm_run(scene->service, "neighbour", NULL, NULL);
        /* Threads and lazily made things first. */
        for (unsigned i = 0; i < 20; i++)
                assert_served(scene);
        scene->before = usage_of(service_pid(scene->service));
}

static void clear(Scene *scene) {
        assert_served(scene);
        usage_await(service_pid(scene->service), &scene->before);
        usage_assert_rss(service_pid(scene->service), &scene->before, GROWTH_KIB);
        g_object_unref(scene->other);
        g_free(scene->vm);
        service_stop(scene->service);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Scene, clear)

static GByteArray *list_call(Raw *raw, bool no_reply) {
        return raw_call(raw, MANAGER, "/org/cloudhypervisor", "org.freedesktop.DBus.ObjectManager",
                        "GetManagedObjects", NULL, no_reply, NULL);
}

static bool flood(Raw *raw, unsigned calls, bool no_reply) {
        for (unsigned i = 0; i < calls; i++) {
                g_autoptr(GByteArray) call = list_call(raw, no_reply);

                if (!raw_send_call(raw, call, NULL))
                        return false;
        }
        return true;
}

/* Calls and calls, and reads nothing; the second kind wants no replies, so no bus counts them. */
static void test_flood(void) {
        g_auto(Scene) scene = { 0 };

        set(&scene);
        for (unsigned i = 0; i < 2; i++) {
                g_autoptr(Raw) raw = raw_connect(scene.service->address);

                for (unsigned round = 0; round < 10; round++) {
                        (void) flood(raw, 2000, i == 1);
                        assert_served(&scene);
                }
        }
}

static void test_half_a_message(void) {
        g_auto(Scene) scene = { 0 };

        set(&scene);
        for (unsigned i = 0; i < 200; i++) {
                g_autoptr(Raw) raw = raw_connect(scene.service->address);
                g_autoptr(GByteArray) call = list_call(raw, /* no_reply= */ false);

                /* Cut at every place, and at last not at all: then it hangs up before its answer. */
                g_assert_true(raw_send(raw, call->data, MIN(i + 1, call->len), NULL));
        }
}

/* Hears of everything and takes nothing, while much happens. */
static void test_never_reads(void) {
        g_auto(Scene) scene = { 0 };
        g_autoptr(Raw) deaf = NULL;
        g_autoptr(GByteArray) match = NULL;

        set(&scene);
        deaf = raw_connect(scene.service->address);
        match = raw_call(
                        deaf, "org.freedesktop.DBus", "/org/freedesktop/DBus",
                        "org.freedesktop.DBus", "AddMatch", g_variant_new("(s)", "type='signal'"),
                        /* no_reply= */ false, NULL);
        g_assert_true(raw_send_call(deaf, match, NULL));
        for (unsigned i = 0; i < 200; i++) {
                g_autofree char *vm = vm_create_full(
                                scene.service, "passing", service_config(scene.service, NULL, NULL),
                                NULL, NULL, "{'transient': <true>}", NULL);
                g_autoptr(GVariant) reply = vm_call(scene.service, vm, "Delete", NULL);

                service_forget_signals(scene.service);
        }
        assert_served(&scene);
        service_await_signal(scene.service, "'resumed'");
}

static GVariant *large(size_t size) {
        g_autofree char *text = g_strnfill(size, 'x');

        return g_variant_new_parsed("({'payload': <{'cmdline': <%s>}>}, @a{sv} {})", text);
}

/* What the bus passes on is refused by chvd; what it does not costs the sender its connection. */
static void test_large_messages(void) {
        g_auto(Scene) scene = { 0 };

        set(&scene);
        for (unsigned mib = 1; mib <= 16; mib *= 2) {
                g_autoptr(GError) error = NULL;
                g_autoptr(GDBusConnection) bus = service_connect(scene.service);
                g_autoptr(GVariant) reply =
                                service_call_as(bus, G_DBUS_CALL_FLAGS_NONE, MANAGER_PATH, MANAGER,
                                                "CheckConfig", large(mib * MIB), NULL, &error);

                g_assert_null(reply);
                assert_chv_error(error, CHV_ERROR_LIMIT);
        }
        for (unsigned i = 0; i < 3; i++) {
                g_autoptr(Raw) raw = raw_connect(scene.service->address);
                g_autoptr(GByteArray) call =
                                raw_call(raw, MANAGER, MANAGER_PATH, MANAGER, "CheckConfig",
                                         large(127 * MIB), /* no_reply= */ false, NULL);

                (void) raw_send_call(raw, call, NULL);
                g_assert_false(raw_drain(raw, 20000));
                assert_served(&scene);
        }
}

static void ignore(GObject *source, GAsyncResult *result, gpointer data) {
        g_autoptr(GVariant) reply =
                        g_dbus_connection_call_finish(G_DBUS_CONNECTION(source), result, NULL);

        (*(unsigned *) data)--;
}

/* As many jobs as one user may have, none of which ends by itself. */
static void test_jobs(void) {
        enum {
                JOBS = 256
        };
        g_auto(Scene) scene = { 0 };
        unsigned started = 0, unanswered = 0;

        set(&scene);
        for (unsigned i = 0; i <= JOBS; i++) {
                g_autofree char *name = g_strdup_printf("v%u", i);
                g_autofree char *vm =
                                vm_create_full(scene.service, name,
                                               service_config(scene.service, "boot-hang", NULL),
                                               NULL, NULL, "{'transient': <true>}", NULL);
                g_autoptr(GError) error = NULL;
                g_autoptr(GVariant) reply =
                                service_call(scene.service, vm, VM, "Start",
                                             g_variant_new("(a{sv})", NULL), &error);

                started += reply != NULL;
                if (!reply)
                        assert_chv_error(error, CHV_ERROR_LIMIT);
        }
        g_assert_cmpuint(started, ==, JOBS);
        assert_served(&scene);
        for (unsigned i = 0; i <= JOBS; i++) {
                g_autofree char *vm = g_strdup_printf("/org/cloudhypervisor/vm/v%u", i);

                unanswered++;
                g_dbus_connection_call(
                                scene.service->bus, MANAGER, vm, VM, "Delete",
                                g_variant_new_parsed("({'force': <true>},)"), NULL,
                                G_DBUS_CALL_FLAGS_NONE, G_MAXINT, NULL, ignore, &unanswered);
                /* The bus lets a client wait for so many answers only. */
                while (unanswered >= 64)
                        (void) g_main_context_iteration(NULL, true);
        }
        while (unanswered > 0)
                (void) g_main_context_iteration(NULL, true);
        assert_served(&scene);
}

/* Wants to hear everything, many times over, on many connections. */
static void test_subscriptions(void) {
        enum {
                CLIENTS = 30,
                RULES = 400
        };
        g_auto(Scene) scene = { 0 };
        GDBusConnection *clients[CLIENTS];

        set(&scene);
        for (unsigned i = 0; i < CLIENTS; i++) {
                clients[i] = service_connect(scene.service);
                for (unsigned rule = 0; rule < RULES; rule++) {
                        g_autofree char *text = g_strdup_printf(
                                        "type='signal',sender='%s',arg0='%u'", MANAGER, rule);

                        g_dbus_connection_call(
                                        clients[i], "org.freedesktop.DBus", "/org/freedesktop/DBus",
                                        "org.freedesktop.DBus", "AddMatch",
                                        g_variant_new("(s)", text), NULL, G_DBUS_CALL_FLAGS_NONE,
                                        -1, NULL, NULL, NULL);
                }
                g_assert_true(g_dbus_connection_flush_sync(clients[i], NULL, NULL));
        }
        service_forget_signals(scene.service);
        assert_served(&scene);
        service_await_signal(scene.service, "'resumed'");
        for (unsigned i = 0; i < CLIENTS; i++)
                g_object_unref(clients[i]);
}

/* The other client's own descriptor arrives. */
static void assert_given(Scene *scene) {
        g_autoptr(GUnixFDList) list = g_unix_fd_list_new();
        g_autoptr(GVariant) config = g_variant_ref_sink(
                        g_variant_new_parsed("{'payload': <{'kernel': <'/given'>}>}")),
                            created = NULL, reply = NULL;
        int fd = open(scene->service->kernel, O_RDONLY | O_CLOEXEC);

        g_assert_cmpint(g_unix_fd_list_append(list, fd, NULL), ==, 0);
        (void) close(fd);
        created = call_other(
                        scene, MANAGER_PATH, MANAGER, "CreateVM",
                        g_variant_new_parsed(
                                        "('given', %@a{sv}, {'payload/kernel': handle 0}, "
                                        "{'transient': <true>, 'start': <true>})",
                                        config),
                        list);
        reply = vm_call(scene->service, "/org/cloudhypervisor/vm/given", "Delete",
                        "{'force': <true>}");
}

static GByteArray *create_call(Raw *raw, unsigned n_fds, GUnixFDList *list, bool no_reply) {
        GVariantBuilder fds;

        g_variant_builder_init(&fds, G_VARIANT_TYPE("a{sh}"));
        for (unsigned i = 0; i < n_fds; i++) {
                g_autofree char *name = g_strdup_printf("disks/%u", i);

                g_variant_builder_add(&fds, "{sh}", name, (gint32) i);
        }
        return raw_call(raw, MANAGER, MANAGER_PATH, MANAGER, "CreateVM",
                        g_variant_new("(s@a{sv}a{sh}@a{sv})", "full", g_variant_new("a{sv}", NULL),
                                      &fds, g_variant_new("a{sv}", NULL)),
                        no_reply, list);
}

/* Descriptors by the hundred, in calls that are refused, and in calls that nobody waits for. */
static void test_descriptors(void) {
        enum {
                PER_CALL = 16,
                CALLS = 3000
        };
        g_autoptr(GUnixFDList) list = g_unix_fd_list_new();
        g_auto(Scene) scene = { 0 };
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);

        for (unsigned i = 0; i < PER_CALL; i++)
                g_assert_cmpint(g_unix_fd_list_append(list, null, NULL), >=, 0);
        (void) close(null);
        set(&scene);
        /* What a service has where nobody raised it. */
        g_assert_cmpint(prlimit(service_pid(scene.service), RLIMIT_NOFILE,
                                &(struct rlimit){ 1024, 1024 }, /* old_limit= */ NULL),
                        ==, 0);
        for (unsigned round = 0; round < 4; round++) {
                g_autoptr(Raw) raw = raw_connect(scene.service->address);
                g_autoptr(GByteArray) call = create_call(raw, PER_CALL, list, round % 2 == 1);

                /* The same bytes each time: it is in a hurry. */
                for (unsigned i = 0; i < CALLS; i++)
                        if (!raw_send_call(raw, call, list))
                                break;
                assert_given(&scene);
        }
        assert_served(&scene);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/hostile/flood", test_flood);
        g_test_add_func("/hostile/half-a-message", test_half_a_message);
        g_test_add_func("/hostile/never-reads", test_never_reads);
        g_test_add_func("/hostile/large-messages", test_large_messages);
        g_test_add_func("/hostile/jobs", test_jobs);
        g_test_add_func("/hostile/subscriptions", test_subscriptions);
        g_test_add_func("/hostile/descriptors", test_descriptors);
        return g_test_run();
}
