/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>

#include "daemon/chvd/definition.h"
#include "daemon/chvd/fd-set.h"

/* What was opened for one run of a VM. */
typedef struct ChvdResources ChvdResources;

/* Descriptors to pass to the worker: "kvm" and what the definition needs. NULL after chvd_resources_passed(). */
const ChvdFdSet *chvd_resources_fds(const ChvdResources *resources);

/* The worker has them: closes ours, so that it alone decides when a tap or a lock ends. */
void chvd_resources_passed(ChvdResources *resources);

/* Undoes what outlives a descriptor: socket files, locks on descriptors that the creator gave. */
void chvd_resources_free(ChvdResources *resources);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ChvdResources, chvd_resources_free)

/* Opens everything in a thread, as host files can take their time. When cancelled it returns at once, and what is opened afterwards
 * is released. */
void chvd_broker_open_async(
                ChvdDefinition *definition,
                const char *kvm_path,
                GCancellable *cancellable,
                GAsyncReadyCallback callback,
                gpointer data);
/* CHV_ERROR_RESOURCE names the option. */
ChvdResources *chvd_broker_open_finish(GAsyncResult *result, GError **error);
