/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves of the worker's consoles: output reaches every client in order and whole, late clients get
 * the last MiB and know nothing of what is older, a client that does not read costs the guest and
 * the others nothing, one client types at a time and force moves that right, input waits while the
 * device has no room and is never lost, files get every byte, ptys and sockets work as endpoints.
 */

#include "daemon/vmm/console.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "dbus/error.h"
#include "dbus/fd.h"

/* A device that takes at most room bytes at a time. */
typedef struct {
        GByteArray *typed;
        size_t room;
        uint16_t columns, rows;
} Device;

static size_t device_input(void *opaque, const uint8_t *data, size_t len) {
        Device *device = opaque;
        size_t n = MIN(len, device->room);

        g_byte_array_append(device->typed, data, (guint) n);
        device->room -= n;
        return n;
}

static void device_resized(void *opaque, uint16_t columns, uint16_t rows) {
        Device *device = opaque;

        device->columns = columns;
        device->rows = rows;
}

static const struct chardev_frontend_ops device_ops = { .input = device_input,
                                                        .resized = device_resized };

static void device_attach(Device *device, Console *console) {
        struct chardev *chr = console_chardev(console);

        device->typed = g_byte_array_new();
        device->room = SIZE_MAX;
        chr->frontend = &device_ops;
        chr->frontend_opaque = device;
}

static Console *new_console(ChvConsoleMode mode, int fd) {
        g_autoptr(GError) error = NULL;
        Console *console = console_new("serial", mode, fd, &error);

        g_assert_no_error(error);
        return console;
}

static int open_client(Console *console, ConsoleClientFlags flags) {
        g_autoptr(GError) error = NULL;
        int fd = console_open(console, flags, &error);

        g_assert_no_error(error);
        return fd;
}

static void output(Console *console, const void *data, size_t len) {
        struct chardev *chr = console_chardev(console);

        chr->ops->write(chr, data, len);
}

static gboolean on_over(gpointer data) {
        *(bool *) data = true;
        return G_SOURCE_REMOVE;
}

/* Runs what is due now. */
static void run_due(void) {
        while (g_main_context_iteration(NULL, false))
                ;
}

/* Runs the main loop for longer than a console waits before it looks for more output. */
static void settle(void) {
        bool over = false;

        g_timeout_add(10, on_over, &over);
        while (!over)
                g_main_context_iteration(NULL, /* may_block= */ true);
        run_due();
}

/* Reads what there is and lets the console send more, until nothing comes. */
static GByteArray *read_all(int fd) {
        GByteArray *all = g_byte_array_new();
        uint8_t buf[65536];
        ssize_t n;

        for (;;) {
                settle();
                n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
                if (n <= 0)
                        return all;
                g_byte_array_append(all, buf, (guint) n);
        }
}

static void assert_gets(int fd, const char *text) {
        g_autoptr(GByteArray) got = read_all(fd);

        g_assert_cmpmem(got->data, got->len, text, strlen(text));
}

static void test_bad_endpoint(void) {
        g_autoptr(GError) error = NULL;
        chv_autofd null = open("/dev/null", O_RDWR | O_CLOEXEC);

        g_assert_null(console_new("serial", CHV_CONSOLE_FILE, -1, &error));
        g_assert_error(error, CHV_ERROR, CHV_ERROR_RESOURCE);
        g_clear_error(&error);
        g_assert_null(console_new("serial", CHV_CONSOLE_PTY, null, &error));
        g_assert_error(error, CHV_ERROR, CHV_ERROR_RESOURCE);
        g_assert_nonnull(strstr(error->message, "serial"));
}

static void test_clients_see_everything(void) {
        g_autoptr(Console) console = new_console(CHV_CONSOLE_NULL, -1);
        chv_autofd a = open_client(console, CONSOLE_CLIENT_REPLAY), b = -1;

        output(console, "one ", 4);
        assert_gets(a, "one ");
        b = open_client(console, CONSOLE_CLIENT_REPLAY);
        output(console, "two", 3);
        assert_gets(a, "two");
        assert_gets(b, "one two");
}

static void test_no_replay(void) {
        g_autoptr(Console) console = new_console(CHV_CONSOLE_NULL, -1);
        chv_autofd a = -1;

        output(console, "old", 3);
        settle();
        a = open_client(console, 0);
        output(console, "new", 3);
        assert_gets(a, "new");
}

static void test_ring_keeps_the_last_mib(void) {
        g_autoptr(Console) console = new_console(CHV_CONSOLE_NULL, -1);
        g_autofree uint32_t *words = g_new(uint32_t, 512 * 1024);
        g_autoptr(GByteArray) got = NULL;
        uint64_t written, lost;
        chv_autofd a = -1;

        for (uint32_t i = 0; i < 512 * 1024; i++) {
                words[i] = i;
                output(console, &words[i], 4);
        }
        settle();
        a = open_client(console, CONSOLE_CLIENT_REPLAY);
        got = read_all(a);
        g_assert_cmpmem(got->data, got->len, words + 256 * 1024, 1024 * 1024);
        console_counters(console, &written, &lost);
        g_assert_cmpuint(written, ==, 2 * 1024 * 1024);
        g_assert_cmpuint(lost, ==, 0); /* nobody was there to miss it */
}

static void test_slow_client(void) {
        g_autoptr(Console) console = new_console(CHV_CONSOLE_NULL, -1);
        chv_autofd slow = open_client(console, 0), quick = open_client(console, 0);
        g_autofree uint8_t *block = g_malloc(65536);
        size_t quick_got = 0;
        uint64_t written, lost;

        for (unsigned i = 0; i < 64; i++) { /* 4 MiB */
                g_autoptr(GByteArray) got = NULL;

                memset(block, (int) i, 65536);
                output(console, block, 65536);
                got = read_all(quick);
                quick_got += got->len;
        }
        g_assert_cmpuint(quick_got, ==, 4 * 1024 * 1024);
        {
                g_autoptr(GByteArray) got = read_all(slow);

                g_assert_cmpuint(got->len, <, 4 * 1024 * 1024);
                g_assert_cmpuint(got->data[got->len - 1], ==, 63); /* it ends with the latest */
                console_counters(console, &written, &lost);
                g_assert_cmpuint(lost + got->len, ==, written);
        }
}

static void test_one_types(void) {
        g_autoptr(Console) console = new_console(CHV_CONSOLE_NULL, -1);
        g_autoptr(GError) error = NULL;
        Device device = { 0 };
        chv_autofd a = -1, watcher = -1, b = -1;

        device_attach(&device, console);
        a = open_client(console, CONSOLE_CLIENT_WRITE);
        watcher = open_client(console, 0);
        g_assert_cmpint(console_open(console, CONSOLE_CLIENT_WRITE, &error), <, 0);
        g_assert_error(error, CHV_ERROR, CHV_ERROR_BUSY);

        g_assert_cmpint(write(watcher, "evil", 4), ==, 4);
        g_assert_cmpint(write(a, "ls\n", 3), ==, 3);
        settle();
        g_assert_cmpmem(device.typed->data, device.typed->len, "ls\n", 3);

        b = open_client(console, CONSOLE_CLIENT_WRITE | CONSOLE_CLIENT_FORCE);
        g_assert_cmpint(write(a, "late", 4), ==, 4);
        g_assert_cmpint(write(b, "x", 1), ==, 1);
        settle();
        g_assert_cmpmem(device.typed->data, device.typed->len, "ls\nx", 4);
        g_byte_array_unref(device.typed);
}

static void test_leaving_frees_the_right_to_type(void) {
        g_autoptr(Console) console = new_console(CHV_CONSOLE_NULL, -1);
        chv_autofd b = -1, c = -1;
        int a = open_client(console, CONSOLE_CLIENT_WRITE);

        close(a);
        settle();
        b = open_client(console, CONSOLE_CLIENT_WRITE);
        g_assert_cmpint(shutdown(b, SHUT_WR), ==, 0); /* says no more, but listens */
        settle();
        c = open_client(console, CONSOLE_CLIENT_WRITE);
        output(console, "hi", 2);
        assert_gets(b, "hi");
        assert_gets(c, "hi");
}

static void test_input_waits_for_room(void) {
        g_autoptr(Console) console = new_console(CHV_CONSOLE_NULL, -1);
        struct chardev *chr = console_chardev(console);
        g_autofree uint8_t *text = g_malloc(20000);
        Device device = { 0 };
        chv_autofd a = -1;

        for (unsigned i = 0; i < 20000; i++)
                text[i] = (uint8_t) (i * 7);
        device_attach(&device, console);
        device.room = 0;
        a = open_client(console, CONSOLE_CLIENT_WRITE);
        g_assert_cmpint(write(a, text, 20000), ==, 20000);
        while (device.typed->len < 20000) {
                guint before = device.typed->len;

                device.room = 16; /* as much as a UART's FIFO */
                chr->ops->input_ready(chr);
                run_due();
                g_assert_cmpuint(device.typed->len, >, before);
        }
        g_assert_cmpmem(device.typed->data, device.typed->len, text, 20000);
        g_byte_array_unref(device.typed);
}

static void test_input_survives_a_reboot(void) {
        g_autoptr(Console) console = new_console(CHV_CONSOLE_NULL, -1);
        struct chardev *chr = console_chardev(console);
        Device device = { 0 };
        chv_autofd a = open_client(console, CONSOLE_CLIENT_WRITE);

        console_detach_device(console);
        g_assert_cmpint(write(a, "root\n", 5), ==, 5);
        settle();
        device_attach(&device, console);
        chr->ops->input_ready(chr);
        settle();
        g_assert_cmpmem(device.typed->data, device.typed->len, "root\n", 5);
        console_resize(console, 132, 43);
        g_assert_cmpuint(device.columns, ==, 132);
        g_assert_cmpuint(device.rows, ==, 43);
        g_byte_array_unref(device.typed);
}

static void test_file_gets_every_byte(void) {
        g_autofree char *path = g_build_filename(g_get_tmp_dir(), "console-XXXXXX", NULL);
        chv_autofd fd = g_mkstemp_full(path, O_RDWR | O_APPEND | O_CLOEXEC, 0600);
        g_autofree char *contents = NULL;
        g_autofree char *block = g_malloc(100000);
        g_autoptr(Console) console = new_console(CHV_CONSOLE_FILE, fd);
        gsize len;

        for (unsigned i = 0; i < 40; i++) { /* 4 MB without the main thread ever looking */
                memset(block, 'a' + (int) (i % 26), 100000);
                output(console, block, 100000);
        }
        g_assert_true(g_file_get_contents(path, &contents, &len, NULL));
        g_assert_cmpuint(len, ==, 4000000);
        for (unsigned i = 0; i < 40; i++)
                g_assert_cmpint(contents[i * 100000 + 99999], ==, 'a' + (int) (i % 26));
        (void) g_unlink(path);
}

static void test_pty(void) {
        chv_autofd master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), slave = -1;
        g_autoptr(Console) console = NULL;
        Device device = { 0 };
        char buf[64];

        g_assert_cmpint(master, >=, 0);
        g_assert_cmpint(unlockpt(master), ==, 0);
        console = new_console(CHV_CONSOLE_PTY, master);
        device_attach(&device, console);
        g_assert_nonnull(console_path(console));
        output(console, "login: ", 7);
        settle();
        for (unsigned i = 0; i < 3; i++) { /* coming and going of terminals does not hang it up */
                slave = open(console_path(console), O_RDWR | O_NOCTTY | O_CLOEXEC);
                g_assert_cmpint(slave, >=, 0);
                if (i == 0) {
                        g_assert_cmpint(read(slave, buf, sizeof(buf)), ==, 7);
                        g_assert_cmpmem(buf, 7, "login: ", 7);
                }
                g_assert_cmpint(write(slave, "me\n", 3), ==, 3);
                for (unsigned tries = 0; device.typed->len < 3 * (i + 1) && tries < 100; tries++)
                        g_main_context_iteration(NULL, /* may_block= */ true);
                close(chv_fd_steal(&slave));
                settle();
        }
        g_assert_cmpmem(device.typed->data, device.typed->len, "me\nme\nme\n", 9);
        g_byte_array_unref(device.typed);
}

static void test_socket(void) {
        g_autofree char *dir = g_dir_make_tmp("console-XXXXXX", NULL);
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        chv_autofd listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        chv_autofd client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        g_autoptr(Console) console = NULL;

        g_snprintf(address.sun_path, sizeof(address.sun_path), "%s/s", dir);
        g_assert_cmpint(bind(listener, (struct sockaddr *) &address, sizeof(address)), ==, 0);
        g_assert_cmpint(listen(listener, 4), ==, 0);
        console = new_console(CHV_CONSOLE_SOCKET, listener);
        output(console, "early", 5);
        settle();
        g_assert_cmpint(connect(client, (struct sockaddr *) &address, sizeof(address)), ==, 0);
        settle();
        assert_gets(client, "early");
        (void) g_unlink(address.sun_path);
        (void) g_rmdir(dir);
}

static void test_too_many_clients(void) {
        g_autoptr(Console) console = new_console(CHV_CONSOLE_NULL, -1);
        g_autoptr(GError) error = NULL;
        int fds[64], n = 0;

        for (; n < 64; n++) {
                fds[n] = console_open(console, 0, &error);
                if (fds[n] < 0)
                        break;
        }
        g_assert_error(error, CHV_ERROR, CHV_ERROR_LIMIT);
        while (n-- > 0)
                close(fds[n]);
        settle();
        g_clear_error(&error);
        fds[0] = open_client(console, 0);
        close(fds[0]);
}

static void *writer(void *opaque) {
        Console *console = opaque;

        for (unsigned i = 0; i < 20000; i++)
                output(console, "0123456789", 10);
        return NULL;
}

static void test_output_from_threads(void) {
        g_autoptr(Console) console = new_console(CHV_CONSOLE_NULL, -1);
        pthread_t threads[2];
        uint64_t written, lost;

        for (unsigned i = 0; i < 2; i++)
                g_assert_cmpint(pthread_create(&threads[i], NULL, writer, console), ==, 0);
        settle();
        for (unsigned i = 0; i < 2; i++)
                g_assert_cmpint(pthread_join(threads[i], NULL), ==, 0);
        console_counters(console, &written, &lost);
        g_assert_cmpuint(written, ==, 400000);
        {
                chv_autofd a = open_client(console, CONSOLE_CLIENT_REPLAY);
                g_autoptr(GByteArray) got = read_all(a);

                g_assert_cmpuint(got->len, ==, 400000);
                for (guint i = 0; i < got->len; i++)
                        g_assert_cmpint(got->data[i], ==, '0' + (int) (i % 10));
        }
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/vmm/console/bad-endpoint", test_bad_endpoint);
        g_test_add_func("/vmm/console/too-many-clients", test_too_many_clients);
        g_test_add_func("/vmm/console/clients-see-everything", test_clients_see_everything);
        g_test_add_func("/vmm/console/no-replay", test_no_replay);
        g_test_add_func("/vmm/console/ring-keeps-the-last-mib", test_ring_keeps_the_last_mib);
        g_test_add_func("/vmm/console/slow-client", test_slow_client);
        g_test_add_func("/vmm/console/one-types", test_one_types);
        g_test_add_func("/vmm/console/leaving-frees-the-right-to-type",
                        test_leaving_frees_the_right_to_type);
        g_test_add_func("/vmm/console/input-waits-for-room", test_input_waits_for_room);
        g_test_add_func("/vmm/console/input-survives-a-reboot", test_input_survives_a_reboot);
        g_test_add_func("/vmm/console/file-gets-every-byte", test_file_gets_every_byte);
        g_test_add_func("/vmm/console/pty", test_pty);
        g_test_add_func("/vmm/console/socket", test_socket);
        g_test_add_func("/vmm/console/output-from-threads", test_output_from_threads);
        return g_test_run();
}
