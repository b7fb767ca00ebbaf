/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>

/* What the service manager is told of this program, and its watchdog. Without one all of it does nothing. Main thread only. */
typedef struct ChvdNotify ChvdNotify;

/* Feeds the watchdog from now on, if there is one. */
ChvdNotify *chvd_notify_new(void);
void chvd_notify_free(ChvdNotify *notify);

void chvd_notify_ready(ChvdNotify *notify);
/* chvd_notify_ready() follows. */
void chvd_notify_reloading(ChvdNotify *notify);
void chvd_notify_stopping(ChvdNotify *notify);
/* After that: it is going to take at least so much longer. */
void chvd_notify_extend(ChvdNotify *notify, unsigned ms);
/* There is somebody to tell. */
bool chvd_notify_has_manager(const ChvdNotify *notify);
/* All that was told has reached its socket. */
bool chvd_notify_is_through(const ChvdNotify *notify);
/* How many VMs there are; told when it is news. */
void chvd_notify_status(ChvdNotify *notify, unsigned defined, unsigned running);
