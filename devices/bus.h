/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * An address space of device registers (one for port I/O, one for MMIO): which region answers an
 * access. Look-up takes no lock and is done by vCPU threads; adding, removing and moving regions is serialised inside and may
 * come from any thread, also from a vCPU in the middle of an access (a guest moving a BAR).
 *
 * Neither waits for the other, so an access that began before a change may still reach a region's ops, or wake a
 * doorbell's descriptor, after the change has returned. Whoever frees what these use parks the vCPUs first.
 */

typedef struct bus bus;

/* The base of a region that is nowhere: it answers nothing and keeps its doorbells for when it comes back. */
#define BUS_NOWHERE UINT64_MAX

struct io_ops {
        /* offset is from the region's base; len is 1, 2, 4 or 8 and the access lies inside the region.
         * data is little-endian, preset to all ones for reads. */
        void (*read)(void *opaque, uint64_t offset, void *data, unsigned len);
        void (*write)(void *opaque, uint64_t offset, const void *data, unsigned len);
};

/* Doorbells that the hypervisor takes over (ioeventfd). A doorbell it has no room for, and any write that leaves the guest
 * all the same, is served by the bus: it wakes the descriptor itself. assign returns 0 or negative errno. */
struct bus_doorbell_ops {
        int (*assign)(void *opaque,
                      uint64_t addr,
                      unsigned len,
                      bool with_data,
                      uint64_t data,
                      int fd,
                      bool on);
};

/* name is for messages. doorbells may be NULL. */
bus *bus_new(const char *name, const struct bus_doorbell_ops *doorbells, void *opaque);
bus *bus_free(bus *b);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(bus, bus_free)

typedef struct bus_region bus_region;

/* Adds [base, base+size), or nowhere yet; refuses overlap with an error naming both regions. The bus owns the region, the
 * caller keeps the handle for move and remove. name is copied. */
bus_region *
bus_add(bus *b,
        const char *name,
        uint64_t base,
        uint64_t size,
        const struct io_ops *ops,
        void *opaque,
        GError **error);

/* Takes the region (and its doorbells) out of the space; afterwards no new access reaches its ops. NULL is fine. */
void bus_remove(bus *b, bus_region *region);

/* Moves the region with its doorbells, also to and from BUS_NOWHERE. 0, or -EEXIST (overlap) or -EINVAL (wraps round) and it
 * stays where it was. */
int bus_move(bus *b, bus_region *region, uint64_t new_base);

/* A write of len bytes (0: any length) at offset in the region wakes fd (not owned) instead of calling ops->write.
 * 0, -EINVAL, or -EEXIST when there is one already. Removing one that is not there is -ENOENT. */
int bus_add_doorbell(bus *b, bus_region *region, uint64_t offset, unsigned len, int fd);
int bus_remove_doorbell(bus *b, bus_region *region, uint64_t offset, unsigned len, int fd);

/* Called by vCPU threads. An address nobody claims reads as all ones and ignores writes. An access that
 * straddles a region's end is nobody's, and so is one whose length is not 1, 2, 4 or 8 (at most 8 bytes are filled in). */
void bus_read(bus *b, uint64_t addr, void *data, unsigned len);
void bus_write(bus *b, uint64_t addr, const void *data, unsigned len);
