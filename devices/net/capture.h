/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

/*
 * A copy of an interface's frames to a pipe or socket, as pcap with nanoseconds and Ethernet's link type. Frames are copied into a
 * buffer, from where a thread of the capture's own writes them: what does not fit because the reader is slow is dropped and counted.
 */

#define CAPTURE_SNAPLEN_MAX 262144u

typedef struct capture capture;

struct capture_config {
        const char *name; /* of the thread */
        int fd;           /* taken, also on failure */
        uint32_t snaplen; /* bytes of a frame that are kept; 0: all */
        uint64_t count;   /* frames to capture; 0: no end */
        void (*thread_start)(void *opaque);
        void *opaque;
        /* It has ended by itself: all frames are captured, or the reader is gone. On the capture's thread, and never once it is being
         * freed. May be NULL. */
        void (*ended)(void *opaque);
        void *ended_opaque;
};

capture *capture_new(const struct capture_config *config, GError **error);

/* Nobody calls capture_frame() any more. What is in the buffer is lost unless the capture has ended by itself. NULL is fine. */
capture *capture_free(capture *c);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(capture, capture_free)

/* The len bytes from offset on in iov. Any thread; blocks for the time of other threads' copies only. */
void capture_frame(capture *c, const struct iovec *iov, size_t n, size_t offset, size_t len);

/* Frames so far: taken into the buffer, and dropped because it was full. */
void capture_counters(capture *c, uint64_t *ret_frames, uint64_t *ret_drops);

/* Whether it has ended by itself. Any thread. */
bool capture_has_ended(capture *c);
