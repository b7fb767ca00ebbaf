/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves what reaches a worker and what is refused before: each descriptor is the file that the configuration names (or
 * the one the creator gave), of the right type and access; errors name the option; disks are locked; console files,
 * sockets and terminals are made and removed; taps come and go with the VM; nothing leaks.
 */

#include <fcntl.h>
#include <glib/gstdio.h>
#include <net/if.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/service/service.h"

static char *make_file(Service *service, const char *name) {
        char *path = g_build_filename(service->dir, name, NULL);

        g_assert_true(g_file_set_contents(path, "0123456789", -1, NULL));
        return path;
}

static guint64 counter(GVariant *reply, const char *of, const char *name) {
        g_autoptr(GVariant) all = g_variant_get_child_value(reply, 0);
        g_autoptr(GVariant) one = g_variant_lookup_value(all, of, G_VARIANT_TYPE("a{st}"));
        guint64 value = G_MAXUINT64;

        if (!one)
                g_error("no descriptor '%s'", of);
        g_assert_true(g_variant_lookup(one, name, "t", &value));
        return value;
}

static void assert_arrived(GVariant *counters, const char *name, const char *path, int access) {
        struct stat st;

        g_assert_cmpint(stat(path, &st), ==, 0);
        g_assert_cmpuint(counter(counters, name, "dev"), ==, st.st_dev);
        g_assert_cmpuint(counter(counters, name, "ino"), ==, st.st_ino);
        g_assert_cmpuint(counter(counters, name, "flags") & O_ACCMODE, ==, (guint64) access);
        g_assert_cmpuint(counter(counters, name, "flags") & O_NONBLOCK, ==, 0);
}

static void start_fails(Service *service, const char *name, const char *more, const char *names) {
        g_autofree char *vm = vm_create(service, name, NULL, more);
        g_autoptr(GVariant) reply = NULL;
        g_autoptr(GError) error = NULL;

        reply = vm_try(service, vm, "Start", NULL, &error);
        g_assert_null(reply);
        assert_names(error, CHV_ERROR_RESOURCE, names);
        g_assert_false(service_has_signal(service, "'worker-died'"));
}

static void test_arrive(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *disk = make_file(service, "disk"), *ro = make_file(service, "ro");
        g_autofree char *more = g_strdup_printf(
                        "'disks': <[{'path': <'%s'>}, {'path': <'%s'>, 'readonly': <true>}]>", disk,
                        ro);
        g_autofree char *vm = vm_run(service, "a", NULL, more);
        g_autoptr(GVariant) counters = vm_call(service, vm, "GetCounters", NULL);

        assert_arrived(counters, "kvm", "/dev/null", O_RDWR);
        assert_arrived(counters, "payload/kernel", service->kernel, O_RDONLY);
        assert_arrived(counters, "disks/_disk0", disk, O_RDWR);
        assert_arrived(counters, "disks/_disk1", ro, O_RDONLY);
        assert_arrived(counters, "rng", "/dev/urandom", O_RDONLY);
}

static void test_given(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autoptr(GUnixFDList) list = g_unix_fd_list_new();
        g_autofree char *disk = make_file(service, "disk"), *vm = NULL;
        g_autoptr(GVariant) counters = NULL, again = NULL, started = NULL, stopped = NULL,
                            restarted = NULL;
        g_autoptr(GError) error = NULL;
        int fd = open(disk, O_RDWR | O_CLOEXEC);

        (void) g_unix_fd_list_append(list, fd, NULL);
        (void) close(fd);
        /* The path is for messages only: the descriptor is what is used. */
        vm = vm_create_full(
                        service, "a",
                        service_config(service, NULL, "'disks': <[{'path': <'/nonexistent'>}]>"),
                        g_variant_new_parsed("{'disks/_disk0': handle 0}"), list, NULL, &error);
        g_assert_no_error(error);
        started = vm_call(service, vm, "Start", NULL);
        counters = vm_call(service, vm, "GetCounters", NULL);
        assert_arrived(counters, "disks/_disk0", disk, O_RDWR);
        stopped = vm_call(service, vm, "PowerOff", NULL);
        restarted = vm_call(service, vm, "Start", NULL);
        again = vm_call(service, vm, "GetCounters", NULL);
        assert_arrived(again, "disks/_disk0", disk, O_RDWR);
}

static void given_fails(Service *service, int fd, const char *more, const char *names) {
        g_autoptr(GUnixFDList) list = g_unix_fd_list_new();
        g_autoptr(GError) error = NULL;

        g_assert_cmpint(fd, >=, 0);
        (void) g_unix_fd_list_append(list, fd, NULL);
        (void) close(fd);
        g_assert_null(vm_create_full(
                        service, "x", service_config(service, NULL, more),
                        g_variant_new_parsed("{'disks/_disk0': handle 0}"), list, NULL, &error));
        assert_names(error, CHV_ERROR_RESOURCE, "disks[0].path");
        assert_names(error, CHV_ERROR_RESOURCE, names);
}

static void test_given_wrong(void) {
        static const char disk_x[] = "'disks': <[{'path': <'/x'>}]>";
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *disk = make_file(service, "disk");
        int pipe_fds[2];

        given_fails(service, open(disk, O_RDONLY | O_CLOEXEC), disk_x, "not writable");
        given_fails(service, open(disk, O_WRONLY | O_CLOEXEC), disk_x, "not readable");
        given_fails(service, open(disk, O_RDWR | O_APPEND | O_CLOEXEC), disk_x, "O_APPEND");
        given_fails(service, open(disk, O_PATH | O_CLOEXEC), disk_x, "O_PATH");
        given_fails(service, open("/dev/null", O_RDWR | O_CLOEXEC), disk_x,
                    "neither a regular file");
        given_fails(service, open(disk, O_RDWR | O_CLOEXEC),
                    "'disks': <[{'path': <'/x'>, 'direct': <true>}]>", "O_DIRECT");
        g_assert_cmpint(pipe(pipe_fds), ==, 0);
        (void) close(pipe_fds[1]);
        given_fails(service, pipe_fds[0], disk_x, "neither a regular file");
}

static void test_wrong_files(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *fifo = g_build_filename(service->dir, "fifo", NULL);
        g_autofree char *with_fifo = g_strdup_printf("'disks': <[{'path': <'%s'>}]>", fifo);
        g_autofree char *rng = g_strdup_printf("'rng': <{'src': <'%s'>}>", fifo);
        g_autofree char *serial =
                        g_strdup_printf("'serial': <{'mode': <'File'>, 'file': <'%s'>}>", fifo);
        g_autofree char *kernel = vm_create_full(
                        service, "k",
                        g_variant_new_parsed("{'payload': <{'kernel': <'/nonexistent/kernel'>}>}"),
                        NULL, NULL, NULL, NULL);
        g_autoptr(GError) error = NULL;

        /* Nobody is at the FIFO's other end: opening it would hang. */
        g_assert_cmpint(mkfifo(fifo, 0600), ==, 0);
        start_fails(service, "fifo", with_fifo, "disks[0].path");
        start_fails(service, "rng", rng, "rng.src");
        start_fails(service, "file", serial, "serial.file");
        start_fails(service, "directory", "'disks': <[{'path': <'/'>}]>", "disks[0].path");
        start_fails(service, "device", "'disks': <[{'path': <'/dev/zero'>}]>", "disks[0].path");
        start_fails(service, "missing", "'disks': <[{'path': <'/nonexistent'>}]>", "No such file");
        g_assert_null(vm_try(service, kernel, "Start", NULL, &error));
        assert_names(error, CHV_ERROR_RESOURCE, "payload.kernel");
}

static char *with_chain(const char *disk, const char *more) {
        return g_strdup_printf(
                        "'disks': <[{'path': <'%s'>, 'backing_files': <true>%s}]>", disk, more);
}

/* What an image names arrives in order, read-only where it is only read, and is found beside the file that names it. */
static void test_chain(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *two = make_file(service, "two"), *data = make_file(service, "data"),
                        *folder = g_build_filename(service->dir, "base", NULL), *first = NULL,
                        *second = NULL, *beside = make_file(service, "first"), *vm = NULL,
                        *other = NULL, *config = with_chain(two, ""),
                        *of_data = with_chain(data, ", 'id': <'d'>"),
                        *off = g_strdup_printf("'disks': <[{'path': <'%s'>}]>", two);
        g_autoptr(GVariant) counters = NULL, of_other = NULL, stopped = NULL, without = NULL,
                            started = NULL;

        g_assert_cmpint(g_mkdir(folder, 0755), ==, 0);
        first = make_file(service, "base/first");
        second = make_file(service, "base/second");
        vm = vm_run(service, "a", NULL, config);
        counters = vm_call(service, vm, "GetCounters", NULL);
        assert_arrived(counters, "disks/_disk0", two, O_RDWR);
        assert_arrived(counters, "disks/_disk0/0", first, O_RDONLY);
        assert_arrived(counters, "disks/_disk0/1", second, O_RDONLY);
        /* A data file is written like the image itself. */
        other = vm_run(service, "b", NULL, of_data);
        of_other = vm_call(service, other, "GetCounters", NULL);
        assert_arrived(of_other, "disks/d/0", beside, O_RDWR);

        /* Nobody asks without the option. */
        stopped = vm_call(service, vm, "PowerOff", NULL);
        g_clear_pointer(&vm, g_free);
        vm = vm_run(service, "c", NULL, off);
        without = vm_call(service, vm, "GetCounters", NULL);
        started = g_variant_get_child_value(without, 0);
        g_assert_null(g_variant_lookup_value(started, "disks/_disk0/0", NULL));
}

/* Two may read a base; nobody may write it then. */
static void test_chain_shared(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *base = g_build_filename(service->dir, "base", NULL), *first = NULL,
                        *more = g_build_filename(service->dir, "more", NULL), *second = NULL,
                        *two = make_file(service, "two"), *again = NULL, *a = NULL, *b = NULL,
                        *config = with_chain(two, ""), *same = NULL, *taken = NULL, *link = NULL;

        g_assert_cmpint(g_mkdir(base, 0755), ==, 0);
        g_assert_cmpint(g_mkdir(more, 0755), ==, 0);
        first = make_file(service, "base/first");
        second = make_file(service, "base/second");
        again = make_file(service, "more/two");
        link = g_build_filename(more, "base", NULL);
        g_assert_cmpint(symlink(base, link), ==, 0);
        same = with_chain(again, "");
        a = vm_run(service, "a", NULL, config);
        b = vm_run(service, "b", NULL, same);
        taken = g_strdup_printf("'disks': <[{'path': <'%s'>}]>", first);
        start_fails(service, "c", taken, "is in use by VM");
}

static void test_chain_refused(void) {
        static const struct {
                const char *disk, *names;
        } cases[] = {
                { "absolute", "disks[0].backing_files: '/proc/1/mem'" },
                { "endless", "too many files" },
                { "itself", "in use by another disk of this VM" },
                { "control", "control characters" },
                { "empty", "is empty" },
                { "owners", "No such file" },
        };
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *first = make_file(service, "first");

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autofree char *disk = make_file(service, cases[i].disk),
                                *config = with_chain(disk, ""), *id = g_strdup_printf("r%zu", i);

                start_fails(service, id, config, cases[i].names);
        }
}

/* A worker that answers nonsense, or dies over it, costs that start. */
static void test_chain_hostile(void) {
        static const char *const disks[] = { "stranger", "crash" };
        g_autoptr(Service) service = service_start(NULL);

        for (size_t i = 0; i < G_N_ELEMENTS(disks); i++) {
                g_autofree char *disk = make_file(service, disks[i]),
                                *config = with_chain(disk, ""),
                                *vm = vm_create(service, disks[i], NULL, config);
                g_autoptr(GVariant) reply = NULL;
                g_autoptr(GError) error = NULL;

                reply = vm_try(service, vm, "Start", NULL, &error);
                g_assert_null(reply);
                g_assert_nonnull(error);
        }
}

/* A descriptor has no folder. */
static void test_chain_given(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autoptr(GUnixFDList) list = g_unix_fd_list_new();
        g_autofree char *disk = make_file(service, "two"), *vm = NULL;
        g_autoptr(GVariant) reply = NULL;
        g_autoptr(GError) error = NULL;
        int fd = open(disk, O_RDWR | O_CLOEXEC);

        (void) g_unix_fd_list_append(list, fd, NULL);
        (void) close(fd);
        vm = vm_create_full(
                        service, "a",
                        service_config(service, NULL,
                                       "'disks': <[{'path': <'/x'>, 'backing_files': <true>}]>"),
                        g_variant_new_parsed("{'disks/_disk0': handle 0}"), list, NULL, &error);
        g_assert_no_error(error);
        reply = vm_try(service, vm, "Start", NULL, &error);
        g_assert_null(reply);
        assert_names(error, CHV_ERROR_RESOURCE, "was given as a descriptor");
}

static void test_no_kvm(void) {
        static const char *const extra[] = { "--kvm", "/nonexistent/kvm", NULL };
        g_autoptr(Service) service = service_start(extra);

        start_fails(service, "a", NULL, "/nonexistent/kvm");
}

static void test_locks(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *disk = make_file(service, "disk");
        g_autofree char *rw = g_strdup_printf("'disks': <[{'path': <'%s'>}]>", disk);
        g_autofree char *ro =
                        g_strdup_printf("'disks': <[{'path': <'%s'>, 'readonly': <true>}]>", disk);
        g_autofree char *twice = g_strdup_printf(
                        "'disks': <[{'path': <'%s'>}, {'path': <'%s'>}]>", disk, disk);
        g_autofree char *writer = vm_run(service, "writer", NULL, rw), *second = NULL,
                        *reader = NULL, *reader2 = NULL;
        g_autoptr(GVariant) off = NULL, killed = NULL;
        g_autofree char *pid = NULL;

        start_fails(service, "other", rw, "disks[0].path");
        start_fails(service, "r", ro, "in use");
        off = vm_call(service, writer, "PowerOff", NULL);
        start_fails(service, "both", twice, "disks[1].path");
        /* Readers share, and keep writers out. */
        reader = vm_run(service, "reader", NULL, ro);
        reader2 = vm_run(service, "reader2", NULL, ro);
        start_fails(service, "late", rw, "in use");
        /* A lock ends with its worker, however that ends. */
        pid = vm_get(service, reader, "WorkerPID");
        (void) kill(atoi(pid), SIGKILL);
        vm_await(service, reader, "failed");
        killed = vm_call(service, reader2, "PowerOff", NULL);
        second = vm_run(service, "second", NULL, rw);
}

#define FAR (1ull << 40)

static void lock_byte(int fd, short type, off_t byte) {
        struct flock lock = { .l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };

        g_assert_cmpint(fcntl(fd, F_OFD_SETLK, &lock), ==, 0);
}

/* Of lock_granularity: locks of bytes that there are exclude both shapes, and those of bytes beyond the full one alone; what is locked is what the
 * shape says, and the shapes exclude one another. A file of ten bytes is locked where QEMU looks. */
static void test_lock_shapes(void) {
        static const struct {
                const char *more;
                bool full;
                off_t length;
                unsigned size;
        } cases[] = {
                { "", false, 512, 10 },
                { ", 'lock_granularity': <'byte-range'>", false, 1 << 20, 1 << 20 },
                { ", 'lock_granularity': <'ByteRange'>", false, 1 << 20, 1 << 20 },
                { ", 'lock_granularity': <'full'>", true, 0, 1 << 20 },
                { ", 'lock_granularity': <'full'>", true, 0, 10 },
        };
        g_autoptr(Service) service = service_start(NULL);

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autofree char *name = g_strdup_printf("disk%zu", i);
                g_autofree char *disk = make_file(service, name), *far = NULL, *on = NULL;
                g_autofree char *more = g_strdup_printf(
                                "'disks': <[{'path': <'%s'>%s}]>", disk, cases[i].more);
                g_autofree char *other = g_strdup_printf(
                                "'disks': <[{'path': <'%s'>, 'lock_granularity': <'%s'>}]>", disk,
                                cases[i].full ? "byte-range" : "full");
                int fd = open(disk, O_RDWR | O_CLOEXEC);
                struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

                g_assert_cmpint(ftruncate(fd, cases[i].size), ==, 0);
                for (int qemu = 100; qemu <= 201; qemu += 101) {
                        g_autofree char *taken = g_strdup_printf("taken%zu-%d", i, qemu);

                        lock_byte(fd, F_RDLCK, qemu);
                        start_fails(service, taken, more, "in use by another program");
                        lock_byte(fd, F_UNLCK, qemu);
                }
                lock_byte(fd, F_WRLCK, FAR);
                far = g_strdup_printf("far%zu", i);
                if (cases[i].full)
                        start_fails(service, far, more, "in use by another program");
                else {
                        g_autofree char *vm = vm_run(service, far, NULL, more);
                        g_autoptr(GVariant) off = vm_call(service, vm, "PowerOff", NULL);
                }
                lock_byte(fd, F_UNLCK, FAR);
                name[0] = 'v';
                on = vm_run(service, name, NULL, more);
                g_assert_cmpint(fcntl(fd, F_OFD_GETLK, &lock), ==, 0);
                g_assert_cmpint(lock.l_type, ==, F_WRLCK);
                g_assert_cmpint(lock.l_start, ==, 0);
                g_assert_cmpint(lock.l_len, ==, cases[i].length);
                name[0] = 'o';
                start_fails(service, name, other, "in use by VM");
                (void) close(fd);
        }
}

static void test_given_lock_ends(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autoptr(GUnixFDList) list = g_unix_fd_list_new();
        g_autofree char *disk = make_file(service, "disk"), *vm = NULL, *other = NULL;
        g_autofree char *more = g_strdup_printf("'disks': <[{'path': <'%s'>}]>", disk);
        g_autoptr(GVariant) started = NULL, off = NULL;
        int fd = open(disk, O_RDWR | O_CLOEXEC);

        (void) g_unix_fd_list_append(list, fd, NULL);
        (void) close(fd);
        vm = vm_create_full(
                        service, "a", service_config(service, NULL, more),
                        g_variant_new_parsed("{'disks/_disk0': handle 0}"), list, NULL, NULL);
        started = vm_call(service, vm, "Start", NULL);
        start_fails(service, "b", more, "in use");
        /* The definition keeps the descriptor, but not the lock. */
        off = vm_call(service, vm, "PowerOff", NULL);
        other = vm_run(service, "c", NULL, more);
}

static void test_console_file(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *path = g_build_filename(service->dir, "serial.log", NULL);
        g_autofree char *more =
                        g_strdup_printf("'serial': <{'mode': <'File'>, 'file': <'%s'>}>", path);
        g_autofree char *vm = vm_run(service, "a", NULL, more), *paths = NULL;
        g_autoptr(GVariant) counters = vm_call(service, vm, "GetCounters", NULL);
        struct stat st;

        g_assert_cmpint(stat(path, &st), ==, 0);
        g_assert_cmpuint(st.st_mode & 07777, ==, 0600);
        assert_arrived(counters, "serial", path, O_WRONLY);
        g_assert_cmpuint(counter(counters, "serial", "flags") & O_APPEND, ==, O_APPEND);
        paths = vm_ask(service, vm, "GetConsolePaths");
        g_assert_nonnull(strstr(paths, path));
}

static void test_console_socket(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *path = g_build_filename(service->dir, "serial.sock", NULL);
        g_autofree char *more =
                        g_strdup_printf("'serial': <{'mode': <'Socket'>, 'socket': <'%s'>}>", path);
        g_autofree char *vm = vm_run(service, "a", NULL, more);
        g_autoptr(GVariant) off = NULL, on = NULL;
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        struct stat st;

        (void) g_strlcpy(address.sun_path, path, sizeof(address.sun_path));
        g_assert_cmpint(connect(fd, (struct sockaddr *) &address, sizeof(address)), ==, 0);
        (void) close(fd);
        g_assert_cmpint(stat(path, &st), ==, 0);
        g_assert_cmpuint(st.st_mode & 077, ==, 0);
        start_fails(service, "b", more, "serial.socket");
        off = vm_call(service, vm, "PowerOff", NULL);
        g_assert_cmpint(stat(path, &st), <, 0);

        /* What a dead process left is replaced; what is no socket is not. */
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        g_assert_cmpint(bind(fd, (struct sockaddr *) &address, sizeof(address)), ==, 0);
        (void) close(fd);
        on = vm_call(service, vm, "Start", NULL);
        g_clear_pointer(&off, g_variant_unref);
        off = vm_call(service, vm, "PowerOff", NULL);
        g_assert_true(g_file_set_contents(path, "mine", -1, NULL));
        start_fails(service, "c", more, "serial.socket");
        g_assert_cmpint(stat(path, &st), ==, 0);
}

static void test_console_pty(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *vm =
                        vm_run(service, "a", NULL,
                               "'serial': <{'mode': <'Pty'>}>, 'console': <{'mode': <'Pty'>}>");
        g_autoptr(GVariant) paths = NULL, counters = vm_call(service, vm, "GetCounters", NULL);
        g_autoptr(GVariant) reply = vm_call(service, vm, "GetConsolePaths", NULL);
        const char *serial, *console;

        paths = g_variant_get_child_value(reply, 0);
        g_assert_true(g_variant_lookup(paths, "serial", "&s", &serial));
        g_assert_true(g_variant_lookup(paths, "console", "&s", &console));
        g_assert_cmpstr(serial, !=, console);
        g_assert_true(g_str_has_prefix(serial, "/dev/pts/"));
        g_assert_true(S_ISCHR(counter(counters, "serial", "mode")));
}

static void test_tty_needs_terminal(void) {
        g_autoptr(Service) service = service_start(NULL);

        start_fails(service, "a", "'serial': <{'mode': <'Tty'>}>", "serial.mode");
}

static void test_open_console(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *vm = vm_run(service, "a", NULL, NULL),
                        *wild = vm_run(service, "b", "wild-console", NULL);
        g_autoptr(GUnixFDList) list = NULL;
        g_autoptr(GError) error = NULL, bad = NULL, refused = NULL;
        g_autoptr(GVariant) reply = g_dbus_connection_call_with_unix_fd_list_sync(
                        service->bus, MANAGER, vm, VM, "OpenConsole",
                        g_variant_new("(sa{sv})", "serial", NULL), G_VARIANT_TYPE("(h)"),
                        G_DBUS_CALL_FLAGS_NONE, -1, NULL, &list, NULL, &error);
        char text[16] = "";
        int fd;

        g_assert_no_error(error);
        fd = g_unix_fd_list_get(list, 0, NULL);
        g_assert_cmpint(read(fd, text, sizeof(text) - 1), ==, 6);
        g_assert_cmpstr(text, ==, "serial");
        (void) close(fd);
        g_assert_null(
                        service_call(service, vm, VM, "OpenConsole",
                                     g_variant_new("(sa{sv})", "nonsense", NULL), &bad));
        assert_names(bad, CHV_ERROR_INVALID_CONFIG, "nonsense");
        g_assert_null(
                        service_call(service, wild, VM, "OpenConsole",
                                     g_variant_new("(sa{sv})", "serial", NULL), &refused));
        assert_chv_error(refused, CHV_ERROR_FAILED);
}

static void test_tap(void) {
        g_autoptr(Service) service = NULL;
        g_autofree char *vm = NULL;
        g_autoptr(GVariant) off = NULL, counters = NULL;
        struct stat tun;

        if (getuid() != 0 || access("/dev/net/tun", R_OK | W_OK) < 0)
                return g_test_skip("taps need root and /dev/net/tun");
        service = service_start(NULL);
        vm = vm_run(service, "a", NULL,
                    "'cpus': <{'boot_vcpus': <uint32 2>}>, 'net': <[{'tap': <'chvtest0'>, 'id': "
                    "<'n'>, "
                    "'num_queues': <uint32 4>, 'ip': <'192.0.2.1'>, 'mask': <'255.255.255.0'>, "
                    "'host_mac': <'02:00:00:00:00:01'>, 'mtu': <uint32 1400>}]>");
        counters = vm_call(service, vm, "GetCounters", NULL);
        g_assert_cmpint(stat("/dev/net/tun", &tun), ==, 0);
        g_assert_cmpuint(counter(counters, "net/n/0", "ino"), ==, tun.st_ino);
        g_assert_cmpuint(counter(counters, "net/n/1", "ino"), ==, tun.st_ino);
        g_assert_cmpuint(if_nametoindex("chvtest0"), >, 0);
        start_fails(service, "b", "'net': <[{'tap': <'chvtest0'>}]>", "net[0].tap");
        start_fails(service, "c", "'net': <[{'tap': <'lo'>}]>", "net[0].tap");
        if (access("/dev/vhost-net", R_OK | W_OK) < 0)
                start_fails(service, "d", "'net': <[{'vhost': <'on'>}]>", "net[0].vhost");
        off = vm_call(service, vm, "PowerOff", NULL);
        g_assert_cmpuint(if_nametoindex("chvtest0"), ==, 0);
}

static unsigned count_fds(pid_t pid) {
        g_autofree char *path = g_strdup_printf("/proc/%d/fd", pid);
        g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
        unsigned n = 0;

        g_assert_nonnull(dir);
        while (g_dir_read_name(dir))
                n++;
        return n;
}

static unsigned count_children(pid_t pid) {
        g_autofree char *path = g_strdup_printf("/proc/%d/task/%d/children", pid, pid),
                        *text = NULL;
        g_auto(GStrv) children = NULL;

        g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
        children = g_strsplit_set(g_strstrip(text), " ", -1);
        return g_strv_length(children);
}

static void cycle(Service *service, unsigned i) {
        static const char *const words[] = { NULL, "boot-error", "boot-crash", "deaf" };
        g_autofree char *more = g_strdup_printf(
                        "'disks': <[{'path': <'%s/disk'>}]>, 'serial': <{'mode': <'Pty'>}>, "
                        "'console': <{'mode': <'Socket'>, 'socket': <'%s/sock'>}>",
                        service->dir, service->dir);
        g_autofree char *vm = vm_create(service, "cycle", words[i % G_N_ELEMENTS(words)], more);
        g_autoptr(GVariant) options =
                        g_variant_ref_sink(g_variant_new_parsed("({'force': <true>},)"));
        g_autoptr(GVariant) started = vm_try(service, vm, "Start", NULL, NULL);
        g_autoptr(GVariant) deleted = NULL;
        g_autoptr(GError) error = NULL;

        deleted = service_call(service, vm, VM, "Delete", options, &error);
        g_assert_no_error(error);
}

static void test_no_leaks(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *disk = make_file(service, "disk");
        unsigned before, after;

        /* Threads and lazily made things first. */
        for (unsigned i = 0; i < 8; i++)
                cycle(service, i);
        before = count_fds(service_pid(service));
        for (unsigned i = 0; i < 200; i++)
                cycle(service, i);
        service_linger(200);
        after = count_fds(service_pid(service));
        g_assert_cmpuint(after, <=, before);
        g_assert_cmpuint(count_children(service_pid(service)), ==, 0);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/resources/arrive", test_arrive);
        g_test_add_func("/resources/given", test_given);
        g_test_add_func("/resources/given-wrong", test_given_wrong);
        g_test_add_func("/resources/given-lock-ends", test_given_lock_ends);
        g_test_add_func("/resources/wrong-files", test_wrong_files);
        g_test_add_func("/resources/chain", test_chain);
        g_test_add_func("/resources/chain-shared", test_chain_shared);
        g_test_add_func("/resources/chain-refused", test_chain_refused);
        g_test_add_func("/resources/chain-hostile", test_chain_hostile);
        g_test_add_func("/resources/chain-given", test_chain_given);
        g_test_add_func("/resources/no-kvm", test_no_kvm);
        g_test_add_func("/resources/lock-shapes", test_lock_shapes);
        g_test_add_func("/resources/locks", test_locks);
        g_test_add_func("/resources/console-file", test_console_file);
        g_test_add_func("/resources/console-socket", test_console_socket);
        g_test_add_func("/resources/console-pty", test_console_pty);
        g_test_add_func("/resources/tty-needs-terminal", test_tty_needs_terminal);
        g_test_add_func("/resources/open-console", test_open_console);
        g_test_add_func("/resources/tap", test_tap);
        g_test_add_func("/resources/no-leaks", test_no_leaks);
        return g_test_run();
}
