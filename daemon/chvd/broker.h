/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>

#include "daemon/chvd/context.h"
#include "daemon/chvd/definition.h"
#include "daemon/chvd/fd-set.h"

/* What was opened for one run of a VM. Main thread. */
typedef struct ChvdResources ChvdResources;

/* Descriptors to pass to the worker: "kvm" and what the definition needs. NULL after chvd_resources_passed(). */
const ChvdFdSet *chvd_resources_fds(const ChvdResources *resources);

/* The worker has them: closes ours, so that it alone decides when a tap or a lock ends. */
void chvd_resources_passed(ChvdResources *resources);

/* What has to be undone and what is in use, for a chvd that takes the run over; floating a{sv}. */
GVariant *chvd_resources_save(const ChvdResources *resources);
/* The resources of a run that another chvd began, without descriptors. What it does not know in saved is passed over. */
ChvdResources *chvd_resources_restore(
                const ChvdContext *context,
                ChvdDefinition *definition,
                uid_t owner,
                GVariant *saved);

/* Undoes what outlives a descriptor (socket files, locks on descriptors that the creator gave, the hold on images), and frees the
 * resources. True: all is undone. False: done will be called when it is, as a socket's owner has to remove it. */
bool chvd_resources_release(ChvdResources *resources, void (*done)(gpointer data), gpointer data);
/* The same, and nobody waits for it. */
void chvd_resources_free(ChvdResources *resources);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ChvdResources, chvd_resources_free)
/* Frees them and undoes nothing: the run goes on without us. */
void chvd_resources_abandon(ChvdResources *resources);

/* Opens everything in a thread, as host files can take their time: paths with the rights of `owner`, interfaces and KVM with ours. When cancelled it
 * returns at once, and what is opened afterwards is released. */
void chvd_broker_open_async(
                const ChvdContext *context,
                ChvdDefinition *definition,
                uid_t owner,
                GCancellable *cancellable,
                GAsyncReadyCallback callback,
                gpointer data);
/* CHV_ERROR_RESOURCE names the option. */
ChvdResources *chvd_broker_open_finish(GAsyncResult *result, GError **error);

/* One disk's file more, that its image names, with the rights of `owner`. need has to live until callback. */
void chvd_broker_add_async(
                const ChvdContext *context,
                const ChvResource *need,
                uid_t owner,
                GCancellable *cancellable,
                GAsyncReadyCallback callback,
                gpointer data);
bool chvd_broker_add_finish(
                ChvdResources *resources,
                const ChvResource *need,
                GAsyncResult *result,
                GError **error);
/* In place of the latter, when there are no resources any more. */
void chvd_broker_drop(GAsyncResult *result);

/* Connects again to a socket that the definition needs, with the rights of `owner`, or starts passt again. */
void chvd_broker_connect_async(
                const ChvdContext *context,
                ChvdDefinition *definition,
                const ChvResource *need, /* of the definition */
                uid_t owner,
                GCancellable *cancellable,
                GAsyncReadyCallback callback,
                gpointer data);
int chvd_broker_connect_finish(GAsyncResult *result, GError **error);
