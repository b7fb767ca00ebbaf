/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "daemon/vmm/machine.h"
#include "devices/acpi/acpi.h"
#include "devices/iothread.h"
#include "devices/legacy/legacy.h"
#include "devices/net/stream.h"
#include "devices/throttle.h"
#include "devices/vhost/devices.h"
#include "devices/virtio/devices.h"
#include "devices/virtio/pci-transport.h"
#include "hypervisor/vcpu.h"

/* The inside of a machine, shared by the files that build it. */

typedef struct {
        struct device *device;
        const char *kind;             /* of the device, whatever its transport is */
        const struct pci_device *pci; /* NULL: not on PCI */
        struct virtio_dev *vd;        /* NULL: no virtio device */
        const char *section; /* of the configuration, and its element of that; NULL: none */
        size_t index;
} MachineDevice;

/* A connection to a process that serves a device. */
typedef struct {
        Machine *machine;
        const char *fd_name; /* of its connection; borrowed from the resources */
        const char *id;      /* of the device; likewise */
        const char *source;  /* of its events */
        /* One of them: a device that is served, or what a device's frames go through. */
        struct virtio_dev *served;
        net_stream *stream;
        struct virtio_dev *net; /* atomic: the stream's, when it is there */
} MachineBackEnd;

typedef struct {
        hv_vm *vm;
        enum hv_space space;
} MachineSpace;

struct Machine {
        MachineParts parts;
        GArray *resources; /* of ChvResource */

        /* In the order they are made; freed backwards. */
        gmem *memory;
        hv *hv;
        hv_vm *vm;
        MachineSpace pio_space, mmio_space;
        bus *pio, *mmio;
        struct arch_layout layout;
        iothread *io; /* of the devices that have no thread of their own */
        pci_segment **segments;
        struct arch_pci_segment *segment_layouts;
        size_t n_segments;
        struct throttle *groups; /* one for each of the configuration's rate_limit_groups */
        GArray *devices;         /* of MachineDevice, in order of creation */
        GPtrArray *back_ends;    /* of MachineBackEnd */
        struct device *ioapic, *ged;
        GPtrArray *resizes; /* machine-resize.c: changes of size under way */
        vcpus *vcpus;

        bool paused;
        int ended;       /* atomic: the guest has asked for its end already */
        int debug_codes; /* atomic: reported so far */
};

/* machine-devices.c: everything on the buses. On failure the caller frees the machine. */
bool machine_add_devices(Machine *machine, GError **error);

/* The device's own part of the configuration, as the client would write it: a{sv}, floating. */
GVariant *machine_own_config(const Machine *machine, const MachineDevice *d);

/* An error of the floors below as one that crosses the bus. */
void machine_translate_error(GError **error);

/* NULL: there is no virtio device with this id. */
struct virtio_dev *machine_find_virtio(const Machine *machine, const char *id);

/* machine-limits.c: the limits of a device, of the devices in a group; what to give a disk that is in one (NULL: in none). */
struct throttle_config machine_limits(const ChvRateLimiter *limiter);
void machine_add_groups(Machine *machine);
struct throttle *machine_group(const Machine *machine, const char *id);

/* Name of the descriptor for a part of the configuration; "": there is none. */
const char *
machine_fd_name(const Machine *machine, ChvResourceKind kind, const void *config, unsigned index);
/* Takes vd; NULL passes the constructor's error on. section[i] is its configuration. */
bool machine_add_virtio(
                Machine *machine,
                struct virtio_dev *vd,
                const ChvPciCommon *pci,
                bool bar32,
                const char *section,
                size_t i,
                GError **error);

/* machine-connect.c: what other processes serve. */
GPtrArray *machine_back_ends_new(void);
void machine_end_streams(Machine *machine);
bool machine_add_vhost_disk(Machine *machine, size_t index, GError **error);
bool machine_add_vhost_net(
                Machine *machine, size_t index, const uint8_t mac[static 6], GError **error);
/* A port for the network; -1: error. Then its device, NULL if there is none. */
int machine_open_stream(Machine *machine, const ChvNetConfig *net, GError **error);
void machine_join_stream(Machine *machine, const char *id, struct virtio_dev *vd);

/* machine-resize.c: before anything that a disk needs goes. */
void machine_end_resizes(Machine *machine);

/* machine-net.c */
bool machine_add_net(Machine *machine, size_t index, GError **error);

/* machine-boot.c: tables, payload, first instruction. */
bool machine_load(Machine *machine, GError **error);

/* A request of the guest's to end this machine; only the first counts. Any thread. */
void machine_request(Machine *machine, const char *what, const char *message);
