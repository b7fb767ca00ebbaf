/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves what an administrator sets and a service manager sees: limits of chvd.conf are held when VMs are made and
 * started and given back when they end, a reload changes them and disturbs nothing that runs, and the service manager
 * hears of readiness, reloads, the number of VMs, life and the end.
 */

#include <gio/gunixsocketaddress.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "tests/service/service.h"

typedef struct {
        Service *service;
        char *dir, *file, *socket_path;
        GSocket *socket; /* of the service manager */
        GString *heard;
} Rig;

static void configure(Rig *rig, const char *limits) {
        g_autofree char *text = g_strconcat("[Limits]\n", limits, "\n", NULL);

        g_assert_true(g_file_set_contents(rig->file, text, -1, NULL));
}

static void rig_setup(Rig *rig, gconstpointer limits) {
        g_autoptr(GSocketAddress) address = NULL;
        g_autoptr(GError) error = NULL;

        rig->dir = g_dir_make_tmp("chvd-supervision-XXXXXX", NULL);
        rig->file = g_build_filename(rig->dir, "chvd.conf", NULL);
        rig->socket_path = g_build_filename(rig->dir, "notify", NULL);
        rig->heard = g_string_new(NULL);
        rig->socket =
                        g_socket_new(G_SOCKET_FAMILY_UNIX, G_SOCKET_TYPE_DATAGRAM,
                                     G_SOCKET_PROTOCOL_DEFAULT, &error);
        g_assert_no_error(error);
        address = g_unix_socket_address_new(rig->socket_path);
        (void) g_socket_bind(rig->socket, address, /* allow_reuse= */ true, &error);
        g_assert_no_error(error);
        g_socket_set_blocking(rig->socket, false);
        g_assert_true(g_setenv("NOTIFY_SOCKET", rig->socket_path, true));
        g_assert_true(g_setenv("WATCHDOG_USEC", "100000", true));
        configure(rig, limits);
        rig->service = service_start((const char *[]){ "--config-dir", rig->dir, NULL });
}

static void rig_teardown(Rig *rig, gconstpointer data) {
        service_stop(rig->service);
        (void) g_unlink(rig->file);
        (void) g_unlink(rig->socket_path);
        (void) g_rmdir(rig->dir);
        g_object_unref(rig->socket);
        g_string_free(rig->heard, true);
        g_free(rig->dir);
        g_free(rig->file);
        g_free(rig->socket_path);
}

/* Forgets what came before the text, so that what is heard twice is waited for twice. */
static void hear(Rig *rig, const char *text) {
        gint64 until = g_get_monotonic_time() + 20 * G_USEC_PER_SEC;
        char *found;

        while (!(found = strstr(rig->heard->str, text))) {
                char buffer[4096];
                gssize n = g_socket_receive(rig->socket, buffer, sizeof(buffer), NULL, NULL);

                if (n > 0)
                        g_string_append_printf(rig->heard, "%.*s\n", (int) n, buffer);
                else if (g_get_monotonic_time() > until)
                        g_error("no '%s' in '%s'", text, rig->heard->str);
                else
                        service_linger(5);
        }
        g_string_erase(rig->heard, 0, found - rig->heard->str + (gssize) strlen(text));
}

static void reload(Rig *rig, const char *limits) {
        configure(rig, limits);
        g_assert_cmpint(kill(service_pid(rig->service), SIGHUP), ==, 0);
        hear(rig, "RELOADING=1\nMONOTONIC_USEC=");
        hear(rig, "READY=1\n");
}

static void create_fails(Rig *rig, const char *name, const char *what) {
        g_autoptr(GError) error = NULL;
        g_autofree char *vm =
                        vm_create_full(rig->service, name, service_config(rig->service, NULL, NULL),
                                       NULL, NULL, NULL, &error);

        g_assert_null(vm);
        assert_names(error, CHV_ERROR_LIMIT, what);
}

static void start_fails(Rig *rig, const char *vm, const char *what) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GVariant) reply = vm_try(rig->service, vm, "Start", NULL, &error);
        g_autofree char *state = vm_get(rig->service, vm, "State");

        g_assert_null(reply);
        assert_names(error, CHV_ERROR_LIMIT, what);
        g_assert_cmpstr(state, !=, "starting");
}

static void call(Rig *rig, const char *vm, const char *method, const char *options) {
        g_autoptr(GVariant) reply = vm_call(rig->service, vm, method, options);
}

static void test_limits(Rig *rig, gconstpointer data) {
        Service *service = rig->service;
        g_autofree char *big = NULL, *one = NULL, *two = NULL;

        big = vm_create(service, "big", NULL, "'cpus': <{'boot_vcpus': <4>}>");
        one = vm_create(service, "one", NULL, "'cpus': <{'boot_vcpus': <2>}>");
        two = vm_create(service, "two", "boot-error", "'cpus': <{'boot_vcpus': <2>}>");
        create_fails(rig, "four", "MaxVMs=3");
        start_fails(rig, big, "MaxVCPUs=3");
        /* What is defined holds no vCPUs; what was refused was not charged. */
        call(rig, one, "Start", NULL);
        start_fails(rig, two, "MaxVCPUs=3");
        /* A reboot keeps them, the end gives them back, and so does a start that fails. */
        call(rig, one, "Reboot", "{'force': <true>}");
        start_fails(rig, two, "MaxVCPUs=3");
        call(rig, one, "PowerOff", NULL);
        for (unsigned i = 0; i < 3; i++)
                vm_call_fails(service, two, "Start", NULL, CHV_ERROR_IMAGE);
        call(rig, one, "Start", NULL);
        call(rig, one, "Delete", "{'force': <true>}");
        g_free(one);
        one = vm_run(service, "one", "fails-on-Nmi", "'cpus': <{'boot_vcpus': <2>}>");
        call(rig, one, "NMI", NULL);
        vm_await(service, one, "failed");
        call(rig, one, "Start", NULL);
}

static void test_memory_and_disks(Rig *rig, gconstpointer data) {
        g_autofree char *disk = g_build_filename(rig->service->dir, "disk", NULL);
        g_autofree char *disks = g_strdup_printf("'disks': <[{'path': <'%s'>}]>", disk);
        g_autofree char *first = NULL, *second = NULL, *third = NULL;

        g_assert_true(g_file_set_contents(disk, "0123456789abcdef", 16, NULL));
        g_assert_cmpint(truncate(disk, 1024 * 1024), ==, 0);
        first = vm_create(rig->service, "first", NULL, "'memory': <{'size': <int64 1073741824>}>");
        second = vm_create(rig->service, "second", NULL, "'memory': <{'size': <int64 805306368>}>");
        third = vm_create(rig->service, "third", NULL, disks);
        start_fails(rig, third, "MaxDisks=0");
        call(rig, first, "Start", NULL);
        start_fails(rig, second,
                    "1G memory of running virtual machines; 768M more would exceed "
                    "the limit MaxMemory=1536M");
        reload(rig, "MaxMemoryTotal=1536M");
        start_fails(rig, second, "MaxMemoryTotal=1536M");
        reload(rig, "MaxMemoryTotal=1792M");
        call(rig, second, "Start", NULL);
        start_fails(rig, third, "MaxMemoryTotal=1792M");
        call(rig, second, "PowerOff", NULL);
        call(rig, third, "Start", NULL);
}

static void test_reload(Rig *rig, gconstpointer data) {
        g_autofree char *vm = vm_run(rig->service, "vm", NULL, NULL);
        g_autofree char *pid = vm_get(rig->service, vm, "WorkerPID"), *later = NULL;

        hear(rig, "STATUS=1 virtual machine, 1 running\n");
        /* Nonsense, and limits below what there is. */
        reload(rig, "MaxVMs=0\nMaxVCPUs=0\nMaxMemory=0\nMaxCPUs=1\nMaxDisks=none\n[\xff");
        hear(rig, "STATUS=1 virtual machine, 1 running\n");
        reload(rig, "MaxVMs=0\nMaxVCPUs=0\nMaxMemory=0\nMaxCPUs=1\nMaxDisks=none");
        create_fails(rig, "more", "MaxVMs=0");
        later = vm_get(rig->service, vm, "WorkerPID");
        g_assert_cmpstr(later, ==, pid);
        call(rig, vm, "Pause", NULL);
        call(rig, vm, "Resume", NULL);
        call(rig, vm, "PowerOff", NULL);
        start_fails(rig, vm, "MaxVCPUs=0");
        g_assert_true(vm_exists(rig->service, vm));
        /* The file may go too. */
        (void) g_unlink(rig->file);
        g_assert_cmpint(kill(service_pid(rig->service), SIGHUP), ==, 0);
        hear(rig, "READY=1\n");
        call(rig, vm, "Start", NULL);
}

/* A service manager that has other things to do costs the service nothing, and finds the last state when it looks. */
static void test_deaf_manager(Rig *rig, gconstpointer data) {
        for (unsigned i = 0; i < 50; i++) {
                g_autofree char *name = g_strdup_printf("vm%u", i);
                g_autofree char *vm = vm_create(rig->service, name, NULL, NULL);

                call(rig, vm, i % 2 ? "Start" : "Delete", NULL);
        }
        g_assert_cmpint(kill(service_pid(rig->service), SIGHUP), ==, 0);
        call(rig, "/org/cloudhypervisor/vm/vm1", "Pause", NULL);
        hear(rig, "READY=1\n");
        hear(rig, "RELOADING=1\n");
        hear(rig, "READY=1\nSTATUS=25 virtual machines, 25 running\n");
}

static void test_notify(Rig *rig, gconstpointer data) {
        g_autofree char *vm = NULL, *other = NULL;

        hear(rig, "READY=1\nSTATUS=");
        vm = vm_create(rig->service, "vm", NULL, NULL);
        hear(rig, "STATUS=1 virtual machine, 0 running\n");
        call(rig, vm, "Start", NULL);
        hear(rig, "STATUS=1 virtual machine, 1 running\n");
        other = vm_create(rig->service, "other", NULL, NULL);
        hear(rig, "STATUS=2 virtual machines, 1 running\n");
        call(rig, vm, "PowerOff", NULL);
        hear(rig, "STATUS=2 virtual machines, 0 running\n");
        call(rig, vm, "Delete", NULL);
        hear(rig, "STATUS=1 virtual machine, 0 running\n");
        for (unsigned i = 0; i < 3; i++)
                hear(rig, "WATCHDOG=1\n");
        g_assert_cmpint(kill(service_pid(rig->service), SIGTERM), ==, 0);
        hear(rig, "STOPPING=1\n");
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add("/supervision/limits", Rig, "MaxVMs=3\nMaxVCPUs=3", rig_setup, test_limits,
                   rig_teardown);
        g_test_add("/supervision/memory-and-disks", Rig, "MaxMemory=1536M\nMaxDisks=0", rig_setup,
                   test_memory_and_disks, rig_teardown);
        g_test_add("/supervision/reload", Rig, "", rig_setup, test_reload, rig_teardown);
        g_test_add("/supervision/deaf-manager", Rig, "", rig_setup, test_deaf_manager,
                   rig_teardown);
        g_test_add("/supervision/notify", Rig, "", rig_setup, test_notify, rig_teardown);
        return g_test_run();
}
