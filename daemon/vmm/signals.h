/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>

#include "daemon/vmm/service.h"

/*
 * What the process is asked for by signals, by systemd and machinectl: SIGTERM and SIGRTMIN+4 want it to go, SIGINT wants its guest to be
 * started again. Main thread, before the sandbox's filter; for the rest of the process's life.
 */
bool signals_watch(VmmService *service, GError **error);
