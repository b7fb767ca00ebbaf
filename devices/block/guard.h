/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What keeps a guest from making its disk an image of another kind: a file whose format was found out by its bytes, and whose first and last bytes
 * are the guest's, must not get the signature of another format, or the guest would choose what the file is taken for the next time.
 */
struct disk_guard {
        int fd; /* of the file; not owned */
        atomic_uint_least64_t file_size;
        pthread_mutex_t lock; /* held from the check to the end of the write: two harmless ones might make a harmful one */
};

void disk_guard_init(struct disk_guard *g, int fd, uint64_t file_size);
void disk_guard_clear(struct disk_guard *g);

/* Does a write there have to be checked? */
bool disk_guard_concerns(const struct disk_guard *g, uint64_t offset, uint64_t len);

/* The file is to get another size: 0, or -EPERM if it would look like another format then, which leaves it as it is. What the file is to
 * lose must not be written any more. */
int disk_guard_resize(struct disk_guard *g, uint64_t file_size);

/* 0 if data, which nobody else can change any more, may be written to the file at offset; -EPERM; or why that cannot be said. */
int disk_guard_check(void *guard, uint64_t offset, const void *data, size_t len);
