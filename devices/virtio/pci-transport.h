/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "devices/pci/pci.h"
#include "devices/virtio/virtio.h"

/*
 * virtio over PCI (virtio 1.2, 4.1), modern only: BAR0 with the layout of reference 3.2, one MSI-X vector a queue plus one for
 * configuration, one doorbell a queue.
 */

struct virtio_pci_config {
        pci_segment *segment;
        int slot;   /* -1: the first free one */
        bool bar32; /* BAR0 below 4 GiB, for block devices present at boot */
};

/* Called on any thread when the device was activated, reset or broken by its guest; for events. why only for broken. */
enum virtio_event {
        VIRTIO_EVENT_ACTIVATED,
        VIRTIO_EVENT_RESET,
        VIRTIO_EVENT_BROKEN,
};
typedef void
virtio_event_fn(void *opaque, const char *id, enum virtio_event event, const char *why);

/* Takes vd (owned from now on, also on failure: freed) and puts it on the segment. */
struct device *
virtio_pci_new(const struct virtio_pci_config *config,
               struct virtio_dev *vd,
               virtio_event_fn *event,
               void *event_opaque,
               GError **error);

/* Its PCI function; for the address. */
struct pci_device *virtio_pci_function(struct device *dev);
