/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves of a whole worker, with guests of our own on a real hypervisor: it refuses what it cannot run
 * and can be asked again; each way a guest ends its machine becomes the right state, event and exit status; pause stops time for the
 * guest and resume lets it go on; the serial line works both ways; disk and entropy source serve an honest driver; and a hostile one
 * ends in NEEDS_RESET and recovers, while a neighbour never notices. A machine lives on without a connection.
 */

#include "tests/guest/worker/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dbus/error.h"
#include "dbus/fd.h"

#define SMALL "'memory': <{'size': <uint64 33554432>}>, 'debug_console': <{'mode': <'null'>}>"

static char *guest_path(const char *name) {
        return g_build_filename(g_getenv("CHV_GUESTS"), name, NULL);
}

/* more: further sections of the configuration, beginning with a comma, or "". */
static bool
try_boot(Worker *worker, const char *guest, const char *cmdline, const char *more, GError **error) {
        g_autofree char *path = guest_path(guest);
        g_autofree char *config = g_strdup_printf(
                        "{" SMALL ", 'payload': <{'kernel': <'%s'>, 'cmdline': <'%s'>}>%s}", path,
                        cmdline, more);

        return worker_boot(worker, path, config, error);
}

static void boot(Worker *worker, const char *guest, const char *cmdline, const char *more) {
        g_autoptr(GError) error = NULL;

        (void) try_boot(worker, guest, cmdline, more, &error);
        g_assert_no_error(error);
}

static void assert_exit(Worker *worker, int code) {
        int status = worker_wait(worker);

        g_assert_true(WIFEXITED(status));
        g_assert_cmpint(WEXITSTATUS(status), ==, code);
}

static void test_refused(void) {
        static const struct {
                const char *more, *named;
                int code;
        } cases[] = {
                { ", 'colour': <'red'>", "colour", CHV_ERROR_INVALID_CONFIG },
                { ", 'cpus': <{'boot_vcpus': <uint32 0>}>", "boot_vcpus",
                  CHV_ERROR_INVALID_CONFIG },
                { ", 'cpus': <{'boot_vcpus': <uint32 4>, 'max_vcpus': <uint32 2>}>", "max_vcpus",
                  CHV_ERROR_INVALID_CONFIG },
                { ", 'disks': <[{'path': <'/nowhere'>}]>", "disks/_disk0",
                  CHV_ERROR_INVALID_CONFIG },
                { ", 'serial': <{'mode': <'pty'>}>", "serial", CHV_ERROR_RESOURCE },
        };

        for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autoptr(Worker) worker = worker_new();
                g_autoptr(GError) error = NULL;

                g_assert_false(try_boot(worker, "guest-machine", "", cases[i].more, &error));
                g_assert_error(error, CHV_ERROR, cases[i].code);
                if (!strstr(error->message, cases[i].named))
                        g_error("'%s' does not name %s", error->message, cases[i].named);
                g_assert_true(worker_alive(worker));
        }
}

static void test_bad_kernel(void) {
        g_autoptr(Worker) worker = worker_new();
        g_autoptr(GError) error = NULL;

        g_assert_false(worker_boot(
                        worker, "/etc/passwd",
                        "{" SMALL ", 'payload': <{'kernel': <'/etc/passwd'>}>}", &error));
        g_assert_error(error, CHV_ERROR, CHV_ERROR_IMAGE);
        g_assert_nonnull(strstr(error->message, "kernel"));
        g_assert_true(worker_alive(worker));
}

static void test_methods_without_a_machine(void) {
        g_autoptr(Worker) worker = worker_new();
        ChvVmm *proxy = worker_proxy(worker);
        gboolean (*const methods[])(ChvVmm *, GCancellable *, GError **) = {
                chv_vmm_call_pause_sync,        chv_vmm_call_resume_sync, chv_vmm_call_reset_sync,
                chv_vmm_call_power_button_sync, chv_vmm_call_nmi_sync,
        };

        for (unsigned i = 0; i < G_N_ELEMENTS(methods); i++) {
                g_autoptr(GError) error = NULL;

                g_assert_false(methods[i](proxy, NULL, &error));
                g_assert_error(error, CHV_ERROR, CHV_ERROR_INVALID_STATE);
        }
}

static void test_power_off(void) {
        g_autoptr(Worker) worker = worker_new();

        boot(worker, "guest-machine", "hello from the host", "");
        worker_expect_event(worker, "vm/shutdown", NULL);
        assert_exit(worker, 0);
}

static void send(Worker *worker, int signal) {
        g_assert_cmpint(kill(worker_pid(worker), signal), ==, 0);
}

static void terminate(Worker *worker) {
        send(worker, SIGTERM);
}

/* The signal presses the power button, which this guest has no ear for; the next one does not ask. */
static void test_terminate_by(int signal) {
        for (unsigned i = 0; i < 3; i++) {
                g_autoptr(Worker) worker = worker_new();

                if (i > 0)
                        boot(worker, "guest-machine", "tick", "");
                if (i == 1)
                        g_assert_true(chv_vmm_call_pause_sync(worker_proxy(worker), NULL, NULL));
                send(worker, signal);
                if (i == 2) {
                        worker_idle(300);
                        g_assert_true(worker_alive(worker));
                }
                /* Two that come at once may be one. */
                while (i == 2 && worker_count_events(worker, "vm/shutdown") == 0) {
                        send(worker, signal);
                        worker_idle(100);
                }
                worker_expect_event(worker, "vm/shutdown", NULL);
                assert_exit(worker, 0);
        }
}

static void test_terminate(void) {
        test_terminate_by(SIGTERM);
}

/* What machinectl poweroff sends does the same. */
static void test_terminate_by_machinectl(void) {
        test_terminate_by(SIGRTMIN + 4);
}

/* Waits until the signal has been seen: what follows it is not to overtake it. */
static void restart(Worker *worker) {
        send(worker, SIGINT);
        worker_idle(300);
        g_assert_true(worker_alive(worker));
}

static int boot_echo(Worker *worker) {
        g_autoptr(GError) error = NULL;
        int fd;

        boot(worker, "guest-machine", "echo", ", 'serial': <{'mode': <'null'>}>");
        fd = worker_open_console(worker, "serial", "@a{sv} {}", &error);
        g_assert_no_error(error);
        return fd;
}

/* For the n-th time. */
static void await_up(Worker *worker, unsigned n) {
        const char *at = NULL;

        for (unsigned i = 0; i < 600 && !at; i++) {
                at = worker_output(worker);
                for (unsigned seen = 0; at && seen < n; seen++)
                        at = (at = strstr(at, "up: ")) ? at + 1 : NULL;
                worker_idle(50);
        }
        g_assert_nonnull(at);
}

static void power_off_guest(int serial) {
        g_assert_cmpint(write(serial, "q", 1), ==, 1);
}

/* What machinectl reboot sends: a guest that powers off then is started again, once. A paused one need not be asked. */
static void test_restart(void) {
        g_autoptr(Worker) worker = worker_new();
        chv_autofd serial = -1;

        restart(worker);
        serial = boot_echo(worker);
        restart(worker);
        await_up(worker, 1);
        power_off_guest(serial);
        worker_expect_event(worker, "vm/rebooted", NULL);
        await_up(worker, 2);
        g_assert_true(chv_vmm_call_pause_sync(worker_proxy(worker), NULL, NULL));
        send(worker, SIGINT);
        worker_expect_event(worker, "vm/rebooted", NULL);
        await_up(worker, 3);
        power_off_guest(serial);
        worker_expect_event(worker, "vm/shutdown", NULL);
}

/* Whoever wants it off afterwards has the last word: chvd, or systemd. */
static void test_restart_taken_back(void) {
        for (unsigned i = 0; i < 2; i++) {
                g_autoptr(Worker) worker = worker_new();
                chv_autofd serial = boot_echo(worker);

                restart(worker);
                if (i == 0)
                        g_assert_true(chv_vmm_call_power_button_sync(
                                        worker_proxy(worker), NULL, NULL));
                else {
                        terminate(worker);
                        worker_idle(300);
                }
                await_up(worker, 1);
                power_off_guest(serial);
                worker_expect_event(worker, "vm/shutdown", NULL);
                g_assert_cmpuint(worker_count_events(worker, "vm/rebooted"), ==, 0);
        }
}

/* Nobody is needed to tell it to quit. */
static void test_terminate_alone(void) {
        g_autoptr(Worker) worker = worker_new();

        boot(worker, "guest-machine", "tick", "");
        g_assert_true(chv_vmm_call_pause_sync(worker_proxy(worker), NULL, NULL));
        worker_disconnect(worker);
        terminate(worker);
        g_assert_cmpint(worker_wait(worker), ==, 0);
}

static void test_boot_twice(void) {
        g_autoptr(Worker) worker = worker_new();
        g_autoptr(GError) error = NULL;

        boot(worker, "guest-machine", "tick", "");
        g_assert_false(try_boot(worker, "guest-machine", "", "", &error));
        g_assert_error(error, CHV_ERROR, CHV_ERROR_INVALID_STATE);
        worker_expect(worker, "tick 0x0000000000000003");
}

/* Each way to reset: the machine is built anew, again and again, from the same descriptors. */
static void test_resets(void) {
        static const char *const ways[] = { "reset", "reset-i8042", "reset-cmos", "triple-fault" };

        for (unsigned i = 0; i < G_N_ELEMENTS(ways); i++) {
                g_autoptr(Worker) worker = worker_new();
                g_autoptr(GError) error = NULL;

                boot(worker, "guest-machine", ways[i], "");
                for (unsigned n = 0; n < 3; n++)
                        worker_expect_event(worker, "vm/rebooted", NULL);
                (void) chv_vmm_call_quit_sync(worker_proxy(worker), NULL, &error);
                g_assert_no_error(error);
                assert_exit(worker, 0);
        }
}

static void test_reset_from_outside(void) {
        g_autoptr(Worker) worker = worker_new();
        g_autoptr(GError) error = NULL;

        boot(worker, "guest-machine", "tick", "");
        worker_expect(worker, "tick 0x0000000000000003");
        (void) chv_vmm_call_reset_sync(worker_proxy(worker), NULL, &error);
        g_assert_no_error(error);
        worker_expect_event(worker, "vm/rebooted", NULL);
        worker_idle(300);
        {
                const char *second = strstr(worker_output(worker), "tick 0x0000000000000003");

                g_assert_nonnull(strstr(second, "up: "));
        }
}

static void test_failure(void) {
        g_autoptr(Worker) worker = worker_new();
        g_autoptr(GVariant) properties = NULL;
        const char *message;

        boot(worker, "guest-machine", "run-registers", "");
        worker_expect_event(worker, "vm/failed", &properties);
        g_assert_true(g_variant_lookup(properties, "message", "&s", &message));
        g_assert_nonnull(strstr(message, "vCPU 0"));
        assert_exit(worker, 1);
}

static void test_pause(void) {
        g_autoptr(Worker) worker = worker_new();
        g_autoptr(GError) error = NULL;
        ChvVmm *proxy = worker_proxy(worker);
        gsize before;

        boot(worker, "guest-machine", "tick", "");
        worker_expect(worker, "tick 0x0000000000000002");
        for (unsigned i = 0; i < 3; i++) {
                (void) chv_vmm_call_pause_sync(proxy, NULL, &error);
                g_assert_no_error(error);
                worker_expect_event(worker, "vm/paused", NULL);
                worker_idle(50);
                before = strlen(worker_output(worker));
                worker_idle(500);
                g_assert_cmpuint(strlen(worker_output(worker)), ==, before);
                g_assert_cmpstr(chv_vmm_get_state(proxy), ==, "paused");
                (void) chv_vmm_call_resume_sync(proxy, NULL, &error);
                g_assert_no_error(error);
                worker_expect_event(worker, "vm/resumed", NULL);
                worker_idle(500);
                g_assert_cmpuint(strlen(worker_output(worker)), >, before);
        }
}

static void test_quit_while_paused(void) {
        g_autoptr(Worker) worker = worker_new();
        g_autoptr(GError) error = NULL;
        ChvVmm *proxy = worker_proxy(worker);

        boot(worker, "guest-machine", "hang", ", 'cpus': <{'boot_vcpus': <uint32 2>}>");
        (void) chv_vmm_call_pause_sync(proxy, NULL, &error);
        g_assert_no_error(error);
        (void) chv_vmm_call_quit_sync(proxy, NULL, &error);
        g_assert_no_error(error);
        assert_exit(worker, 0);
}

static void test_serial(void) {
        g_autoptr(Worker) worker = worker_new();
        g_autoptr(GError) error = NULL;
        char buf[64] = "";
        size_t got = 0;
        int fd;

        boot(worker, "guest-machine", "echo", ", 'serial': <{'mode': <'null'>}>");
        fd = worker_open_console(worker, "serial", "@a{sv} {}", &error);
        g_assert_no_error(error);
        g_assert_cmpint(write(fd, "hello, uart\n", 12), ==, 12);
        while (got < 12) {
                struct pollfd p = { .fd = fd, .events = POLLIN };
                ssize_t n;

                g_assert_cmpint(poll(&p, 1, 30000), ==, 1);
                n = read(fd, buf + got, sizeof(buf) - 1 - got);
                g_assert_cmpint(n, >, 0);
                got += (size_t) n;
        }
        g_assert_cmpstr(buf, ==, "HELLO, UART\n");
        g_assert_cmpint(write(fd, "q", 1), ==, 1);
        assert_exit(worker, 0);
        close(fd);
}

static void test_unknown_console(void) {
        g_autoptr(Worker) worker = worker_new();
        g_autoptr(GError) error = NULL;

        boot(worker, "guest-machine", "tick", ", 'console': <{'mode': <'off'>}>");
        g_assert_cmpint(worker_open_console(worker, "console", "@a{sv} {}", &error), <, 0);
        g_assert_error(error, CHV_ERROR, CHV_ERROR_NO_SUCH_DEVICE);
        g_clear_error(&error);
        g_assert_cmpint(worker_open_console(worker, "teletype", "@a{sv} {}", &error), <, 0);
        g_assert_error(error, CHV_ERROR, CHV_ERROR_NO_SUCH_DEVICE);
}

static void test_debug_flood(void) {
        g_autoptr(Worker) worker = worker_new();

        boot(worker, "guest-machine", "debug-flood", "");
        assert_exit(worker, 0);
        g_assert_cmpuint(worker_count_events(worker, "debug/code"), >, 0);
        g_assert_cmpuint(worker_count_events(worker, "debug/code"), <=, 64);
}

/* A disk of 1 MiB whose first sector says so. */
static char *new_disk(void) {
        char *path = g_build_filename(g_get_tmp_dir(), "chv-disk-XXXXXX", NULL);
        int fd = g_mkstemp_full(path, O_RDWR | O_CLOEXEC, 0600);

        g_assert_cmpint(fd, >=, 0);
        g_assert_cmpint(write(fd, "first sector", 12), ==, 12);
        g_assert_cmpint(ftruncate(fd, 1024 * 1024), ==, 0);
        close(fd);
        return path;
}

static void
boot_with_disk(Worker *worker,
               const char *guest,
               const char *cmdline,
               const char *disk,
               bool readonly,
               bool sync) {
        g_autofree char *more =
                        g_strdup_printf(", 'disks': <[{'path': <'%s'>, 'serial': "
                                        "<'serial-of-the-disk'>, 'readonly': <%s>, "
                                        "'disable_io_uring': <%s>}]>",
                                        disk, readonly ? "true" : "false", sync ? "true" : "false");
        int fd = open(disk, (readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC);

        g_assert_cmpint(fd, >=, 0);
        worker_add_fd(worker, "disks/_disk0", fd);
        boot(worker, guest, cmdline, more);
}

static void check_disk(bool readonly, bool sync) {
        g_autoptr(Worker) worker = worker_new();
        g_autofree char *disk = new_disk();
        g_autofree char *contents = NULL;
        gsize len;

        boot_with_disk(worker, "guest-disk", readonly ? "readonly" : "", disk, readonly, sync);
        worker_expect(worker, "done");
        assert_exit(worker, 0);
        g_assert_true(g_file_get_contents(disk, &contents, &len, NULL));
        g_assert_cmpuint(len, ==, 1024 * 1024);
        for (gsize i = 12; i < len; i++)
                g_assert_cmpint(contents[i], ==, !readonly && i >= 4096 && i < 8192 ? 0x5a : 0);
        g_assert_cmpuint(worker_count_events(worker, "virtio-device/broken"), ==, 0);
        g_assert_cmpuint(worker_count_events(worker, "virtio-device/activated"), >=, 2);
        (void) g_unlink(disk);
}

static void test_disk(void) {
        check_disk(/* readonly= */ false, /* sync= */ false);
}

static void test_disk_readonly(void) {
        check_disk(/* readonly= */ true, /* sync= */ false);
}

static void test_disk_sync(void) {
        check_disk(/* readonly= */ false, /* sync= */ true);
}

static void test_hostile_queue(void) {
        g_autoptr(Worker) neighbour = worker_new();
        g_autofree char *disk = new_disk();
        unsigned n;
        gsize before;

        boot(neighbour, "guest-machine", "tick", "");
        worker_expect(neighbour, "tick 0x0000000000000001");
        for (n = 1;; n++) {
                g_autoptr(Worker) worker = worker_new();
                g_autofree char *cmdline = g_strdup_printf("case=%u", n);

                boot_with_disk(worker, "guest-hostile", cmdline, disk, /* readonly= */ false,
                               /* sync= */ false);
                assert_exit(worker, 0);
                if (strstr(worker_output(worker), "no such case"))
                        break;
                worker_expect(worker, "survived");
                g_test_message("case %u: %s", n, worker_output(worker));
                if (strstr(worker_output(worker), "needs reset"))
                        worker_expect_event(worker, "virtio-device/broken", NULL);
        }
        g_assert_cmpuint(n, >, 15);
        before = strlen(worker_output(neighbour));
        worker_idle(300);
        g_assert_cmpuint(strlen(worker_output(neighbour)), >, before);
        (void) g_unlink(disk);
}

static void test_hostile_rings(void) {
        g_autoptr(Worker) worker = worker_new();
        g_autofree char *disk = new_disk();

        boot_with_disk(worker, "guest-hostile", "bad-rings", disk, /* readonly= */ false,
                       /* sync= */ false);
        worker_expect(worker, "survived");
        assert_exit(worker, 0);
        (void) g_unlink(disk);
}

static void test_hostile_registers(void) {
        g_autoptr(Worker) worker = worker_new();
        g_autofree char *disk = new_disk();

        boot_with_disk(worker, "guest-hostile", "fuzz rounds=20000", disk, /* readonly= */ false,
                       /* sync= */ false);
        worker_expect(worker, "fuzzed");
        assert_exit(worker, 0);
        (void) g_unlink(disk);
}

static char *state_of(Worker *worker, bool *ret_devices) {
        g_autoptr(GVariant) devices = NULL, consoles = NULL;
        g_autoptr(GError) error = NULL;
        char *state = NULL;
        gboolean preserve;

        (void) chv_vmm_call_describe_sync(
                        worker_proxy(worker), &state, /* ret_reason= */ NULL, &devices, &consoles,
                        &preserve, NULL, &error);
        g_assert_no_error(error);
        *ret_devices = g_variant_n_children(devices) > 0;
        return state;
}

/* The guest does not notice who is there to watch it, and the newest watcher is the one that is heard. */
static void test_connections(void) {
        g_autoptr(Worker) worker = worker_new();
        g_autofree char *before = NULL, *after = NULL, *other = NULL;
        gsize said;
        bool devices;

        before = state_of(worker, &devices);
        g_assert_cmpstr(before, ==, "created");
        g_assert_false(devices);
        boot(worker, "guest-machine", "tick", "");
        worker_expect(worker, "tick 0x0000000000000001");
        worker_disconnect(worker);
        said = strlen(worker_output(worker));
        worker_idle(300);
        g_assert_cmpuint(strlen(worker_output(worker)), >, said);
        g_assert_true(worker_alive(worker));
        worker_connect(worker);
        after = state_of(worker, &devices);
        g_assert_cmpstr(after, ==, "running");
        g_assert_true(devices);
        for (unsigned i = 0; i < 20; i++)
                worker_connect(worker);
        other = state_of(worker, &devices);
        g_assert_cmpstr(other, ==, "running");
}

/* A worker that was forgotten before it had a machine does not wait for ever; one that has a machine does. */
static void test_lonely(void) {
        g_autoptr(Worker) worker = worker_new(), other = worker_new();

        boot(other, "guest-machine", "tick", "");
        worker_disconnect(other);
        worker_disconnect(worker);
        g_assert_true(worker_alive(worker));
        assert_exit(worker, 0);
        worker_idle(1000);
        g_assert_true(worker_alive(other));
}

/* What the machine ended in is told to who comes later; then the process goes. */
static void test_end_unwatched(void) {
        g_autoptr(Worker) worker = worker_new();
        g_autofree char *state = NULL;
        g_autoptr(GError) error = NULL;
        struct pollfd end = { .events = POLLIN };
        bool devices;
        char byte;

        boot(worker, "guest-machine", "echo", ", 'serial': <{'mode': <'null'>}>");
        end.fd = worker_open_console(worker, "serial", "@a{sv} {}", &error);
        g_assert_no_error(error);
        worker_disconnect(worker);
        g_assert_cmpint(write(end.fd, "q", 1), ==, 1);
        /* Its consoles end with the machine. */
        g_assert_cmpint(poll(&end, 1, 30000), ==, 1);
        g_assert_cmpint(read(end.fd, &byte, 1), ==, 0);
        (void) close(end.fd);
        g_assert_true(worker_alive(worker));
        worker_connect(worker);
        state = state_of(worker, &devices);
        g_assert_cmpstr(state, ==, "shutdown");
        g_assert_false(devices);
        (void) chv_vmm_call_quit_sync(worker_proxy(worker), NULL, &error);
        g_assert_no_error(error);
        assert_exit(worker, 0);
}

static void test_killed(void) {
        g_autoptr(Worker) neighbour = worker_new();
        g_autoptr(Worker) worker = worker_new();
        gsize before;
        int status;

        boot(neighbour, "guest-machine", "tick", "");
        boot(worker, "guest-machine", "tick", "");
        worker_expect(neighbour, "tick 0x0000000000000001");
        g_assert_cmpint(kill(worker_pid(worker), SIGKILL), ==, 0);
        status = worker_wait(worker);
        g_assert_true(WIFSIGNALED(status));
        before = strlen(worker_output(neighbour));
        worker_idle(300);
        g_assert_cmpuint(strlen(worker_output(neighbour)), >, before);
}

int main(int argc, char **argv) {
        int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

        if (kvm < 0) {
                g_print("1..0 # SKIP /dev/kvm cannot be opened: %s\n", g_strerror(errno));
                return 0;
        }
        close(kvm);
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/worker/refused", test_refused);
        g_test_add_func("/worker/bad-kernel", test_bad_kernel);
        g_test_add_func("/worker/methods-without-a-machine", test_methods_without_a_machine);
        g_test_add_func("/worker/power-off", test_power_off);
        g_test_add_func("/worker/terminate", test_terminate);
        g_test_add_func("/worker/terminate-by-machinectl", test_terminate_by_machinectl);
        g_test_add_func("/worker/restart", test_restart);
        g_test_add_func("/worker/restart-taken-back", test_restart_taken_back);
        g_test_add_func("/worker/terminate-alone", test_terminate_alone);
        g_test_add_func("/worker/boot-twice", test_boot_twice);
        g_test_add_func("/worker/resets", test_resets);
        g_test_add_func("/worker/reset-from-outside", test_reset_from_outside);
        g_test_add_func("/worker/failure", test_failure);
        g_test_add_func("/worker/pause", test_pause);
        g_test_add_func("/worker/quit-while-paused", test_quit_while_paused);
        g_test_add_func("/worker/serial", test_serial);
        g_test_add_func("/worker/unknown-console", test_unknown_console);
        g_test_add_func("/worker/debug-flood", test_debug_flood);
        g_test_add_func("/worker/disk", test_disk);
        g_test_add_func("/worker/disk-readonly", test_disk_readonly);
        g_test_add_func("/worker/disk-without-io-uring", test_disk_sync);
        g_test_add_func("/worker/hostile-queue", test_hostile_queue);
        g_test_add_func("/worker/hostile-rings", test_hostile_rings);
        g_test_add_func("/worker/hostile-registers", test_hostile_registers);
        g_test_add_func("/worker/connections", test_connections);
        g_test_add_func("/worker/end-unwatched", test_end_unwatched);
        g_test_add_func("/worker/lonely", test_lonely);
        g_test_add_func("/worker/killed", test_killed);
        return g_test_run();
}
