/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/* Dice, words, processes, and ranges of a disk. */

#include "tests/system/exercise/exercise.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* splitmix64 */
uint64_t dice_roll(struct dice *d) {
        uint64_t z = d->state += 0x9e3779b97f4a7c15u;

        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
        z = (z ^ z >> 27) * 0x94d049bb133111ebu;
        return z ^ z >> 31;
}

struct dice dice_new(uint64_t a, uint64_t b, uint64_t c) {
        struct dice d = { a };

        d.state = dice_roll(&d) ^ b;
        d.state = dice_roll(&d) ^ c;
        return d;
}

uint64_t dice_below(struct dice *d, uint64_t n) {
        return dice_roll(d) % n;
}

void dice_fill(uint64_t seed, void *buf, size_t len) {
        struct dice d = { seed };

        for (size_t at = 0; at < len; at += sizeof(uint64_t)) {
                uint64_t v = dice_roll(&d);

                memcpy((char *) buf + at, &v, len - at < sizeof(v) ? len - at : sizeof(v));
        }
}

static void put_line(const char *before, const char *format, va_list ap) {
        char line[512];
        int head = snprintf(line, sizeof(line), "%s", before);
        int n = vsnprintf(line + head, sizeof(line) - (size_t) head - 1, format, ap);
        size_t len = (size_t) head + (n < 0 ? 0 : (size_t) n);

        if (len > sizeof(line) - 1)
                len = sizeof(line) - 1;
        line[len++] = '\n';
        (void) !write(STDOUT_FILENO, line, len);
}

void say(const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        put_line("", format, ap);
        va_end(ap);
}

void wrong(const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        put_line("WRONG: ", format, ap);
        va_end(ap);
        exit(1);
}

void *shared_memory(size_t len) {
        void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

        if (p == MAP_FAILED)
                wrong("no memory for %zu bytes", len);
        return p;
}

bool in_parts(unsigned n, void (*work)(void *opaque, unsigned part), void *opaque) {
        bool fine = true;
        int status;

        for (unsigned part = 0; part < n; part++) {
                pid_t pid = fork();

                if (pid < 0)
                        wrong("fork: %m");
                if (pid == 0) {
                        work(opaque, part);
                        exit(0);
                }
        }
        while (wait(&status) > 0)
                fine = fine && status == 0;
        return fine;
}

struct range
range_pick(struct dice *dice,
           uint64_t size,
           uint32_t block,
           uint64_t max,
           uint64_t stripe,
           unsigned part,
           unsigned parts) {
        uint64_t from = 0, span = size;
        struct range r;

        if (parts > 1) {
                uint64_t n = size / stripe / parts;

                from = (dice_below(dice, n) * parts + part) * stripe;
                span = stripe;
        }
        /* Short ones are more frequent than long ones. */
        r.len = (max / block) >> dice_below(dice, 6);
        r.len = (1 + dice_below(dice, r.len > 0 ? r.len : 1)) * block;
        if (r.len > span)
                r.len = span;
        r.at = from + dice_below(dice, (span - r.len) / block + 1) * block;
        return r;
}
