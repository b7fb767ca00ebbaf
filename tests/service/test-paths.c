/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves that a path which a configuration names is opened with the rights of the VM's owner, whoever named it: what he
 * can open arrives, what he cannot is refused by name, no link, exchange or trick of /proc gets him another's file, and
 * what is made for him is his. And that the process which opens for him ends with the opening, however that ends.
 * Needs root, to be others; they are users of a database of the test's own.
 */

#include <fcntl.h>
#include <glib/gstdio.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/service/service.h"

#define ALICE 61001
#define BOB 61002
#define IMAGES 61003 /* a group that alice is in */
#define NAMELESS 61004

static bool can_be_others;

static void replace_file(const char *path, const char *more) {
        g_autofree char *old = NULL, *text = NULL, *name = g_strdup("/tmp/chvd-users-XXXXXX");
        int fd = g_mkstemp(name);

        g_assert_true(g_file_get_contents(path, &old, NULL, NULL));
        text = g_strconcat(old, more, NULL);
        g_assert_cmpint(write(fd, text, strlen(text)), ==, (gssize) strlen(text));
        g_assert_cmpint(fchmod(fd, 0644), ==, 0);
        (void) close(fd);
        g_assert_cmpint(mount(name, path, NULL, MS_BIND, NULL), ==, 0);
        (void) g_unlink(name);
}

/* Seen by this process and what it starts. */
static bool make_users(void) {
        if (getuid() != 0 || unshare(CLONE_NEWNS) < 0 ||
            mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
                return false;
        replace_file("/etc/passwd", "chv-alice:x:61001:61001::/:/bin/sh\n"
                                    "chv-bob:x:61002:61002::/:/bin/sh\n");
        replace_file("/etc/group",
                     "chv-alice:x:61001:\nchv-bob:x:61002:\nchv-images:x:61003:chv-alice\n");
        return true;
}

static Service *start(void) {
        static const char *const extra[] = { "--system", NULL };

        if (!can_be_others) {
                g_test_skip("needs root and mount namespaces");
                return NULL;
        }
        return service_start(extra);
}

static char *
make_file(Service *service, const char *name, const char *text, uid_t uid, gid_t gid, mode_t mode) {
        char *path = g_build_filename(service->dir, name, NULL);

        g_assert_true(g_file_set_contents(path, text, -1, NULL));
        g_assert_cmpint(chown(path, uid, gid), ==, 0);
        g_assert_cmpint(chmod(path, mode), ==, 0);
        return path;
}

static char *make_folder(Service *service, const char *name, uid_t uid, mode_t mode) {
        char *path = g_build_filename(service->dir, name, NULL);

        g_assert_cmpint(g_mkdir(path, 0700), ==, 0);
        g_assert_cmpint(chown(path, uid, uid), ==, 0);
        g_assert_cmpint(chmod(path, mode), ==, 0);
        return path;
}

static void make_link(const char *target, const char *path, uid_t uid) {
        g_assert_cmpint(symlink(target, path), ==, 0);
        g_assert_cmpint(lchown(path, uid, uid), ==, 0);
}

static void set_owner(Service *service, const char *vm, uid_t owner) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GVariant) reply =
                        service_call(service, vm, VM, "SetOwner",
                                     g_variant_new("(ua{sv})", (guint32) owner, NULL), &error);

        g_assert_no_error(error);
}

static char *create_for(Service *service, const char *name, const char *more, uid_t owner) {
        char *vm = vm_create(service, name, NULL, more);

        set_owner(service, vm, owner);
        return vm;
}

static void forget(Service *service, const char *vm) {
        g_autoptr(GVariant) reply = vm_call(service, vm, "Delete", "{'force': <true>}");
}

static void start_fails(Service *service, const char *vm, const char *const *says) {
        g_autoptr(GVariant) reply = NULL;
        g_autoptr(GError) error = NULL;

        reply = vm_try(service, vm, "Start", NULL, &error);
        g_assert_null(reply);
        for (; *says; says++)
                assert_names(error, CHV_ERROR_RESOURCE, *says);
}

static void
disk_fails(Service *service, const char *path, bool readonly, uid_t owner, const char *why) {
        const char *const says[] = { "disks[0].path", path, why, NULL };
        g_autofree char *more =
                        g_strdup_printf("'disks': <[{'path': <'%s'>, 'readonly': <%s>}]>", path,
                                        readonly ? "true" : "false");
        g_autofree char *vm = create_for(service, "refused", more, owner);

        start_fails(service, vm, says);
        forget(service, vm);
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

static void assert_arrived(Service *service, const char *vm, const char *name, const char *path) {
        g_autoptr(GVariant) counters = vm_call(service, vm, "GetCounters", NULL);
        struct stat st;

        g_assert_cmpint(stat(path, &st), ==, 0);
        g_assert_cmpuint(counter(counters, name, "dev"), ==, st.st_dev);
        g_assert_cmpuint(counter(counters, name, "ino"), ==, st.st_ino);
        g_assert_cmpuint(counter(counters, name, "flags") & O_NONBLOCK, ==, 0);
}

static void assert_is(const char *path, uid_t uid, mode_t mode) {
        struct stat st;

        g_assert_cmpint(stat(path, &st), ==, 0);
        g_assert_cmpuint(st.st_uid, ==, uid);
        g_assert_cmpuint(st.st_mode & 07777, ==, mode);
}

/* The name in an image is worth no more than its owner's rights. */
static void test_image_names(void) {
        g_autoptr(Service) service = start();
        g_autofree char *image = NULL, *secret = NULL, *more = NULL, *vm = NULL;
        g_autoptr(GVariant) started = NULL;

        if (!service)
                return;
        image = make_file(service, "owners", "x", ALICE, ALICE, 0600);
        secret = make_file(service, "secret", "x", 0, 0, 0600);
        more = g_strdup_printf("'disks': <[{'path': <'%s'>, 'backing_files': <true>}]>", image);
        vm = create_for(service, "names", more, ALICE);
        start_fails(service, vm,
                    (const char *const[]){ "disks[0].backing_files", secret, "Permission denied",
                                           "owner, uid 61001", NULL });
        /* Not for another's sake, either. */
        g_assert_cmpint(chown(secret, BOB, BOB), ==, 0);
        start_fails(service, vm, (const char *const[]){ "Permission denied", NULL });
        g_assert_cmpint(chown(secret, BOB, ALICE), ==, 0);
        g_assert_cmpint(chmod(secret, 0640), ==, 0);
        started = vm_call(service, vm, "Start", NULL);
        assert_arrived(service, vm, "disks/_disk0/0", secret);
}

/* What a VM may be made of, all of it in a folder that is alice's alone. */
static char *everything(const char *home) {
        return g_strdup_printf(
                        "'disks': <[{'path': <'%s/disk'>}, {'path': <'%s/ro'>, 'readonly': "
                        "<true>}]>, 'serial': <{'mode': <'File'>, 'file': <'%s/serial.log'>}>, "
                        "'console': <{'mode': <'Socket'>, 'socket': <'%s/console.sock'>}>, "
                        "'debug_console': <{'mode': <'Pty'>}>",
                        home, home, home, home);
}

static void make_home(Service *service, char **ret_home) {
        g_autofree char *disk = NULL, *ro = NULL;

        *ret_home = make_folder(service, "home", ALICE, 0700);
        disk = make_file(service, "home/disk", "disk", ALICE, ALICE, 0600);
        ro = make_file(service, "home/ro", "ro", ALICE, ALICE, 0400);
}

static void test_own(void) {
        g_autoptr(Service) service = start();
        g_autofree char *home = NULL, *more = NULL, *vm = NULL, *disk = NULL, *ro = NULL,
                        *log = NULL, *socket = NULL, *pty = NULL;
        g_autoptr(GVariant) started = NULL, paths = NULL, inner = NULL, off = NULL, on = NULL;
        g_autoptr(GVariant) counters = NULL;

        if (!service)
                return;
        make_home(service, &home);
        disk = g_build_filename(home, "disk", NULL);
        ro = g_build_filename(home, "ro", NULL);
        log = g_build_filename(home, "serial.log", NULL);
        socket = g_build_filename(home, "console.sock", NULL);
        more = everything(home);
        vm = create_for(service, "a", more, ALICE);
        started = vm_call(service, vm, "Start", NULL);
        assert_arrived(service, vm, "disks/_disk0", disk);
        assert_arrived(service, vm, "disks/_disk1", ro);
        assert_arrived(service, vm, "serial", log);
        counters = vm_call(service, vm, "GetCounters", NULL);
        g_assert_cmpuint(counter(counters, "disks/_disk0", "flags") & O_ACCMODE, ==, O_RDWR);
        g_assert_cmpuint(counter(counters, "serial", "flags") & O_APPEND, ==, O_APPEND);
        /* What was made is hers. */
        assert_is(log, ALICE, 0600);
        assert_is(socket, ALICE, 0600);
        paths = vm_call(service, vm, "GetConsolePaths", NULL);
        inner = g_variant_get_child_value(paths, 0);
        g_assert_true(g_variant_lookup(inner, "debug_console", "s", &pty));
        assert_is(pty, ALICE, 0600);
        /* It is gone when the VM is off, and does not hold up the next start. */
        off = vm_call(service, vm, "PowerOff", NULL);
        g_assert_false(g_file_test(socket, G_FILE_TEST_EXISTS));
        on = vm_call(service, vm, "Start", NULL);
        assert_is(socket, ALICE, 0600);
        forget(service, vm);
        g_assert_false(g_file_test(socket, G_FILE_TEST_EXISTS));
}

/* Somebody has put something of theirs where a socket was. */
static void test_removes_its_own_only(void) {
        g_autoptr(Service) service = start();
        g_autofree char *home = NULL, *more = NULL, *vm = NULL, *socket = NULL;
        g_autoptr(GVariant) started = NULL;

        if (!service)
                return;
        make_home(service, &home);
        socket = g_build_filename(home, "console.sock", NULL);
        more = everything(home);
        vm = create_for(service, "a", more, ALICE);
        started = vm_call(service, vm, "Start", NULL);
        g_assert_cmpint(g_unlink(socket), ==, 0);
        g_assert_true(g_file_set_contents(socket, "mine", -1, NULL));
        forget(service, vm);
        g_assert_true(g_file_test(socket, G_FILE_TEST_IS_REGULAR));
}

static void test_refused(void) {
        static const char *const proc[] = {
                "/proc/self/fd/0", "/proc/self/exe", "/proc/1/root/etc/passwd", "/proc/self/cwd/x",
                "/dev/fd/0",       "/dev/stdin",     "/proc/self/../self/fd/3", "/proc/kcore",
        };
        static const char *const kernel[] = { "payload.kernel", "Permission denied", "uid 61001",
                                              NULL };
        static const char *const log[] = { "serial.file", "Permission denied", NULL };
        g_autoptr(Service) service = start();
        g_autofree char *home = NULL, *secret = NULL, *link = NULL, *fifo = NULL, *hidden = NULL,
                        *dir = NULL, *loop = NULL, *more = NULL, *vm = NULL, *other = NULL;

        if (!service)
                return;
        make_home(service, &home);
        secret = make_file(service, "secret", "secret", 0, 0, 0600);
        disk_fails(service, secret, false, ALICE, "Permission denied for the owner, uid 61001");
        disk_fails(service, secret, true, ALICE, "Permission denied");
        link = g_build_filename(home, "link", NULL);
        make_link(secret, link, ALICE);
        disk_fails(service, link, true, ALICE, "Permission denied");
        /* Behind a folder that she cannot enter. */
        dir = make_folder(service, "private", 0, 0700);
        hidden = make_file(service, "private/open", "open", 0, 0, 0666);
        disk_fails(service, hidden, false, ALICE, "Permission denied");
        fifo = g_build_filename(home, "fifo", NULL);
        g_assert_cmpint(mkfifo(fifo, 0666), ==, 0);
        disk_fails(service, fifo, false, ALICE, "neither a regular file");
        disk_fails(service, home, true, ALICE, "neither a regular file");
        loop = g_build_filename(home, "loop", NULL);
        make_link("loop", loop, ALICE);
        disk_fails(service, loop, true, ALICE, "symbolic links");
        for (unsigned i = 0; i < G_N_ELEMENTS(proc); i++) {
                disk_fails(service, proc[i], true, ALICE, "/proc");
                disk_fails(service, proc[i], true, 0, "/proc");
        }
        g_assert_cmpint(chmod(service->kernel, 0600), ==, 0);
        vm = create_for(service, "kernel", NULL, ALICE);
        start_fails(service, vm, kernel);
        g_assert_cmpint(chmod(service->kernel, 0644), ==, 0);
        more = g_strdup_printf("'serial': <{'mode': <'File'>, 'file': <'%s/x'>}>", service->dir);
        other = create_for(service, "log", more, ALICE);
        start_fails(service, other, log);
}

static void test_shared_folder(void) {
        static const char *const laid[] = { "serial.file", "another user's", NULL };
        g_autoptr(Service) service = start();
        g_autofree char *home = NULL, *shared = NULL, *disk = NULL, *bobs = NULL, *hers = NULL,
                        *file = NULL, *more = NULL, *vm = NULL, *ok = NULL, *with_link = NULL;
        g_autoptr(GVariant) started = NULL;

        if (!service)
                return;
        make_home(service, &home);
        disk = g_build_filename(home, "disk", NULL);
        shared = make_folder(service, "shared", 0, 01777);
        bobs = g_build_filename(shared, "bobs", NULL);
        hers = g_build_filename(shared, "hers", NULL);
        make_link(disk, bobs, BOB);
        make_link(disk, hers, ALICE);
        disk_fails(service, bobs, false, ALICE, "leads through a link");
        disk_fails(service, hers, false, 0, "leads through a link");
        file = make_file(service, "shared/log", "", BOB, BOB, 0666);
        more = g_strdup_printf("'serial': <{'mode': <'File'>, 'file': <'%s'>}>", file);
        vm = create_for(service, "laid", more, ALICE);
        start_fails(service, vm, laid);
        with_link = g_strdup_printf("'disks': <[{'path': <'%s'>}]>", hers);
        ok = create_for(service, "ok", with_link, ALICE);
        started = vm_call(service, ok, "Start", NULL);
        assert_arrived(service, ok, "disks/_disk0", disk);
}

static void test_groups(void) {
        g_autoptr(Service) service = start();
        g_autofree char *image = NULL, *more = NULL, *vm = NULL, *nameless = NULL, *own = NULL,
                        *his = NULL;
        g_autoptr(GVariant) started = NULL, again = NULL;

        if (!service)
                return;
        image = make_file(service, "image", "image", 0, IMAGES, 0640);
        more = g_strdup_printf("'disks': <[{'path': <'%s'>, 'readonly': <true>}]>", image);
        vm = create_for(service, "a", more, ALICE);
        started = vm_call(service, vm, "Start", NULL);
        assert_arrived(service, vm, "disks/_disk0", image);
        forget(service, vm);
        disk_fails(service, image, true, BOB, "uid 61002");
        disk_fails(service, image, false, ALICE, "Permission denied");
        /* root's group is nobody else's. */
        g_assert_cmpint(chown(image, 0, 0), ==, 0);
        disk_fails(service, image, true, ALICE, "Permission denied");
        disk_fails(service, image, true, NAMELESS, "Permission denied");
        /* A uid without a name is in the group of its number. */
        own = make_file(service, "own", "own", 0, NAMELESS, 0640);
        his = g_strdup_printf("'disks': <[{'path': <'%s'>, 'readonly': <true>}]>", own);
        nameless = create_for(service, "n", his, NAMELESS);
        again = vm_call(service, nameless, "Start", NULL);
        assert_arrived(service, nameless, "disks/_disk0", own);
}

static void test_set_owner(void) {
        static const char *const says[] = { "disks[0].path", "uid 61002", NULL };
        g_autoptr(Service) service = start();
        g_autofree char *home = NULL, *more = NULL, *vm = NULL;
        g_autoptr(GVariant) started = NULL, off = NULL, root = NULL;

        if (!service)
                return;
        make_home(service, &home);
        more = everything(home);
        vm = create_for(service, "a", more, ALICE);
        started = vm_call(service, vm, "Start", NULL);
        off = vm_call(service, vm, "PowerOff", NULL);
        set_owner(service, vm, BOB);
        start_fails(service, vm, says);
        set_owner(service, vm, 0);
        root = vm_call(service, vm, "Start", NULL);
}

/* Two users who may both write an image don't do it at once. */
static void test_locks(void) {
        static const char *const says[] = { "disks[0].path", "in use by VM 'first'", NULL };
        static const char *const twice[] = { "disks[1].path", "another disk of this VM", NULL };
        static const char *const outside[] = { "disks[0].path", "in use by another program", NULL };
        g_autoptr(Service) service = start();
        g_autofree char *image = NULL, *other = NULL, *rw = NULL, *ro = NULL, *both = NULL;
        g_autofree char *first = NULL, *second = NULL, *third = NULL, *fourth = NULL, *fifth = NULL;
        g_autoptr(GVariant) started = NULL;
        struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 3, .l_len = 1 };
        int fd;

        if (!service)
                return;
        image = make_file(service, "image", "image", 0, 0, 0666);
        rw = g_strdup_printf("'disks': <[{'path': <'%s'>}]>", image);
        ro = g_strdup_printf("'disks': <[{'path': <'%s'>, 'readonly': <true>}]>", image);
        first = create_for(service, "first", rw, ALICE);
        second = create_for(service, "second", rw, BOB);
        third = create_for(service, "third", ro, 0);
        started = vm_call(service, first, "Start", NULL);
        start_fails(service, second, says);
        start_fails(service, third, says);
        other = make_file(service, "other", "other", 0, 0, 0666);
        both = g_strdup_printf("'disks': <[{'path': <'%s'>}, {'path': <'%s'>}]>", other, other);
        fourth = create_for(service, "fourth", both, ALICE);
        start_fails(service, fourth, twice);
        forget(service, first);
        /* A program that locks one byte of it. */
        fd = g_open(image, O_RDWR | O_CLOEXEC, 0);
        g_assert_cmpint(fcntl(fd, F_OFD_SETLK, &lock), ==, 0);
        start_fails(service, second, outside);
        start_fails(service, third, outside);
        (void) close(fd);
        fifth = create_for(service, "fifth", rw, ALICE);
        g_clear_pointer(&started, g_variant_unref);
        started = vm_call(service, fifth, "Start", NULL);
}

/* Two opens of one file through one descriptor share its lock. */
static void test_given_twice(void) {
        static const char *const says[] = { "disks[0].path", "in use by VM 'a'", NULL };
        g_autoptr(Service) service = start();
        g_autoptr(GUnixFDList) list = g_unix_fd_list_new();
        g_autofree char *image = NULL, *a = NULL, *b = NULL, *c = NULL, *more = NULL;
        g_autoptr(GVariant) started = NULL;
        int fd;

        if (!service)
                return;
        image = make_file(service, "image", "image", 0, 0, 0600);
        more = g_strdup_printf("'disks': <[{'path': <'%s'>}]>", image);
        fd = g_open(image, O_RDWR | O_CLOEXEC, 0);
        (void) g_unix_fd_list_append(list, fd, NULL);
        (void) close(fd);
        a = vm_create_full(
                        service, "a", service_config(service, NULL, more),
                        g_variant_new_parsed("{'disks/_disk0': handle 0}"), list, NULL, NULL);
        b = vm_create_full(
                        service, "b", service_config(service, NULL, more),
                        g_variant_new_parsed("{'disks/_disk0': handle 0}"), list, NULL, NULL);
        started = vm_call(service, a, "Start", NULL);
        start_fails(service, b, says);
}

/* Exchanges two names as fast as it can until it is killed. */
static pid_t exchange(const char *a, const char *b) {
        pid_t pid = fork();

        if (pid != 0)
                return pid;
        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;)
                (void) syscall(SYS_renameat2, AT_FDCWD, a, AT_FDCWD, b, 2 /* RENAME_EXCHANGE */);
}

static void test_exchanged(void) {
        g_autoptr(Service) service = start();
        g_autofree char *home = NULL, *mine = NULL, *roots = NULL, *a = NULL, *b = NULL,
                        *more = NULL, *vm = NULL, *disk = NULL;
        unsigned refused = 0, arrived = 0;
        pid_t pid;

        if (!service)
                return;
        make_home(service, &home);
        mine = make_folder(service, "home/mine", ALICE, 0755);
        disk = make_file(service, "home/mine/disk", "mine", ALICE, ALICE, 0600);
        roots = make_folder(service, "roots", 0, 0755);
        a = make_file(service, "roots/disk", "secret", 0, 0, 0600);
        b = g_build_filename(home, "other", NULL);
        make_link(roots, b, ALICE);
        more = g_strdup_printf("'disks': <[{'path': <'%s/mine/disk'>}]>", home);
        vm = create_for(service, "a", more, ALICE);
        pid = exchange(mine, b);
        for (unsigned i = 0; i < 60; i++) {
                g_autoptr(GError) error = NULL;
                g_autoptr(GVariant) started = vm_try(service, vm, "Start", NULL, &error);
                g_autoptr(GVariant) counters = NULL, off = NULL;
                struct stat st;

                if (!started) {
                        assert_names(error, CHV_ERROR_RESOURCE, "Permission denied");
                        refused++;
                        continue;
                }
                counters = vm_call(service, vm, "GetCounters", NULL);
                g_assert_cmpint(stat(a, &st), ==, 0);
                g_assert_cmpuint(counter(counters, "disks/_disk0", "ino"), !=, st.st_ino);
                off = vm_call(service, vm, "PowerOff", NULL);
                arrived++;
        }
        (void) kill(pid, SIGKILL);
        (void) waitpid(pid, NULL, 0);
        g_test_message("%u arrived, %u were refused", arrived, refused);
        g_assert_cmpuint(refused + arrived, ==, 60);
}

static GArray *children(pid_t pid) {
        GArray *found = g_array_new(false, false, sizeof(pid_t));
        g_autofree char *tasks = g_strdup_printf("/proc/%d/task", pid);
        g_autoptr(GDir) dir = g_dir_open(tasks, 0, NULL);
        const char *task;

        g_assert_nonnull(dir);
        while ((task = g_dir_read_name(dir))) {
                g_autofree char *path = g_build_filename(tasks, task, "children", NULL),
                                *text = NULL;
                g_auto(GStrv) pids = NULL;

                /* The thread may have ended. */
                if (!g_file_get_contents(path, &text, NULL, NULL))
                        continue;
                pids = g_strsplit(g_strstrip(text), " ", -1);
                for (char **p = pids; *p; p++) {
                        pid_t child = atoi(*p);

                        if (child > 0)
                                (void) g_array_append_val(found, child);
                }
        }
        return found;
}

static unsigned count_children(Service *service) {
        g_autoptr(GArray) found = children(service_pid(service));

        return found->len;
}

static void await_children(Service *service, unsigned n) {
        gint64 until = g_get_monotonic_time() + 20 * G_USEC_PER_SEC;

        while (count_children(service) != n) {
                g_assert_cmpint(g_get_monotonic_time(), <, until);
                service_linger(10);
        }
}

static Service *start_with_opener(const char *opener) {
        g_autofree char *real = g_strdup(g_getenv("CHV_OPENER"));
        Service *service;

        (void) g_setenv("CHV_OPENER", opener, true);
        service = start();
        (void) g_setenv("CHV_OPENER", real, true);
        return service;
}

static void on_reply(GObject *source, GAsyncResult *result, gpointer data) {
        GError **error = data;
        g_autoptr(GVariant) reply =
                        g_dbus_connection_call_finish(G_DBUS_CONNECTION(source), result, error);

        g_assert_null(reply);
}

static void begin_start(Service *service, const char *vm, unsigned timeout, GError **error) {
        g_autofree char *text =
                        g_strdup_printf("({'wait': <true>, 'timeout': <uint32 %u>},)", timeout);

        g_dbus_connection_call(
                        service->bus, MANAGER, vm, VM, "Start", g_variant_new_parsed(text), NULL,
                        G_DBUS_CALL_FLAGS_NONE, G_MAXINT, NULL, on_reply, error);
}

/* cat reads what it is asked and never answers: as open() of a file system that is gone. */
static void test_hangs(void) {
        g_autoptr(Service) service = start_with_opener("/bin/cat");
        g_autofree char *vm = NULL, *other = NULL, *state = NULL;
        g_autoptr(GError) late = NULL, killed = NULL;
        g_autoptr(GVariant) off = NULL;
        g_autoptr(GArray) found = NULL;

        if (!service)
                return;
        vm = create_for(service, "a", NULL, ALICE);
        begin_start(service, vm, 1, &late);
        await_children(service, 1);
        /* Nobody else waits. */
        other = vm_run(service, "roots", NULL, NULL);
        forget(service, other);
        while (!late)
                (void) g_main_context_iteration(NULL, true);
        assert_chv_error(late, CHV_ERROR_TIMED_OUT);
        await_children(service, 0);

        begin_start(service, vm, 100, &killed);
        await_children(service, 1);
        found = children(service_pid(service));
        (void) kill(g_array_index(found, pid_t, 0), SIGKILL);
        while (!killed)
                (void) g_main_context_iteration(NULL, true);
        assert_names(killed, CHV_ERROR_RESOURCE, "has ended");
        await_children(service, 0);

        g_clear_error(&killed);
        begin_start(service, vm, 100, &killed);
        await_children(service, 1);
        off = vm_call(service, vm, "PowerOff", NULL);
        while (!killed)
                (void) g_main_context_iteration(NULL, true);
        assert_chv_error(killed, CHV_ERROR_CANCELLED);
        await_children(service, 0);
}

/* One user's hanging file systems are not another's. */
static void test_many_hang(void) {
        enum {
                MANY = 24
        };
        g_autoptr(Service) service = start_with_opener("/bin/cat");
        GError *errors[MANY] = { NULL };
        char *vms[MANY];
        g_autofree char *other = NULL;

        if (!service)
                return;
        for (unsigned i = 0; i < MANY; i++) {
                g_autofree char *name = g_strdup_printf("a%u", i);

                vms[i] = create_for(service, name, NULL, ALICE);
                begin_start(service, vms[i], 100, &errors[i]);
        }
        await_children(service, MANY);
        other = vm_run(service, "roots", NULL, NULL);
        forget(service, other);
        for (unsigned i = 0; i < MANY; i++)
                forget(service, vms[i]);
        for (unsigned i = 0; i < MANY; i++) {
                while (!errors[i])
                        (void) g_main_context_iteration(NULL, true);
                assert_chv_error(errors[i], CHV_ERROR_CANCELLED);
                g_error_free(errors[i]);
                g_free(vms[i]);
        }
        await_children(service, 0);
}

/* What a chvd that was killed had opened is known to the next. */
static void test_found_again(void) {
        static const char *const says[] = { "disks[0].path", "in use by VM 'a'", NULL };
        g_autoptr(Service) service = start();
        g_autofree char *home = NULL, *more = NULL, *vm = NULL, *other = NULL, *socket = NULL,
                        *disk = NULL;
        g_autoptr(GVariant) started = NULL, off = NULL, free = NULL;

        if (!service)
                return;
        make_home(service, &home);
        socket = g_build_filename(home, "console.sock", NULL);
        more = everything(home);
        disk = g_strdup_printf("'disks': <[{'path': <'%s/disk'>}]>", home);
        vm = create_for(service, "a", more, ALICE);
        other = create_for(service, "b", disk, ALICE);
        started = vm_call(service, vm, "Start", NULL);
        service_kill(service);
        service_restart(service, SIGKILL);
        vm_await(service, vm, "running");
        start_fails(service, other, says);
        g_assert_true(g_file_test(socket, G_FILE_TEST_EXISTS));
        off = vm_call(service, vm, "PowerOff", NULL);
        g_assert_false(g_file_test(socket, G_FILE_TEST_EXISTS));
        free = vm_call(service, other, "Start", NULL);
}

static void test_no_opener(void) {
        static const char *const missing[] = { "payload.kernel", "/nonexistent/opener", NULL };
        static const char *const ends[] = { "payload.kernel", "has ended", NULL };
        g_autoptr(Service) service = start_with_opener("/nonexistent/opener");
        g_autoptr(Service) another = start_with_opener("/bin/true");
        g_autofree char *vm = NULL, *other = NULL;

        if (!service)
                return;
        vm = create_for(service, "a", NULL, ALICE);
        start_fails(service, vm, missing);
        other = create_for(another, "a", NULL, ALICE);
        start_fails(another, other, ends);
        /* Who needs none has none. */
        set_owner(service, vm, 0);
        g_assert_cmpuint(count_children(service), ==, 0);
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

static void cycle(Service *service, const char *home, unsigned i) {
        g_autofree char *more = i % 4 == 3 ? g_strdup("'disks': <[{'path': <'/etc/shadow'>}]>")
                                           : everything(home);
        g_autofree char *vm = create_for(service, "cycle", more, ALICE);
        g_autoptr(GVariant) started = vm_try(service, vm, "Start", NULL, NULL);

        g_assert_true((started != NULL) == (i % 4 != 3));
        forget(service, vm);
}

static void test_no_leaks(void) {
        g_autoptr(Service) service = start();
        g_autofree char *home = NULL;
        unsigned before;

        if (!service)
                return;
        make_home(service, &home);
        for (unsigned i = 0; i < 8; i++)
                cycle(service, home, i);
        await_children(service, 0);
        before = count_fds(service_pid(service));
        for (unsigned i = 0; i < 100; i++)
                cycle(service, home, i);
        await_children(service, 0);
        g_assert_cmpuint(count_fds(service_pid(service)), <=, before);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        can_be_others = make_users();
        g_test_add_func("/paths/image-names", test_image_names);
        g_test_add_func("/paths/own", test_own);
        g_test_add_func("/paths/removes-its-own-only", test_removes_its_own_only);
        g_test_add_func("/paths/refused", test_refused);
        g_test_add_func("/paths/shared-folder", test_shared_folder);
        g_test_add_func("/paths/groups", test_groups);
        g_test_add_func("/paths/set-owner", test_set_owner);
        g_test_add_func("/paths/locks", test_locks);
        g_test_add_func("/paths/given-twice", test_given_twice);
        g_test_add_func("/paths/exchanged", test_exchanged);
        g_test_add_func("/paths/hangs", test_hangs);
        g_test_add_func("/paths/many-hang", test_many_hang);
        g_test_add_func("/paths/found-again", test_found_again);
        g_test_add_func("/paths/no-opener", test_no_opener);
        g_test_add_func("/paths/no-leaks", test_no_leaks);
        return g_test_run();
}
