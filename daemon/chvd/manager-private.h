/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "daemon/chvd/adopt.h"
#include "daemon/chvd/autostart.h"
#include "daemon/chvd/manager.h"
#include "daemon/chvd/vm.h"
#include "dbus/generated.h"

/* The inside of the manager, for the files it is made of: manager.c (the object, and what goes on), manager-create.c
 * (new VMs and new names) and manager-load.c (those of a chvd before). */

struct ChvdManager {
        ChvdContext *context;
        ChvObjectSkeleton *object;
        ChvManager *skeleton;
        GHashTable *vms;    /* name → ChvdVm, which owns itself */
        GHashTable *taken;  /* names that no VM has and none may take → why */
        GHashTable *broken; /* name → what is wrong with its record */
        GHashTable *found;  /* name → ChvdRecord, while runs are adopted */
        GHashTable *over; /* name → whether it is to be started again: VMs whose runs ended while nobody watched */
        ChvdAdoption *adoption;
        void (*loaded)(gpointer data); /* of chvd_manager_load() */
        gpointer loaded_data;
        ChvdAutostart *autostart;
        bool leaving; /* what runs goes on */
        guint stop_check;
        void (*changed)(gpointer data); /* of chvd_manager_watch() */
        gpointer changed_data;
        guint change;                   /* it is to be told of */
        void (*stopped)(gpointer data); /* of chvd_manager_stop() */
        gpointer stopped_data;
};

/* A snapshot: a VM may leave the table while its caller walks over them. */
GPtrArray *chvd_manager_all_vms(ChvdManager *manager);
/* The owner has been charged. */
ChvdVm *
chvd_manager_add_vm(ChvdManager *manager, ChvdDefinition *definition, const ChvdVmOrigin *origin);

/* Answers with the error; true, as the handlers of methods do. */
gboolean chvd_manager_refuse(GDBusMethodInvocation *invocation, const GError *error);

/* Handler of CreateVM. */
gboolean chvd_manager_on_create_vm(
                ChvManager *skeleton,
                GDBusMethodInvocation *invocation,
                GUnixFDList *list,
                const char *name,
                GVariant *config,
                GVariant *fds,
                GVariant *options,
                ChvdManager *manager);
/* Hook of VMs. */
void chvd_manager_on_vm_rename(
                gpointer data, ChvdVm *vm, const char *name, GDBusMethodInvocation *invocation);
