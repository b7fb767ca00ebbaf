/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>

/* How long to look before sleeping. Zeroed: not at all. Of one thread. */
struct poll_time {
        uint64_t limit; /* ns; 0: never look */
        uint64_t now;   /* ns, of the next wait; from 0 to limit */
};

/* The limit is another. */
void poll_time_set_limit(struct poll_time *p, uint64_t limit);

/* A wait took so many ns, looking and sleeping together, until something came. */
void poll_time_note(struct poll_time *p, uint64_t waited);
