/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Whether one kind of requests is done by the thread that wants them. Zeroed: nothing is known yet. Of one thread. */
struct pace {
        uint32_t skip;    /* so many more are left to others */
        uint32_t penalty; /* how many after the next slow one */
        uint64_t spent;   /* ns, in this batch */
};

/* What was done before has been answered. */
void pace_new_batch(struct pace *p);

/* Asked once for each request that could be done so. */
bool pace_allows(struct pace *p);

/* One that was done so, and moved so many bytes, took ns. */
void pace_note(struct pace *p, uint64_t ns, uint64_t bytes);
