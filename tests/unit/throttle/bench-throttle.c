/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/* What limits cost a request: the clock, and the two buckets. Prints nanoseconds; a number to compare, not a test. */

#include "devices/throttle.h"

#include <stdio.h>

#define ROUNDS 10000000u

static void measure(const char *name, struct throttle *t, int with_clock) {
        uint64_t start = throttle_clock(), waits = 0;

        for (unsigned i = 0; i < ROUNDS; i++)
                waits += throttle_take(t, with_clock ? throttle_clock() : start, 4096, 1) != 0;
        printf("%-28s %5.1f ns (%llu waits)\n", name, (double) (throttle_clock() - start) / ROUNDS,
               (unsigned long long) waits);
}

int main(void) {
        struct throttle t;
        struct throttle_config plenty = {
                .bandwidth = { 1ull << 40, 0, 1 },
                .ops = { 1ull << 40, 0, 1 },
        };

        throttle_init(&t, 0, &(struct throttle_config){ 0 });
        measure("no limits", &t, 0);
        throttle_set(&t, &plenty);
        measure("both limits", &t, 0);
        measure("both limits and the clock", &t, 1);
        throttle_set(&t, &(struct throttle_config){ .ops = { 1, 0, 100000 } });
        measure("refused", &t, 0);
        return 0;
}
