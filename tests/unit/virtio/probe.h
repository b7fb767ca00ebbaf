/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "guest.h"

/* A virtio device that records what the transport does to it, in a machine with a guest. */

#define PROBE_CONFIG_LEN 10
#define PROBE_FEATURES 0x17ull
#define PROBE_REFUSED 0x3ull /* both of these bits together */

struct probe_dev {
        struct virtio_dev vd;
        int activate_result;
        unsigned n_activate, n_deactivate, n_pause, n_resume;
        bool running, pause_fails;
        uint8_t config[PROBE_CONFIG_LEN];
        uint32_t own; /* saved state */
        bool *freed;
};

struct probe_dev *probe_new(struct guest *g, uint16_t type);

struct probe_rig {
        struct guest *g;
        struct probe_dev *p;
        struct guest_dev *d;
};

void probe_rig_up(struct probe_rig *r);
void probe_rig_down(struct probe_rig *r);

/* The device status register. */
uint8_t probe_status(struct probe_rig *r);
void probe_set_status(struct probe_rig *r, uint8_t v);

/* How often queue i was kicked since the last call. */
uint64_t probe_kicks(struct probe_rig *r, unsigned i);

/* Points the window in configuration space (PCI_CFG) at len bytes of the BAR. */
void probe_window(struct probe_rig *r, uint8_t bar, uint32_t offset, uint32_t len);
