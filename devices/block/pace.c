/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Whether a request that may block is worth another thread.
 *
 * io_uring gives every fsync to a thread of the kernel, and on most file systems every write to the page cache, too. Where the
 * disk has no volatile cache, and as long as there is memory to write to, waking that thread and being woken by it costs many times what
 * the request does. Where it is slow, nobody may stand still for it. Which of the two holds is found out by doing one: a slow one is
 * followed by a number of others that are not tried, and that number doubles while they stay slow. Nor do many short ones make a long
 * wait for the first of a batch.
 */

#include "devices/block/pace.h"

#include <assert.h>
#include <glib.h>

#define SHORT_NS 100000u
#define BATCH_NS 500000u
#define PENALTY_MIN 16u
#define PENALTY_MAX 4096u

void pace_new_batch(struct pace *p) {
        assert(p);

        p->spent = 0;
}

bool pace_allows(struct pace *p) {
        assert(p);

        if (p->spent > BATCH_NS)
                return false;
        if (p->skip == 0)
                return true;
        p->skip--;
        return false;
}

void pace_note(struct pace *p, uint64_t ns, uint64_t bytes) {
        assert(p);

        p->spent += ns;
        /* A nanosecond a byte is slow for a copy. */
        if (ns <= SHORT_NS + bytes) {
                p->penalty = 0;
                return;
        }
        p->penalty = p->penalty == 0 ? PENALTY_MIN : MIN(p->penalty * 2, PENALTY_MAX);
        p->skip = p->penalty;
}
