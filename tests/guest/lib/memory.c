/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/* Memory: what the compiler calls, an allocator that only gives, and mappings above 4 GiB. */

#include "tests/guest/lib/guest.h"

#define PRESENT_WRITABLE 3u
#define LARGE_UNCACHED 0x9bu /* present, writable, write-through, cache disabled, 2 MiB */
#define ADDR_MASK 0x000ffffffffff000ull

extern char guest_end[];

void *memcpy(void *to, const void *from, size_t n) {
        void *d = to;

        asm volatile("rep movsb" : "+D"(d), "+S"(from), "+c"(n) : : "memory");
        return to;
}

void *memset(void *to, int byte, size_t n) {
        void *d = to;

        asm volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(byte) : "memory");
        return to;
}

int memcmp(const void *a, const void *b, size_t n) {
        const uint8_t *x = a, *y = b;

        for (size_t i = 0; i < n; i++)
                if (x[i] != y[i])
                        return x[i] < y[i] ? -1 : 1;
        return 0;
}

void *alloc(size_t size, size_t align) {
        static uintptr_t next;
        uintptr_t p;

        if (next == 0)
                next = (uintptr_t) guest_end;
        p = (next + align - 1) & ~(uintptr_t) (align - 1);
        next = p + size;
        return memset((void *) p, 0, size);
}

static uint64_t *next_table(uint64_t *entry) {
        if (!(*entry & 1))
                *entry = (uintptr_t) alloc(4096, 4096) | PRESENT_WRITABLE;
        return (uint64_t *) (uintptr_t) (*entry & ADDR_MASK);
}

void map_device(uint64_t addr, uint64_t size) {
        uint64_t *top = (uint64_t *) (uintptr_t) (read_cr3() & ADDR_MASK);

        for (uint64_t at = addr & ~0x1fffffull; at < addr + size; at += 0x200000) {
                uint64_t *pdpt = next_table(&top[at >> 39 & 511]);
                uint64_t *pd = next_table(&pdpt[at >> 30 & 511]);

                pd[at >> 21 & 511] = at | LARGE_UNCACHED;
        }
        write_cr3(read_cr3());
}
