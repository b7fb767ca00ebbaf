/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves how paths are walked, what becomes of a reply that chv-open would never send, and that an image is one however
 * it is named.
 */

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "daemon/chvd/image.h"
#include "daemon/chvd/open/message.h"
#include "daemon/chvd/resource.h"
#include "daemon/chvd/terminal.h"
#include "dbus/error.h"
#include "dbus/fd.h"

static char *dir;

static char *at(const char *name) {
        return g_build_filename(dir, name, NULL);
}

static void link_to(const char *target, const char *name) {
        g_autofree char *path = at(name);

        g_assert_cmpint(symlink(target, path), ==, 0);
}

static void leads_to(const char *name, const char *expected) {
        g_autofree char *path = at(name), *end = at(expected);
        ChvdFault fault = { 0 };
        chv_autofd fd = chvd_walk(path, &fault);
        struct stat got, wanted;

        if (fd < 0)
                g_error("%s: %s: %s", path, fault.what, g_strerror(fault.errnum));
        g_assert_cmpint(fstat(fd, &got), ==, 0);
        g_assert_cmpint(stat(end, &wanted), ==, 0);
        g_assert_cmpuint(got.st_ino, ==, wanted.st_ino);
        g_assert_cmpuint(got.st_dev, ==, wanted.st_dev);
        g_assert_cmpint(fcntl(fd, F_GETFL) & O_PATH, ==, O_PATH);
}

static void leads_nowhere(const char *path, int errnum, const char *what) {
        ChvdFault fault = { 0 };

        g_assert_cmpint(chvd_walk(path, &fault), <, 0);
        g_assert_cmpint(fault.errnum, ==, errnum);
        g_assert_nonnull(strstr(fault.what, what));
}

static void leads_nowhere_at(const char *name, int errnum) {
        g_autofree char *path = at(name);

        leads_nowhere(path, errnum, "");
}

static void test_walk(void) {
        g_autofree char *sub = at("sub"), *file = at("sub/file"), *long_name = g_strnfill(300, 'x'),
                        *absolute = at("absolute");

        g_assert_cmpint(g_mkdir(sub, 0700), ==, 0);
        g_assert_true(g_file_set_contents(file, "x", -1, NULL));
        link_to("sub", "link");
        link_to("sub/../link", "more");
        link_to("sub/", "slash");
        link_to("loop", "loop");
        link_to("nothing", "dangling");
        g_assert_cmpint(symlink(file, absolute), ==, 0);
        leads_to("sub/file", "sub/file");
        leads_to("./sub//./file", "sub/file");
        leads_to("sub/../sub/file", "sub/file");
        leads_to("link/file", "sub/file");
        leads_to("more/../sub/file", "sub/file");
        leads_to("slash", "sub");
        leads_to("link/", "sub");
        leads_to("absolute", "sub/file");
        leads_to("../../../../../../../../..", "../../../../../../../../..");
        leads_nowhere_at("sub/file/", ENOTDIR);
        leads_nowhere_at("sub/file/x", ENOTDIR);
        leads_nowhere_at("absolute/x", ENOTDIR);
        leads_nowhere_at("sub/none", ENOENT);
        leads_nowhere_at("dangling", ENOENT);
        leads_nowhere_at("loop", ELOOP);
        leads_nowhere_at(long_name, ENAMETOOLONG);
        leads_nowhere("", 0, "absolute");
        leads_nowhere("etc/passwd", 0, "absolute");
}

static void test_not_into_proc(void) {
        g_autofree char *link = at("into-proc"), *file = at("fd-target");
        g_autofree char *self = NULL;
        int fd;

        g_assert_true(g_file_set_contents(file, "x", -1, NULL));
        fd = open(file, O_RDONLY | O_CLOEXEC);
        self = g_strdup_printf("/proc/self/fd/%d", fd);
        leads_nowhere(self, 0, "/proc");
        leads_nowhere("/proc", 0, "/proc");
        leads_nowhere("/proc/self/root/etc/passwd", 0, "/proc");
        g_assert_cmpint(symlink(self, link), ==, 0);
        leads_nowhere(link, 0, "/proc");
        (void) close(fd);
}

static void test_folder(void) {
        static const char *const none[] = { "/", "//", "/etc/", "/etc/..", "/etc/." };
        g_autofree char *path = at("not/../yet"), *missing = at("not/there/yet"), *name = NULL;
        ChvdFault fault = { 0 };
        g_autofree char *not = at("not");
        chv_autofd fd = -1;
        struct stat got, wanted;

        g_assert_cmpint(g_mkdir(not, 0700), ==, 0);
        fd = chvd_walk_folder(path, &name, &fault);
        g_assert_cmpint(fd, >=, 0);
        g_assert_cmpstr(name, ==, "yet");
        g_assert_cmpint(fstat(fd, &got), ==, 0);
        g_assert_cmpint(stat(dir, &wanted), ==, 0);
        g_assert_cmpuint(got.st_ino, ==, wanted.st_ino);
        g_clear_pointer(&name, g_free);
        g_assert_cmpint(chvd_walk_folder(missing, &name, &fault), <, 0);
        g_assert_null(name);
        for (unsigned i = 0; i < G_N_ELEMENTS(none); i++) {
                g_assert_cmpint(chvd_walk_folder(none[i], &name, &fault), <, 0);
                g_assert_null(name);
        }
}

static unsigned count_fds(void) {
        g_autoptr(GDir) fds = g_dir_open("/proc/self/fd", 0, NULL);
        unsigned n = 0;

        while (g_dir_read_name(fds))
                n++;
        return n;
}

static void make_pair(int *ours, int *theirs) {
        int pair[2];

        g_assert_cmpint(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), ==, 0);
        *ours = pair[0];
        *theirs = pair[1];
}

static void send_raw(int socket, const void *data, size_t size, unsigned n_fds) {
        struct iovec iov = { (void *) data, size };
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(4 * sizeof(int))];
        } control = { 0 };
        struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
        int fds[4] = { 0 };

        if (n_fds > 0) {
                message.msg_control = &control;
                message.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
                control.align.cmsg_level = SOL_SOCKET;
                control.align.cmsg_type = SCM_RIGHTS;
                control.align.cmsg_len = CMSG_LEN(n_fds * sizeof(int));
                (void) memcpy(CMSG_DATA(&control.align), fds, n_fds * sizeof(int));
        }
        g_assert_cmpint(sendmsg(socket, &message, 0), ==, (gssize) size);
}

static void test_hostile_replies(void) {
        g_autoptr(GVariant) good = g_variant_ref_sink(
                        g_variant_new("(bisbtt)", true, 0, "", false, (guint64) 0, (guint64) 0));
        g_autofree char *big = g_malloc0(9000), *noise = g_malloc(g_variant_get_size(good));
        gsize size = g_variant_get_size(good);
        unsigned before;
        int ours, theirs;

        make_pair(&ours, &theirs);
        before = count_fds();
        for (unsigned i = 0; i < 2000; i++) {
                g_auto(ChvdOpenReply) reply = { .fd = -1 };
                const void *data = i % 4 == 0   ? big
                                   : i % 4 == 1 ? (void *) noise
                                                : g_variant_get_data(good);
                gsize n = i % 4 == 0   ? 9000
                          : i % 4 == 3 ? (gsize) g_test_rand_int_range(1, (int) size)
                                       : size;

                for (gsize j = 0; j < size; j++)
                        noise[j] = (char) g_test_rand_int();
                send_raw(theirs, data, n, i % 5);
                if (!chvd_open_reply_receive(ours, &reply)) {
                        g_assert_cmpint(errno, ==, EBADMSG);
                        continue;
                }
                /* Well-formed by chance, or the good one. */
                for (const char *p = reply.what; *p; p++)
                        g_assert_true(g_ascii_isprint(*p));
                g_assert_cmpint(i % 4, !=, 0);
                g_assert_true(i % 5 < 2);
                g_assert_true((reply.fd >= 0) == (i % 5 == 1));
        }
        /* What was sent along with it is not kept. */
        g_assert_cmpuint(count_fds(), ==, before);
        (void) close(theirs);
        {
                g_auto(ChvdOpenReply) reply = { .fd = -1 };

                g_assert_false(chvd_open_reply_receive(ours, &reply));
                g_assert_cmpint(errno, ==, EPIPE);
        }
        (void) close(ours);
}

static void test_text_of_replies(void) {
        g_autofree char *text = g_strnfill(4000, 'a');
        g_auto(ChvdOpenReply) reply = { .fd = -1 };
        ChvdOpenReply sent = { .errnum = EACCES, .what = text, .fd = -1 };
        int ours, theirs;

        (void) memcpy(text, "a\nb\033[0m", 7);
        make_pair(&ours, &theirs);
        g_assert_true(chvd_open_reply_send(theirs, &sent));
        g_assert_true(chvd_open_reply_receive(ours, &reply));
        g_assert_true(g_str_has_prefix(reply.what, "a?b?[0maa"));
        g_assert_cmpuint(strlen(reply.what), <, 200);
        g_assert_cmpint(reply.errnum, ==, EACCES);
        (void) close(ours);
        (void) close(theirs);
}

static void test_requests(void) {
        g_autofree char *path = g_strnfill(4095, '/');
        const ChvdOpenRequest sent = {
                .verb = CHVD_OPEN_REMOVE,
                .kind = CHV_RESOURCE_SOCKET,
                .readonly = true,
                .lock_full = true,
                .path = path,
                .file = { 1, G_MAXUINT64 },
        };
        g_auto(ChvdOpenRequest) got = { 0 };
        int ours, theirs;

        make_pair(&ours, &theirs);
        g_assert_true(chvd_open_request_send(ours, &sent));
        g_assert_true(chvd_open_request_receive(theirs, &got));
        g_assert_cmpint(got.verb, ==, sent.verb);
        g_assert_cmpint(got.kind, ==, sent.kind);
        g_assert_true(got.readonly && !got.direct && got.lock_full);
        g_assert_cmpstr(got.path, ==, path);
        g_assert_cmpuint(got.file.inode, ==, G_MAXUINT64);
        (void) close(ours);
        (void) close(theirs);
}

static void test_terminals(void) {
        ChvdFault fault;
        chv_autofd master = chvd_terminal_make(&fault), slave = -1, null = -1;
        g_autofree char *path = NULL;

        g_assert_cmpint(master, >=, 0);
        path = chvd_terminal_path(master);
        slave = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
        null = open("/dev/null", O_RDWR | O_CLOEXEC);
        g_assert_true(chvd_terminal_is_master(master));
        g_assert_false(chvd_terminal_is_master(slave));
        g_assert_false(chvd_terminal_is_master(null));
}

static void
hold_fails(const char *vm, const ChvResource *need, const ChvdImageId *id, const char *says) {
        g_autoptr(GError) error = NULL;

        g_assert_null(chvd_image_hold(vm, need, id, &error));
        g_assert_error(error, CHV_ERROR, CHV_ERROR_RESOURCE);
        g_assert_nonnull(strstr(error->message, says));
        g_assert_nonnull(strstr(error->message, need->option));
}

static void test_images(void) {
        const ChvResource rw = { .kind = CHV_RESOURCE_DISK,
                                 .option = "disks[0].path",
                                 .path = "/x" };
        const ChvResource ro = { .kind = CHV_RESOURCE_DISK,
                                 .option = "disks[1].path",
                                 .readonly = true };
        g_autofree char *path = at("image"), *alias = at("alias");
        ChvdImage *writer, *reader, *reader2;
        ChvdImageId id, same;
        chv_autofd a = -1, b = -1;
        const ChvdImageId block = { CHVD_IMAGE_BLOCK, 0x801, 0 },
                          file = { CHVD_IMAGE_FILE, 0x801, 0 };

        g_assert_true(g_file_set_contents(path, "x", -1, NULL));
        g_assert_cmpint(link(path, alias), ==, 0);
        a = open(path, O_RDONLY | O_CLOEXEC);
        b = open(alias, O_RDWR | O_CLOEXEC);
        g_assert_true(chvd_image_identify(a, &id) && chvd_image_identify(b, &same));
        g_assert_false(chvd_image_identify(-1, &same));
        writer = chvd_image_hold("a", &rw, &id, NULL);
        hold_fails("b", &rw, &same, "in use by VM 'a'");
        hold_fails("b", &ro, &same, "in use by VM 'a'");
        hold_fails("a", &rw, &same, "another disk of this VM");
        chvd_image_release(writer);
        reader = chvd_image_hold("a", &ro, &id, NULL);
        reader2 = chvd_image_hold("b", &ro, &same, NULL);
        g_assert_true(reader && reader2);
        hold_fails("c", &rw, &id, "in use by VM");
        chvd_image_release(reader);
        chvd_image_release(reader2);
        /* A block device is not the file of the same number. */
        writer = chvd_image_hold("a", &rw, &block, NULL);
        reader = chvd_image_hold("b", &rw, &file, NULL);
        g_assert_true(writer && reader);
        chvd_image_release(writer);
        chvd_image_release(reader);
}

static void remove_tree(const char *path) {
        g_autoptr(GDir) folder = g_dir_open(path, 0, NULL);
        const char *name;

        while (folder && (name = g_dir_read_name(folder))) {
                g_autofree char *child = g_build_filename(path, name, NULL);

                if (g_file_test(child, G_FILE_TEST_IS_DIR) &&
                    !g_file_test(child, G_FILE_TEST_IS_SYMLINK))
                        remove_tree(child);
                else
                        (void) g_unlink(child);
        }
        (void) g_rmdir(path);
}

int main(int argc, char **argv) {
        int status;

        g_test_init(&argc, &argv, NULL);
        dir = g_dir_make_tmp("chvd-open-XXXXXX", NULL);
        g_test_add_func("/open/walk", test_walk);
        g_test_add_func("/open/walk-not-into-proc", test_not_into_proc);
        g_test_add_func("/open/walk-folder", test_folder);
        g_test_add_func("/open/hostile-replies", test_hostile_replies);
        g_test_add_func("/open/text-of-replies", test_text_of_replies);
        g_test_add_func("/open/requests", test_requests);
        g_test_add_func("/open/terminals", test_terminals);
        g_test_add_func("/open/images", test_images);
        status = g_test_run();
        remove_tree(dir);
        g_free(dir);
        return status;
}
