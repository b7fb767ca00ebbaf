/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "daemon/chvd/store.h"

/* The store for the main loop, which never waits for a disk: each change is made in a thread, and done is called in the main loop. Changes to
 * one name must not overlap. Main thread only. */
typedef struct ChvdStoreQueue ChvdStoreQueue;

/* error: NULL when it is on disk. */
typedef void (*ChvdStored)(gpointer data, const GError *error);

/* The store must outlive it. */
ChvdStoreQueue *chvd_store_queue_new(ChvdStore *store);
/* Nothing may be under way. */
void chvd_store_queue_free(ChvdStoreQueue *queue);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ChvdStoreQueue, chvd_store_queue_free)

ChvdStore *chvd_store_queue_store(const ChvdStoreQueue *queue);
bool chvd_store_queue_is_empty(const ChvdStoreQueue *queue);
/* idle is called whenever nothing is under way any more. */
void chvd_store_queue_on_idle(ChvdStoreQueue *queue, void (*idle)(gpointer data), gpointer data);

void chvd_store_queue_save(
                ChvdStoreQueue *queue,
                const char *name,
                const ChvdRecord *record,
                bool create,
                ChvdStored done,
                gpointer data);
void chvd_store_queue_remove(
                ChvdStoreQueue *queue, const char *name, ChvdStored done, gpointer data);
void chvd_store_queue_rename(
                ChvdStoreQueue *queue,
                const char *from,
                const char *to,
                ChvdStored done,
                gpointer data);
void chvd_store_queue_mark_run(ChvdStoreQueue *queue, const char *name);
