/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The common part of every device: its identity and its end. What a device does is in its ops; the
 * checks that every restore() starts with are here, so that all of them refuse in the same words.
 */

#include "devices/device.h"

#include <assert.h>

#include "hypervisor/error.h"

void device_init(struct device *dev, const struct device_ops *ops, const char *id) {
        assert(dev && ops && id);

        dev->ops = ops;
        dev->id = g_strdup(id);
}

void device_release(struct device *dev) {
        g_clear_pointer(&dev->id, g_free);
}

struct device *device_free(struct device *dev) {
        if (dev)
                dev->ops->free(dev);
        return NULL;
}

bool state_fits(const char *what,
                GVariant *state,
                const char *type,
                uint32_t version,
                GError **error) {
        uint32_t found;

        assert(what && state && type);

        if (!g_variant_is_container(state) || g_variant_n_children(state) < 1 ||
            !g_variant_type_is_tuple(g_variant_get_type(state))) {
                g_set_error(error, HV_ERROR, HV_ERROR_STATE, "%s: state is damaged", what);
                return false;
        }

        g_autoptr(GVariant) first = g_variant_get_child_value(state, 0);

        if (!g_variant_is_of_type(first, G_VARIANT_TYPE_UINT32)) {
                g_set_error(error, HV_ERROR, HV_ERROR_STATE, "%s: state has no version", what);
                return false;
        }

        found = g_variant_get_uint32(first);
        if (found != version) {
                g_set_error(error, HV_ERROR, HV_ERROR_STATE,
                            "%s: state has version %u, this program reads version %u", what, found,
                            version);
                return false;
        }

        if (!g_variant_is_of_type(state, (const GVariantType *) type) ||
            !g_variant_is_normal_form(state)) {
                g_set_error(error, HV_ERROR, HV_ERROR_STATE, "%s: state is damaged", what);
                return false;
        }
        return true;
}

bool device_state_fits(
                const struct device *dev,
                GVariant *state,
                const char *type,
                uint32_t version,
                GError **error) {
        return state_fits(dev->id, state, type, version, error);
}
