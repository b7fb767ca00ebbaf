/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>
#include <stdbool.h>
#include <stdint.h>

struct ChvdAuthority;
struct ChvdCgroups;
struct ChvdMachines;
struct ChvdPeers;
struct ChvdQuota;
struct ChvdStoreQueue;
struct ChvdUnits;

#define CHVD_BUS_NAME "org.cloudhypervisor.Manager"
#define CHVD_PATH "/org/cloudhypervisor"
#define CHVD_PATH_MANAGER CHVD_PATH "/Manager"
#define CHVD_PATH_VM CHVD_PATH "/vm"
#define CHVD_PATH_JOB CHVD_PATH "/job"

/* What every object of the service needs to know of its surroundings. Built by main (or a test), outlives the manager and all VMs;
 * main thread only. */
typedef struct {
        bool session;            /* one user's service rather than the system's */
        const char *worker_path; /* the program chv-vmm */
        const char *seccomp;     /* its option --seccomp; NULL: not given */
        const char *runtime_dir; /* where runs are found again */
        const char *opener_path; /* the program chv-open */
        const char *kvm_path;    /* "/dev/kvm" */
        GDBusObjectManagerServer *objects;
        struct ChvdPeers *peers; /* NULL: none */
        struct ChvdAuthority *authority;
        struct ChvdQuota *quota;
        struct ChvdStoreQueue *store;
        struct ChvdUnits *units;       /* NULL: processes of VMs are none */
        struct ChvdCgroups *cgroups;   /* of processes that are no units; NULL: none are made */
        struct ChvdMachines *machines; /* NULL: systemd-machined is told nothing */
        uint64_t last_job;
        bool stopping; /* no new work is taken */
} ChvdContext;
