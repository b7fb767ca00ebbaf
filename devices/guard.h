/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <pthread.h>

/* GUARD(&lock): holds the mutex until the end of the scope. One a scope. */
static inline pthread_mutex_t *guard_take(pthread_mutex_t *lock) {
        (void) pthread_mutex_lock(lock);
        return lock;
}

static inline void guard_dropp(pthread_mutex_t **lock) {
        (void) pthread_mutex_unlock(*lock);
}

#define GUARD(lock)                                                                                \
        __attribute__((cleanup(guard_dropp), unused)) pthread_mutex_t *guard_ = guard_take(lock)
