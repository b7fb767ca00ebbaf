/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "daemon/vmm/console.h"
#include "daemon/vmm/events.h"
#include "daemon/vmm/fd-table.h"
#include "dbus/config.h"

/*
 * One machine: guest memory, vCPUs, buses and devices, built from a configuration and the descriptors it
 * needs. It is made, runs, and is freed; a guest's reset makes a new one from the same parts. Main thread.
 */

typedef struct Machine Machine;

/* What a machine is built from; everything must outlive it. A console that is NULL is off. */
typedef struct {
        const ChvConfig *config; /* complete and valid */
        const FdTable *fds;      /* "kvm" and what chv_config_resources() names */
        Events *events;
        Console *serial, *console, *debug_console;

        /* First thing on each of its threads (sandbox); may be NULL. The argument means nothing. */
        void (*vcpu_thread_start)(void *opaque), (*io_thread_start)(void *opaque);
} MachineParts;

/* Paused at its first instruction. On failure nothing stays behind. */
Machine *machine_new(const MachineParts *parts, GError **error);
void machine_free(Machine *machine);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Machine, machine_free)

/* Idempotent. Pause returns when no vCPU is in the guest and no device touches memory. */
bool machine_pause(Machine *machine, GError **error);
void machine_resume(Machine *machine);

/* Gives the device whose descriptor has this name another connection in place of a lost one; closes fd, and *ret_taken is false, if it
 * has lost none. Which devices have lost theirs is told again, by an event each. */
bool machine_connect(Machine *machine, const char *name, int fd, bool *ret_taken, GError **error);
void machine_tell_connections(Machine *machine);

void machine_press_power_button(Machine *machine);
bool machine_nmi(Machine *machine, GError **error);

/* Brings the limits in config, which may be another configuration of the same devices, to one of them. */
bool machine_set_limits(Machine *machine, const char *id, const ChvConfig *config, GError **error);

/* The same of a group, for all disks in it. */
bool machine_set_group_limits(
                Machine *machine, const char *id, const ChvConfig *config, GError **error);

/* How a change of size has ended: error is NULL, or why it has not come about. On the main thread. */
typedef void MachineResized(void *opaque, uint64_t size, const GError *error);

/* As virtio_dev_ops.resize, on a thread of its own, and an event. done is called once if this is true: by the main loop, or while the machine is freed,
 * which ends the change. CHV_ERROR_BUSY while another change of the disk goes on. */
bool machine_resize_disk(
                Machine *machine,
                const char *id,
                uint64_t size,
                bool shrink,
                MachineResized *done,
                void *opaque,
                GError **error);

/* a{st}: bytes of each disk, by id. Floating. */
GVariant *machine_disk_sizes(Machine *machine);

/* Copies the frames of a network device to fd, which is taken (snaplen and count as of capture.h) / no more. */
bool machine_start_capture(
                Machine *machine,
                const char *id,
                int fd,
                uint32_t snaplen,
                uint64_t count,
                GError **error);
bool machine_stop_capture(Machine *machine, const char *id, GError **error);

/* a(sssa{sv}): id, kind, PCI address or "", configuration. Floating. */
GVariant *machine_devices(Machine *machine);

/* a{sa{st}}: device id → counter → value. Floating. */
GVariant *machine_counters(Machine *machine);
