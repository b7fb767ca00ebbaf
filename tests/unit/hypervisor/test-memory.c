/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves that no guest address, however wild, reaches host memory outside the regions; that copies
 * are all or nothing; that each backing option does what it says or fails naming itself; and that
 * dirty tracking finds every page written and no other, also with several writers.
 */

#include "hypervisor/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hypervisor/error.h"
#include "hypervisor/fd.h"

#define PAGE 4096ull
#define MIB (1ull << 20)

static const struct gmem_backing plain;

static void add(struct gmem *m, uint64_t base, uint64_t size) {
        g_autoptr(GError) error = NULL;

        (void) gmem_add(m, GADDR(base), size, &plain, &error);
        g_assert_no_error(error);
}

static void
refused(struct gmem *m,
        uint64_t base,
        uint64_t size,
        const struct gmem_backing *b,
        const char *says) {
        g_autoptr(GError) error = NULL;
        size_t n = gmem_n_regions(m);

        g_assert_false(gmem_add(m, GADDR(base), size, b, &error));
        g_assert_nonnull(error);
        if (!strstr(error->message, says))
                g_error("'%s' does not say '%s'", error->message, says);
        g_assert_cmpuint(gmem_n_regions(m), ==, n);
}

static void test_bad_regions(void) {
        g_autoptr(gmem) m = gmem_new();

        refused(m, 0, 0, &plain, "whole pages");
        refused(m, 0, 4097, &plain, "whole pages");
        refused(m, 1, PAGE, &plain, "whole pages");
        refused(m, UINT64_MAX - PAGE + 1, 2 * PAGE, &plain, "wraps");
        refused(m, 0, 1ull << 62, &plain, "memory.size");
        add(m, MIB, MIB);
        refused(m, MIB, MIB, &plain, "overlaps");
        refused(m, 0, MIB + PAGE, &plain, "overlaps");
        refused(m, 2 * MIB - PAGE, PAGE, &plain, "overlaps");
        refused(m, 0, 4 * MIB, &plain, "overlaps");
        add(m, 2 * MIB, MIB);
        add(m, 0, MIB);
        g_assert_cmpuint(gmem_n_regions(m), ==, 3);
        g_assert_cmpuint(gmem_total(m), ==, 3 * MIB);
        for (size_t i = 0; i < 3; i++)
                g_assert_cmpuint(gmem_region(m, i)->base.v, ==, i * MIB);
}

static void test_bad_options(void) {
        g_autoptr(gmem) m = gmem_new();
        struct gmem_backing b;

        b = (struct gmem_backing){ .shared = true, .mergeable = true };
        refused(m, 0, MIB, &b, "memory.mergeable: ");
        b = (struct gmem_backing){ .hugepage_size = 2 * MIB };
        refused(m, 0, MIB, &b, "memory.hugepage_size: ");
        b = (struct gmem_backing){ .hugepages = true, .hugepage_size = 3 * MIB };
        refused(m, 0, 6 * MIB, &b, "memory.hugepage_size: ");
        b = (struct gmem_backing){ .hugepages = true, .hugepage_size = 2 * MIB };
        refused(m, 0, MIB, &b, "memory.hugepage_size: ");
        b = (struct gmem_backing){ .hugepages = true, .hugepage_size = 1ull << 52 };
        refused(m, 0, 1ull << 52, &b, "memory.hugepage_size: ");
        /* more than a host has free, less than what a sanitizer leaves of the address space */
        b = (struct gmem_backing){ .hugepages = true, .reserve = true };
        refused(m, 0, 1ull << 40, &b, "memory.hugepages: ");
}

static void test_wild_addresses(void) {
        g_autoptr(gmem) m = gmem_new();
        uint8_t buf[16] = { 0 };
        static const struct {
                uint64_t addr, len;
        } bad[] = {
                { 0, 1 },
                { MIB - 1, 1 },
                { MIB - 1, 2 },
                { 2 * MIB, 1 },
                { 2 * MIB - 1, 2 },
                { MIB, MIB + 1 },
                { MIB, UINT64_MAX },
                { MIB + 5, UINT64_MAX - MIB },
                { UINT64_MAX, 1 },
                { UINT64_MAX, UINT64_MAX },
                { 0, UINT64_MAX },
        };

        add(m, MIB, MIB);
        for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
                g_assert_null(gmem_map(m, GADDR(bad[i].addr), bad[i].len, false));
                g_assert_null(gmem_map(m, GADDR(bad[i].addr), bad[i].len, true));
                g_assert_cmpint(gmem_zero(m, GADDR(bad[i].addr), bad[i].len), ==, -EFAULT);
                g_assert_cmpint(gmem_read(m, GADDR(bad[i].addr), buf, bad[i].len), ==, -EFAULT);
                g_assert_cmpint(gmem_write(m, GADDR(bad[i].addr), buf, bad[i].len), ==, -EFAULT);
        }
        g_assert_null(gmem_map(m, GADDR(MIB), 0, false));
        g_assert_nonnull(gmem_map(m, GADDR(MIB), MIB, false));
        g_assert_nonnull(gmem_map(m, GADDR(2 * MIB - 1), 1, true));
}

static void test_top_of_space(void) {
        g_autoptr(gmem) m = gmem_new();
        uint8_t buf[2];

        add(m, UINT64_MAX - PAGE + 1, PAGE);
        add(m, 0, PAGE);
        g_assert_nonnull(gmem_map(m, GADDR(UINT64_MAX), 1, false));
        g_assert_cmpint(gmem_read(m, GADDR(UINT64_MAX), buf, 2), ==, -EFAULT);
}

static void test_copies(void) {
        g_autoptr(gmem) m = gmem_new();
        uint8_t out[64], in[64];

        add(m, 0, MIB);
        add(m, MIB, MIB);
        for (size_t i = 0; i < sizeof(out); i++)
                out[i] = (uint8_t) (i + 1);
        g_assert_cmpint(gmem_write(m, GADDR(MIB - 32), out, sizeof(out)), ==, 0);
        g_assert_cmpint(gmem_read(m, GADDR(MIB - 32), in, sizeof(in)), ==, 0);
        g_assert_cmpmem(in, sizeof(in), out, sizeof(out));
        /* a pointer never spans regions, even neighbours */
        g_assert_null(gmem_map(m, GADDR(MIB - 1), 2, false));

        /* all or nothing */
        g_assert_cmpint(gmem_zero(m, GADDR(2 * MIB - 32), 32), ==, 0);
        g_assert_cmpint(gmem_write(m, GADDR(2 * MIB - 32), out, sizeof(out)), ==, -EFAULT);
        g_assert_cmpint(gmem_read(m, GADDR(2 * MIB - 32), in, 32), ==, 0);
        for (size_t i = 0; i < 32; i++)
                g_assert_cmpuint(in[i], ==, 0);

        g_assert_cmpint(gmem_zero(m, GADDR(MIB - 32), 64), ==, 0);
        g_assert_cmpint(gmem_read(m, GADDR(MIB - 32), in, sizeof(in)), ==, 0);
        for (size_t i = 0; i < sizeof(in); i++)
                g_assert_cmpuint(in[i], ==, 0);
}

static void test_from_fd(void) {
        g_autoptr(gmem) m = gmem_new();
        autofd fd = memfd_create("test", MFD_CLOEXEC);
        uint8_t in[8];

        add(m, 0, MIB);
        add(m, MIB, MIB);
        g_assert_cmpint(pwrite(fd, "abcdefgh", 8, 100), ==, 8);
        g_assert_cmpint(gmem_read_from_fd(m, GADDR(MIB - 4), 8, fd, 101), ==, -EIO);
        g_assert_cmpint(gmem_read_from_fd(m, GADDR(2 * MIB - 4), 8, fd, 100), ==, -EFAULT);
        g_assert_cmpint(gmem_read_from_fd(m, GADDR(0), 8, fd, UINT64_MAX - 4), ==, -EINVAL);
        g_assert_cmpint(gmem_read_from_fd(m, GADDR(0), 8, -1, 0), ==, -EBADF);
        g_assert_cmpint(gmem_read_from_fd(m, GADDR(MIB - 4), 8, fd, 100), ==, 0);
        g_assert_cmpint(gmem_read(m, GADDR(MIB - 4), in, 8), ==, 0);
        g_assert_cmpmem(in, 8, "abcdefgh", 8);
}

static void test_shared(void) {
        g_autoptr(gmem) m = gmem_new();
        g_autoptr(GError) error = NULL;
        struct gmem_backing b = { .shared = true, .thp = true, .reserve = true };
        const struct gmem_region *r;
        uint8_t *other;

        (void) gmem_add(m, GADDR(0), 4 * MIB, &b, &error);
        g_assert_no_error(error);
        r = gmem_region(m, 0);
        g_assert_cmpint(r->fd, >=, 0);
        g_assert_cmpint(fcntl(r->fd, F_GETFD) & FD_CLOEXEC, ==, FD_CLOEXEC);
        g_assert_cmpint(ftruncate(r->fd, 0), ==, -1);
        g_assert_cmpint(gmem_write(m, GADDR(MIB), "seen", 4), ==, 0);
        other = mmap(NULL, r->size, PROT_READ, MAP_SHARED, r->fd, (off_t) r->fd_offset);
        g_assert_true(other != MAP_FAILED);
        g_assert_cmpmem(other + MIB, 4, "seen", 4);
        (void) munmap(other, r->size);
        g_assert_cmpuint((uintptr_t) r->host % (2 * MIB), ==, 0);
}

static size_t resident(const struct gmem_region *r) {
        g_autofree unsigned char *vec = g_malloc(r->size / PAGE);
        size_t n = 0;

        g_assert_cmpint(mincore(r->host, r->size, vec), ==, 0);
        for (size_t i = 0; i < r->size / PAGE; i++)
                n += vec[i] & 1;
        return n;
}

static void test_prefault(void) {
        g_autoptr(gmem) m = gmem_new();
        g_autoptr(GError) error = NULL;
        struct gmem_backing b = { .prefault = true };

        (void) gmem_add(m, GADDR(0), 8 * MIB + PAGE, &b, &error);
        if (g_error_matches(error, HV_ERROR, HV_ERROR_UNSUPPORTED)) {
                g_test_skip(error->message);
                return;
        }
        g_assert_no_error(error);
        g_assert_cmpuint(resident(gmem_region(m, 0)), ==, 8 * MIB / PAGE + 1);
        add(m, 1ull << 32, 8 * MIB);
        g_assert_cmpuint(resident(gmem_region(m, 1)), ==, 0);
        /* several threads share the work of a big region */
        (void) gmem_add(m, GADDR(1ull << 33), 520 * MIB + PAGE, &b, &error);
        g_assert_no_error(error);
        g_assert_cmpuint(resident(gmem_region(m, 2)), ==, 520 * MIB / PAGE + 1);
}

static void test_mergeable(void) {
        g_autoptr(gmem) m = gmem_new();
        g_autoptr(GError) error = NULL;
        struct gmem_backing b = { .mergeable = true };

        if (!gmem_add(m, GADDR(0), MIB, &b, &error)) {
                g_assert_error(error, HV_ERROR, HV_ERROR_UNSUPPORTED);
                g_assert_true(g_str_has_prefix(error->message, "memory.mergeable: "));
        }
}

static void test_dirty(void) {
        g_autoptr(gmem) m = gmem_new();
        uint64_t bits[4] = { 0 };

        add(m, 0, 200 * PAGE);
        gmem_mark_dirty(m, GADDR(0), PAGE);
        gmem_take_dirty(m, 0, bits);
        g_assert_cmpuint(bits[0], ==, 0);

        g_assert_true(gmem_track_dirty(m, true, NULL));
        g_assert_cmpint(gmem_write(m, GADDR(5 * PAGE - 1), "ab", 2), ==, 0);
        g_assert_nonnull(gmem_map(m, GADDR(60 * PAGE), 80 * PAGE, true));
        g_assert_nonnull(gmem_map(m, GADDR(10 * PAGE), PAGE, false));
        gmem_mark_dirty(m, GADDR(199 * PAGE + 7), 1);
        gmem_mark_dirty(m, GADDR(198 * PAGE), UINT64_MAX);
        gmem_mark_dirty(m, GADDR(200 * PAGE), 1);
        bits[0] = 1;
        gmem_take_dirty(m, 0, bits);
        g_assert_cmphex(bits[0], ==, 0xf000000000000031);
        g_assert_cmphex(bits[1], ==, UINT64_MAX);
        g_assert_cmphex(bits[2], ==, 0xfff);
        g_assert_cmphex(bits[3], ==, 0xc0);

        memset(bits, 0, sizeof(bits));
        gmem_take_dirty(m, 0, bits);
        g_assert_cmphex(bits[0] | bits[1] | bits[2] | bits[3], ==, 0);

        /* a region added while tracking is tracked; nothing is kept from before a restart */
        add(m, MIB, 64 * PAGE);
        gmem_mark_dirty(m, GADDR(MIB), 1);
        gmem_take_dirty(m, 1, bits);
        g_assert_cmphex(bits[0], ==, 1);
        gmem_mark_dirty(m, GADDR(MIB), 1);
        g_assert_true(gmem_track_dirty(m, false, NULL));
        gmem_mark_dirty(m, GADDR(MIB + PAGE), 1);
        g_assert_true(gmem_track_dirty(m, true, NULL));
        memset(bits, 0, sizeof(bits));
        gmem_take_dirty(m, 1, bits);
        g_assert_cmphex(bits[0], ==, 0);
}

struct writer {
        struct gmem *m;
        unsigned first;
};

static void *write_pages(void *arg) {
        struct writer *w = arg;

        for (unsigned page = w->first; page < 4096; page += 4)
                gmem_mark_dirty(w->m, GADDR(page * PAGE), 1);
        return NULL;
}

static void test_dirty_threads(void) {
        g_autoptr(gmem) m = gmem_new();
        uint64_t bits[64] = { 0 };
        struct writer w[4];
        pthread_t t[4];

        add(m, 0, 4096 * PAGE);
        g_assert_true(gmem_track_dirty(m, true, NULL));
        for (unsigned i = 0; i < 4; i++) {
                w[i] = (struct writer){ .m = m, .first = i };
                g_assert_cmpint(pthread_create(&t[i], NULL, write_pages, &w[i]), ==, 0);
        }
        gmem_take_dirty(m, 0, bits);
        for (unsigned i = 0; i < 4; i++)
                g_assert_cmpint(pthread_join(t[i], NULL), ==, 0);
        gmem_take_dirty(m, 0, bits);
        for (unsigned i = 0; i < 64; i++)
                g_assert_cmphex(bits[i], ==, UINT64_MAX);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/memory/bad-regions", test_bad_regions);
        g_test_add_func("/memory/bad-options", test_bad_options);
        g_test_add_func("/memory/wild-addresses", test_wild_addresses);
        g_test_add_func("/memory/top-of-space", test_top_of_space);
        g_test_add_func("/memory/copies", test_copies);
        g_test_add_func("/memory/from-fd", test_from_fd);
        g_test_add_func("/memory/shared", test_shared);
        g_test_add_func("/memory/prefault", test_prefault);
        g_test_add_func("/memory/mergeable", test_mergeable);
        g_test_add_func("/memory/dirty", test_dirty);
        g_test_add_func("/memory/dirty-threads", test_dirty_threads);
        return g_test_run();
}
