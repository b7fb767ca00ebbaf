/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "chvctl/chvctl.h"

/* An authentication agent on this terminal, for the time of a call. */
typedef struct Agent Agent;

/* Returns when it is ready. NULL: there is no terminal to ask on, or no agent; who has one on a desktop is asked there. */
Agent *agent_start(const Options *options);
void agent_stop(Agent *agent);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Agent, agent_stop)
