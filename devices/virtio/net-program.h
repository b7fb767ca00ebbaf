/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <linux/filter.h>

#include "devices/virtio/net-filter.h"

/*
 * The same as vnet_filter_wants(), as a program that the host's kernel runs for each frame of an interface (classic BPF,
 * Linux: Documentation/networking/filter.rst). A frame begins with its Ethernet header; its VLAN tag may lie beside it.
 */

/* What the largest filter that is put into a program takes. */
#define VNET_PROGRAM_MAX 1600u

/* 0 or more instructions (0: every frame is wanted), or -E2BIG. */
int vnet_program_make(const struct vnet_filter *f, struct sock_filter ret[VNET_PROGRAM_MAX]);
