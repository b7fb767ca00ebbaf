/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * How long a thread looks for work before it sleeps.
 *
 * Being woken costs a thread and the processor it runs on more than most requests do, but looking is worth its time only if something comes soon.
 * So the last wait says how long the next one looks, as in QEMU's I/O threads (util/aio-posix.c): one that ended within
 * the limit, yet after the thread had gone to sleep, makes it look longer; one beyond the limit ends the looking, so that an idle guest
 * costs one wait's looking and then nothing.
 */

#include "devices/poll-time.h"

#include <assert.h>
#include <glib.h>

#define FIRST_NS 4000u

void poll_time_set_limit(struct poll_time *p, uint64_t limit) {
        assert(p);

        p->limit = limit;
        p->now = MIN(p->now, limit);
}

void poll_time_note(struct poll_time *p, uint64_t waited) {
        assert(p);

        if (waited <= p->now)
                return;
        if (waited > p->limit)
                p->now = 0;
        else
                p->now = MIN(p->now == 0 ? FIRST_NS : p->now * 2, p->limit);
}
