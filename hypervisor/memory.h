/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * Guest memory: the RAM regions of one machine and checked access to them by guest address.
 *
 * Regions are added and removed by the main thread while no vCPU and no I/O thread runs; look-up
 * and access are then lock-free from every thread.
 */

/* A guest physical address: a type of its own, so that it can neither be dereferenced nor be mixed
 * up with a host pointer or a length. */
typedef struct gaddr {
        uint64_t v;
} gaddr;

#define GADDR(x) ((gaddr){ (x) })

typedef struct gmem gmem;

/* How the pages of a region are backed (reference: memory.* options). */
struct gmem_backing {
        bool shared;            /* MAP_SHARED of a memfd, so that other processes can map it */
        bool hugepages;         /* hugetlb memfd; implies a shared mapping */
        uint64_t hugepage_size; /* bytes, power of 2; 0 = the host's default */
        bool thp;               /* MADV_HUGEPAGE */
        bool prefault;          /* populate now */
        bool mergeable;         /* KSM; not with shared */
        bool reserve;           /* without MAP_NORESERVE, so that over-commit fails here */
};

struct gmem_region {
        gaddr base;
        uint64_t size;
        void *host;         /* mapping of size bytes */
        int fd;             /* memfd behind it, -1 when anonymous; owned by the region */
        uint64_t fd_offset; /* of the region's first byte in fd */
};

struct gmem *gmem_new(void);

/* Unmaps everything. NULL is fine. Returns NULL. */
struct gmem *gmem_free(struct gmem *m);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(gmem, gmem_free)

/* Maps size bytes (multiple of 4096) at base; refuses overlap and wrap-around. */
bool gmem_add(struct gmem *m,
              gaddr base,
              uint64_t size,
              const struct gmem_backing *backing,
              GError **error);

size_t gmem_n_regions(const struct gmem *m);
const struct gmem_region *gmem_region(const struct gmem *m, size_t i);

/* Sum of the regions' sizes in bytes. */
uint64_t gmem_total(const struct gmem *m);

/* The one place where a guest address becomes a host pointer: NULL unless [addr, addr+len) lies
 * whole inside one region. len 0 is refused. With for_write the range is marked dirty; who writes later than now
 * (I/O completion) calls gmem_mark_dirty() again then. Any thread, no lock. */
void *gmem_map(const struct gmem *m, gaddr addr, uint64_t len, bool for_write);

/* Copies, across neighbouring regions where need be. 0 or -EFAULT (then nothing was copied). */
int gmem_read(const struct gmem *m, gaddr addr, void *buf, uint64_t len);
int gmem_write(const struct gmem *m, gaddr addr, const void *buf, uint64_t len);
int gmem_zero(const struct gmem *m, gaddr addr, uint64_t len);

/* Reads the whole of [offset, offset+len) of fd into guest memory with pread(2). 0 or negative errno;
 * -EIO when the file ends early. */
int gmem_read_from_fd(const struct gmem *m, gaddr addr, uint64_t len, int fd, uint64_t offset);

/* Dirty tracking of writes made by this process (KVM logs the guest's own): one bit a 4 KiB page. */
bool gmem_track_dirty(struct gmem *m, bool on, GError **error);
void gmem_mark_dirty(const struct gmem *m, gaddr addr, uint64_t len);

/* Whether marking does anything now: spares who would have to look the address up first. Any thread. */
bool gmem_tracks_dirty(const struct gmem *m);

/* Moves region i's bits into bitmap (one uint64_t for 64 pages, ORed) and clears them. */
void gmem_take_dirty(struct gmem *m, size_t i, uint64_t *bitmap);
