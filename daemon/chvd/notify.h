/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the service manager is told of this program, and its watchdog. Without one all of it does nothing. Main thread only. */
typedef struct ChvdNotify ChvdNotify;

/* Feeds the watchdog from now on, if there is one. */
ChvdNotify *chvd_notify_new(void);
void chvd_notify_free(ChvdNotify *notify);

void chvd_notify_ready(ChvdNotify *notify);
/* chvd_notify_ready() follows. */
void chvd_notify_reloading(ChvdNotify *notify);
void chvd_notify_stopping(ChvdNotify *notify);
/* How many VMs there are; told when it is news. */
void chvd_notify_status(ChvdNotify *notify, unsigned defined, unsigned running);
