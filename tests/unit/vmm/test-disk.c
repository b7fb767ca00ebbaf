/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves of what a disk is made of: an image of another type than was said, one that names files when that is off, and one whose name comes from
 * an image of unknown type are refused; names are asked for one after the other and in the order in which they are needed; and a raw disk
 * that was recognised by its bytes cannot be made anything else by its guest.
 */

#include "daemon/vmm/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dbus/fd.h"
#include "devices/block/engine.h"
#include "devices/block/image/image.h"

#define DISK (256u * 1024u)

static int memory(uint64_t size) {
        int fd = memfd_create("disk", MFD_CLOEXEC);

        g_assert_cmpint(ftruncate(fd, (off_t) size), ==, 0);
        return fd;
}

/* An empty image of that format; options as of -o, NULL: none. */
static int image_of(const char *format, const char *options) {
        g_autoptr(image_options) o = image_options_new();
        g_autoptr(GError) error = NULL;
        int fd = memory(0);
        g_autoptr(image_file) file = image_file_new(fcntl(fd, F_DUPFD_CLOEXEC, 3), false, &error);

        g_assert_no_error(error);
        if (options)
                g_assert_true(image_options_parse(o, options, &error));
        g_assert_true(image_format_by_name(format)->create(file, DISK, o, &error));
        return fd;
}

/* Takes the descriptors over: disks/d, disks/d/0, … */
static FdTable *table_new(const int *fds, int n) {
        g_autoptr(GUnixFDList) list = g_unix_fd_list_new_from_array(fds, n);
        g_autoptr(GVariant) handles = NULL;
        g_autoptr(GError) error = NULL;
        GVariantBuilder b;
        FdTable *table;

        g_variant_builder_init(&b, G_VARIANT_TYPE("a{sh}"));
        for (int i = 0; i < n; i++) {
                g_autofree char *name =
                                i ? g_strdup_printf("disks/d/%d", i - 1) : g_strdup("disks/d");

                g_variant_builder_add(&b, "{sh}", name, i);
        }
        handles = g_variant_ref_sink(g_variant_builder_end(&b));
        table = fd_table_new(handles, list, &error);
        g_assert_no_error(error);
        return table;
}

/* Takes fds over. */
static struct disk_image *try_open(ChvDiskConfig *disk, const int *fds, int n, GError **error) {
        g_autoptr(FdTable) table = table_new(fds, n);

        disk->pci.id = (char *) "d";
        return disk_open(disk, table, &(struct io_thread_hook){ 0 }, error);
}

static void refuse(ChvDiskConfig disk, const int *fds, int n, const char *why) {
        g_autoptr(GError) error = NULL;

        g_assert_null(try_open(&disk, fds, n, &error));
        g_assert_nonnull(error);
        g_assert_true(g_str_has_prefix(error->message, "disk d: "));
        if (!strstr(error->message, why))
                g_error("'%s' does not say '%s'", error->message, why);
}

static void test_types(void) {
        static const char *const types[] = { "raw", "qcow2", "vhd", NULL };

        for (int made = 0; types[made]; made++)
                for (int said = -1; said == -1 || types[said]; said++) {
                        ChvDiskConfig disk = { .image_type = said < 0 ? NULL
                                                                      : (char *) types[said] };
                        g_autoptr(GError) error = NULL;
                        int fd;
                        struct disk_image *img;

                        if (!image_format_by_name(types[made]) ||
                            (said >= 0 && !image_format_by_name(types[said])))
                                continue;
                        fd = image_of(types[made], NULL);
                        /* Whoever says raw means it. */
                        if (said >= 0 && said != made && said > 0) {
                                refuse(disk, &fd, 1, "");
                                continue;
                        }
                        img = try_open(&disk, &fd, 1, &error);
                        g_assert_no_error(error);
                        g_assert_cmpstr(img->format, ==, said == 0 ? "raw" : types[made]);
                        if (said != 0)
                                g_assert_cmpuint(img->size, ==, DISK);
                        disk_image_free(img);
                }
        refuse((ChvDiskConfig){ .image_type = (char *) "floppy" }, &(int){ memory(512) }, 1,
               "image_type: this version cannot read 'floppy'");
}

static void test_references(void) {
        ChvDiskConfig disk = { .backing_files = true }, off = { 0 };
        g_autoptr(DiskReference) first = NULL, second = NULL, none = NULL;
        g_autoptr(GError) error = NULL;
        struct disk_image *img;
        int fds[3], again[3];

        if (!image_format_by_name("qcow2")) {
                g_test_skip("there is no format that names files");
                return;
        }
        fds[0] = image_of("qcow2", "backing_file=mid.qcow2,backing_fmt=qcow2");
        fds[1] = image_of("qcow2", "backing_file=/base/base.raw,backing_fmt=raw");
        fds[2] = memory(DISK);
        first = disk_find_reference(fds, 1, NULL);
        g_assert_cmpstr(first->role, ==, "backing");
        g_assert_cmpstr(first->name, ==, "mid.qcow2");
        g_assert_cmpstr(first->format, ==, "qcow2");
        g_assert_cmpuint(first->parent, ==, 0);
        second = disk_find_reference(fds, 2, "qcow2");
        g_assert_cmpstr(second->name, ==, "/base/base.raw");
        g_assert_cmpuint(second->parent, ==, 1);
        none = disk_find_reference(fds, 3, NULL);
        g_assert_null(none);

        for (int i = 0; i < 3; i++)
                again[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 3);
        refuse(off, (int[]){ fcntl(fds[0], F_DUPFD_CLOEXEC, 3) }, 1, "backing_files is off");
        refuse(disk, again, 2, "the file '/base/base.raw' is missing");
        (void) close(again[2]);
        img = try_open(&disk, fds, 3, &error);
        g_assert_no_error(error);
        g_assert_cmpstr(img->format, ==, "qcow2");
        disk_image_free(img);
}

/* What a guest may have written names nothing. */
static void test_guessed_names_nothing(void) {
        ChvDiskConfig disk = { .backing_files = true };
        g_autoptr(DiskReference) found = NULL;
        int fds[3];

        if (!image_format_by_name("qcow2")) {
                g_test_skip("there is no format that names files");
                return;
        }
        fds[0] = image_of("qcow2", "backing_file=disk.img");
        fds[1] = image_of("qcow2", "backing_file=/etc/shadow,backing_fmt=raw");
        fds[2] = memory(DISK);
        found = disk_find_reference(fds, 2, NULL);
        g_assert_null(found);
        refuse(disk, fds, 3, "its own format was not given");
}

static int result;

static void note(struct block_req *req, int r) {
        result = r;
}

static int write_at(struct disk_image *img, struct engine *e, uint64_t at, void *data, size_t n) {
        struct iovec iov[2] = { { data, n / 2 }, { (char *) data + n / 2, n - n / 2 } };
        struct block_req req = {
                .op = BLOCK_WRITE,
                .offset = at,
                .len = n,
                .iov = iov,
                .n_iov = 2,
                .done = note,
        };

        result = 1;
        disk_image_start(img, e, &req);
        g_assert_cmpint(engine_drain(e, -1), ==, 0);
        return result;
}

static void signatures(ChvDiskConfig disk, int fd, int expected, uint64_t size) {
        g_autoptr(GError) error = NULL;
        struct disk_image *img = try_open(&disk, &fd, 1, &error);
        struct engine *e = engine_new(ENGINE_SYNC, 4, -1, &error);
        g_autofree char *big = g_malloc0(200 * 1024);
        char sector[1024] = "conectix";

        g_assert_no_error(error);
        g_assert_cmpint(engine_accept_posts(e), ==, 0);
        for (size_t i = 0; image_formats[i]; i++) {
                g_autofree char *head = g_malloc0(4096);
                int made;

                if (!image_formats[i]->probe || !image_formats[i]->create)
                        continue;
                made = image_of(image_formats[i]->name, NULL);
                g_assert_cmpint(pread(made, head, 4096, 0), >=, 1024);
                g_assert_cmpint(write_at(img, e, 0, head, 4096), ==, expected);
                g_assert_cmpint(write_at(img, e, 0, head, 512), ==, expected);
                (void) close(made);
        }
        memcpy(big, sector, sizeof(sector));
        g_assert_cmpint(write_at(img, e, 0, big, 200 * 1024), ==, expected);
        /* At the front and not a signature, or a signature elsewhere. */
        memset(sector, 'Q', sizeof(sector));
        g_assert_cmpint(write_at(img, e, 0, sector, sizeof(sector)), ==, 0);
        g_assert_cmpint(write_at(img, e, 512, big, 512), ==, 0);
        memset(sector, 0, sizeof(sector));
        memcpy(sector, "conectix", 8);
        g_assert_cmpint(write_at(img, e, 64 * 1024, sector, 512), ==, 0);
        memmove(sector + 512, sector, 512);
        g_assert_cmpint(write_at(img, e, size - 1024, sector, 1024), ==,
                        g_str_equal(img->format, "raw") ? expected : 0);
        g_assert_cmpint(write_at(img, e, size - 1024, sector, 512), ==, 0);
        engine_free(e);
        disk_image_free(img);
}

static void test_guard(void) {
        ChvDiskConfig automatic = { 0 }, raw = { .image_type = (char *) "raw" },
                      vhd = { .image_type = (char *) "vhd" };

        signatures(automatic, memory(DISK), -EPERM, DISK);
        signatures(raw, memory(DISK), 0, DISK);
        signatures(automatic, image_of("vhd", "subformat=fixed"), -EPERM, DISK);
        signatures(vhd, image_of("vhd", "subformat=fixed"), 0, DISK);
        signatures(automatic, image_of("vhd", NULL), 0, DISK);
}

static uint64_t blocks_of(int fd) {
        struct stat st;

        g_assert_cmpint(fstat(fd, &st), ==, 0);
        return (uint64_t) st.st_blocks * 512;
}

/* A raw file has its space before there is a machine, and no more than that. */
static void test_sparse(void) {
        for (int sparse = 0; sparse < 2; sparse++)
                for (int readonly = 0; readonly < 2; readonly++) {
                        ChvDiskConfig disk = { .sparse = sparse, .readonly = readonly };
                        int fd = memory(DISK), passed = fcntl(fd, F_DUPFD_CLOEXEC, 3);
                        g_autoptr(GError) error = NULL;
                        struct disk_image *img = try_open(&disk, &passed, 1, &error);

                        g_assert_no_error(error);
                        g_assert_cmpuint(blocks_of(fd), ==, sparse || readonly ? 0 : DISK);
                        disk_image_free(img);
                        (void) close(fd);
                }
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/disk/types", test_types);
        g_test_add_func("/disk/references", test_references);
        g_test_add_func("/disk/guessed-names-nothing", test_guessed_names_nothing);
        g_test_add_func("/disk/guard", test_guard);
        g_test_add_func("/disk/sparse", test_sparse);
        return g_test_run();
}
