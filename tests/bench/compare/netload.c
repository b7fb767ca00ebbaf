/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Load for a guest's network, and its other end: `netload serve` on the host; in the guest `netload send|receive HOST MIB` moves data through
 * one TCP connection, `netload rr HOST N` asks and answers one byte N times, `netload connect HOST` waits for the server. Prints "BYTES|COUNT
 * NANOSECONDS". The first byte of a connection says what it is for, eight more how much.
 */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PORT 9876
#define CHUNK (256 * 1024)

static char buf[CHUNK];

static uint64_t now(void) {
        struct timespec ts;

        (void) clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * 1000000000u + (uint64_t) ts.tv_nsec;
}

static void put(int fd, const void *data, size_t n) {
        if (send(fd, data, n, MSG_NOSIGNAL) != (ssize_t) n)
                err(1, "send");
}

static void get(int fd, void *data, size_t n) {
        if (recv(fd, data, n, MSG_WAITALL) != (ssize_t) n)
                errx(1, "the connection ended");
}

static void give(int fd, uint64_t bytes) {
        while (bytes > 0) {
                size_t n = bytes < CHUNK ? (size_t) bytes : CHUNK;

                put(fd, buf, n);
                bytes -= n;
        }
}

static void take(int fd, uint64_t bytes) {
        while (bytes > 0) {
                ssize_t n = recv(fd, buf, bytes < CHUNK ? (size_t) bytes : CHUNK, 0);

                if (n <= 0)
                        errx(1, "the connection ended");
                bytes -= (uint64_t) n;
        }
}

static void bounce(int fd, uint64_t count, int first) {
        char c = 'x';

        for (; count > 0; count--) {
                if (first)
                        put(fd, &c, 1);
                get(fd, &c, 1);
                if (!first)
                        put(fd, &c, 1);
        }
}

static struct sockaddr_in address(const char *host) {
        struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(PORT) };

        if (inet_pton(AF_INET, host, &a.sin_addr) != 1)
                errx(2, "%s is no address", host);
        return a;
}

static void no_delay(int fd) {
        (void) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
}

static void serve_one(int fd) {
        uint64_t amount;
        char what;

        no_delay(fd);
        get(fd, &what, 1);
        get(fd, &amount, sizeof(amount));
        if (what == 's') {
                take(fd, amount);
                put(fd, "k", 1);
        } else if (what == 'r') {
                give(fd, amount);
        } else if (what == 'b') {
                bounce(fd, amount, /* first= */ 0);
        }
}

static void serve(void) {
        struct sockaddr_in a = address("0.0.0.0");
        int fd = socket(AF_INET, SOCK_STREAM, 0);

        (void) signal(SIGCHLD, SIG_IGN);
        (void) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int));
        if (bind(fd, (struct sockaddr *) &a, sizeof(a)) < 0 || listen(fd, 8) < 0)
                err(1, "listening");
        for (;;) {
                int one = accept(fd, NULL, NULL);

                if (one >= 0 && fork() == 0) {
                        serve_one(one);
                        _exit(0);
                }
                (void) close(one);
        }
}

static int dial(const char *host) {
        struct sockaddr_in a = address(host);

        for (int i = 0; i < 100; i++) {
                int fd = socket(AF_INET, SOCK_STREAM, 0);

                if (connect(fd, (struct sockaddr *) &a, sizeof(a)) == 0) {
                        no_delay(fd);
                        return fd;
                }
                (void) close(fd);
                (void) usleep(100000);
        }
        errx(1, "%s does not answer", host);
}

int main(int argc, char *argv[]) {
        const char *what = argc > 1 ? argv[1] : "";
        uint64_t amount = argc > 3 ? strtoull(argv[3], NULL, 10) : 0, begin;
        char kind = strcmp(what, "send") == 0 ? 's' : strcmp(what, "receive") == 0 ? 'r' : 'b';
        int fd;

        if (strcmp(what, "serve") == 0)
                serve();
        if (argc < 3)
                errx(2, "serve | connect HOST | send HOST MIB | receive HOST MIB | rr HOST COUNT");
        fd = dial(argv[2]);
        if (kind != 'b')
                amount *= 1024 * 1024;
        put(fd, &kind, 1);
        put(fd, &amount, sizeof(amount));
        begin = now();
        if (kind == 's') {
                give(fd, amount);
                get(fd, buf, 1);
        } else if (kind == 'r') {
                take(fd, amount);
        } else {
                bounce(fd, amount, /* first= */ 1);
        }
        (void) printf("%" PRIu64 " %" PRIu64 "\n", amount, now() - begin);
        return 0;
}
