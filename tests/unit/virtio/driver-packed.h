/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "driver.h"

/* Between driver.c and driver-packed.c: the functions of driver.h for a packed ring. */

int drv_packed_add(
                struct drv_ring *d,
                const struct drv_buf *bufs,
                uint16_t n,
                bool indirect,
                void *cookie);
bool drv_packed_publish(struct drv_ring *d);
bool drv_packed_take(struct drv_ring *d, void **ret_cookie, uint32_t *ret_len);
bool drv_packed_has_used(const struct drv_ring *d);
void drv_packed_disable_interrupts(struct drv_ring *d);
bool drv_packed_enable_interrupts(struct drv_ring *d);
void drv_packed_put_endless(struct drv_ring *d, gaddr addr);
void drv_packed_vandalise(struct drv_ring *d, GRand *rand, uint64_t limit);

uint64_t drv_wild_addr(GRand *rand, uint64_t limit);
uint32_t drv_wild_len(GRand *rand);
