/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The host pages behind one region of guest memory: anonymous, or a memfd (shared, hugetlb). The
 * options are those of the reference's memory section, and every error names the one at fault.
 *
 * A memfd is sealed against resizing: another process that maps it (a vhost-user back end) must not
 * be able to cut it short under us. Mappings are aligned to the page size that could back them, and
 * are left out of core dumps: a dump of the guest's memory is a deliberate act (core dump support),
 * never a by-product of our own crash.
 */

#include "hypervisor/backing.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/memfd.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hypervisor/error.h"
#include "hypervisor/fd.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define THP_SIZE (2ull << 20)
#define PREFAULT_MAX_THREADS 16
#define PREFAULT_MIN_SHARE (256ull << 20) /* below this a second thread costs more than it saves */

static bool check_options(uint64_t size, const struct gmem_backing *b, GError **error) {
        uint64_t page = b->hugepage_size;

        if (b->mergeable && (b->shared || b->hugepages)) {
                g_set_error(error, HV_ERROR, HV_ERROR_INVALID,
                            "memory.mergeable: cannot be combined with memory.%s",
                            b->shared ? "shared" : "hugepages");
                return false;
        }
        if (page == 0)
                return true;

        if (!b->hugepages) {
                g_set_error_literal(
                                error, HV_ERROR, HV_ERROR_INVALID,
                                "memory.hugepage_size: needs memory.hugepages");
                return false;
        }
        if (page < 4096 || (page & (page - 1)) != 0) {
                g_set_error(error, HV_ERROR, HV_ERROR_INVALID,
                            "memory.hugepage_size: %" PRIu64
                            " is not a power of 2 of at least 4096 bytes",
                            page);
                return false;
        }
        if (size % page != 0) {
                g_set_error(error, HV_ERROR, HV_ERROR_INVALID,
                            "memory.hugepage_size: a region of %" PRIu64
                            " bytes is not a multiple of %" PRIu64,
                            size, page);
                return false;
        }
        return true;
}

static unsigned log2_of(uint64_t power) {
        return (unsigned) __builtin_ctzll(power);
}

/* The page size that a hugetlb memfd has; it must divide size. */
static bool huge_page_of(int fd, uint64_t size, uint64_t *ret_page, GError **error) {
        struct stat st;

        /* hugetlbfs reports the page size of the mount as the block size */
        if (fstat(fd, &st) < 0)
                return hv_error_errno(error, errno, "memory.hugepages: looking at the memfd");
        *ret_page = (uint64_t) st.st_blksize;
        if (size % *ret_page == 0)
                return true;
        g_set_error(error, HV_ERROR, HV_ERROR_INVALID,
                    "memory.hugepages: a region of %" PRIu64
                    " bytes is not a multiple of the host's huge page of %" PRIu64,
                    size, *ret_page);
        return false;
}

/* *ret_page: the page size the descriptor's memory has. */
static int
open_memfd(uint64_t size, const struct gmem_backing *b, uint64_t *ret_page, GError **error) {
        const char *option = b->hugepages ? "memory.hugepages" : "memory.shared";
        unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
        autofd fd = -1;

        if (b->hugepages)
                flags |= MFD_HUGETLB;
        if (b->hugepage_size != 0) {
                flags |= log2_of(b->hugepage_size) << MFD_HUGE_SHIFT;
                option = "memory.hugepage_size";
        }

        fd = memfd_create("chv-guest-memory", flags);
        if (fd < 0 && b->hugepages && (errno == ENODEV || errno == EINVAL || errno == ENOENT)) {
                g_set_error(error, HV_ERROR, HV_ERROR_UNSUPPORTED,
                            "%s: the host has no huge pages of this size", option);
                return -1;
        }
        if (fd < 0) {
                hv_error_errno(error, errno, "%s: creating a memfd", option);
                return -1;
        }

        *ret_page = 4096;
        if (b->hugepages && !huge_page_of(fd, size, ret_page, error))
                return -1;
        if (ftruncate(fd, (off_t) size) < 0) {
                hv_error_errno(error, errno, "%s: sizing the memfd", option);
                return -1;
        }
        if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
                hv_error_errno(error, errno, "%s: sealing the memfd", option);
                return -1;
        }
        return chv_steal_fd(&fd);
}

/* Address space of size bytes at a multiple of align, with nothing behind it. */
static void *reserve_range(uint64_t size, uint64_t align) {
        uint8_t *p, *start;

        p = mmap(NULL, size + align, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                 /* fd= */ -1,
                 /* offset= */ 0);
        if (p == MAP_FAILED)
                return NULL;

        start = (uint8_t *) (((uintptr_t) p + align - 1) & ~(uintptr_t) (align - 1));
        if (start > p)
                (void) munmap(p, (size_t) (start - p));
        (void) munmap(start + size, (size_t) (p + align - start));
        return start;
}

static void *
map_pages(uint64_t size, uint64_t align, int fd, const struct gmem_backing *b, GError **error) {
        int flags = MAP_FIXED, saved;
        void *range, *p;

        flags |= fd >= 0 ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS;
        if (!b->reserve)
                flags |= MAP_NORESERVE;

        if (size > SIZE_MAX - align) {
                hv_error_errno(error, ENOMEM, "memory.size");
                return NULL;
        }
        range = reserve_range(size, align);
        if (!range) {
                hv_error_errno(error, errno, "memory.size: reserving address space");
                return NULL;
        }
        p = mmap(range, size, PROT_READ | PROT_WRITE, flags, fd, /* offset= */ 0);
        if (p == MAP_FAILED) {
                saved = errno;
                (void) munmap(range, size);
                hv_error_errno(error, saved, "%s: mapping %" PRIu64 " bytes",
                               b->hugepages ? "memory.hugepages"
                               : b->reserve ? "memory.reserve"
                                            : "memory.size",
                               size);
                return NULL;
        }
        return p;
}

struct prefault {
        uint8_t *start;
        uint64_t len;
        int error;
};

static void *prefault_share(void *arg) {
        struct prefault *p = arg;

        while (madvise(p->start, p->len, MADV_POPULATE_WRITE) < 0) {
                if (errno == EINTR || errno == EAGAIN)
                        continue;
                p->error = errno;
                break;
        }
        return NULL;
}

static bool prefault(uint8_t *host, uint64_t size, uint64_t page, GError **error) {
        struct prefault shares[PREFAULT_MAX_THREADS] = {};
        pthread_t threads[PREFAULT_MAX_THREADS];
        bool started[PREFAULT_MAX_THREADS] = {};
        long cpus = sysconf(_SC_NPROCESSORS_ONLN);
        uint64_t n, step, at = 0;
        int failed = 0;

        n = MIN((uint64_t) MAX(cpus, 1), (uint64_t) PREFAULT_MAX_THREADS);
        n = MAX(MIN(n, size / PREFAULT_MIN_SHARE), 1);
        step = (size / n + page - 1) / page * page;

        for (uint64_t i = 0; i < n; i++) {
                uint64_t len = MIN(step, size - at);

                shares[i] = (struct prefault){ .start = host + at, .len = len };
                at += len;
                /* the last share is the caller's own, as is every share that gets no thread */
                if (i + 1 < n && len > 0)
                        started[i] = pthread_create(&threads[i], NULL, prefault_share,
                                                    &shares[i]) == 0;
                if (!started[i] && len > 0)
                        (void) prefault_share(&shares[i]);
        }
        for (uint64_t i = 0; i < n; i++) {
                if (started[i])
                        (void) pthread_join(threads[i], NULL);
                if (failed == 0)
                        failed = shares[i].error;
        }

        if (failed == EINVAL) {
                g_set_error_literal(
                                error, HV_ERROR, HV_ERROR_UNSUPPORTED,
                                "memory.prefault: needs Linux 5.14 or later");
                return false;
        }
        if (failed != 0)
                return hv_error_errno(
                                error, failed, "memory.prefault: populating %" PRIu64 " bytes",
                                size);
        return true;
}

static bool advise(void *host, uint64_t size, const struct gmem_backing *b, GError **error) {
        if (madvise(host, size, MADV_DONTDUMP) < 0)
                return hv_error_errno(error, errno, "memory: leaving it out of core dumps");

        /* On by default, so a kernel without THP is no error; nor is memory that THP cannot back. */
        if (b->thp && !b->hugepages && madvise(host, size, MADV_HUGEPAGE) < 0 && errno != EINVAL)
                return hv_error_errno(error, errno, "memory.thp");

        if (b->mergeable && madvise(host, size, MADV_MERGEABLE) < 0) {
                if (errno != EINVAL)
                        return hv_error_errno(error, errno, "memory.mergeable");
                g_set_error_literal(
                                error, HV_ERROR, HV_ERROR_UNSUPPORTED,
                                "memory.mergeable: the host's kernel cannot merge pages (KSM)");
                return false;
        }
        return true;
}

bool backing_map(
                uint64_t size,
                const struct gmem_backing *backing,
                struct gmem_region *region,
                GError **error) {
        uint64_t page = 4096;
        autofd fd = -1;
        void *host;

        if (!check_options(size, backing, error))
                return false;

        if (backing->shared || backing->hugepages) {
                fd = open_memfd(size, backing, &page, error);
                if (fd < 0)
                        return false;
        }

        host = map_pages(size, MAX(page, THP_SIZE), fd, backing, error);
        if (!host)
                return false;
        if (!advise(host, size, backing, error) ||
            (backing->prefault && !prefault(host, size, page, error))) {
                (void) munmap(host, size);
                return false;
        }

        region->host = host;
        region->fd = chv_steal_fd(&fd);
        region->fd_offset = 0;
        return true;
}

void backing_unmap(struct gmem_region *region) {
        if (region->host)
                (void) munmap(region->host, region->size);
        if (region->fd >= 0)
                (void) close(region->fd);
        region->host = NULL;
        region->fd = -1;
}
