/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What is told of a VM to systemd-machined: that its process runs, and which interfaces of the host are its own. Those are
 * known by their descriptors while these are here, and by the names in the configuration to a later chvd.
 */

#include <net/if.h>

#include "daemon/chvd/machines.h"
#include "daemon/chvd/tap.h"
#include "daemon/chvd/vm-private.h"

static int interface_of(const ChvdVm *vm, const ChvResource *need) {
        const ChvdFdSet *fds = vm->resources ? chvd_resources_fds(vm->resources) : NULL;
        int fd = fds ? chvd_fd_set_get(fds, need->fd_name) : -1;
        g_autofree char *name = fd >= 0 ? chvd_tap_interface(fd) : g_strdup(need->path);

        return name ? (int) if_nametoindex(name) : 0;
}

void chvd_vm_register(ChvdVm *vm) {
        const ChvdDefinition *definition = vm->definition;
        g_autoptr(GArray) interfaces = g_array_new(false, false, sizeof(int));
        ChvdMachine machine = {
                .name = definition->name,
                .uuid = definition->config->platform.uuid,
                .unit = chvd_worker_unit(vm->worker),
                .pid = chvd_worker_pid(vm->worker),
        };

        if (!vm->context->machines)
                return;
        for (guint i = 0; i < definition->needs->len; i++) {
                const ChvResource *need = &g_array_index(definition->needs, ChvResource, i);
                int index = need->kind == CHV_RESOURCE_TAP && need->index == 0
                                            ? interface_of(vm, need)
                                            : 0;

                if (index > 0)
                        g_array_append_val(interfaces, index);
        }
        machine.interfaces = (const int *) (const void *) interfaces->data;
        machine.n_interfaces = interfaces->len;
        chvd_machines_add(vm->context->machines, &machine);
}
