/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A configuration as JSON, with the reference's keys, so that its users' files can be read. A file is turned into
 * the GVariants that the bus would have carried and goes through the same reader; null is "not given".
 *
 * json-glib's parser recurses and reads more than JSON. The text is therefore looked over before it sees it: size,
 * nesting, and nothing outside strings that JSON does not have.
 */

#include <json-glib/json-glib.h>
#include <string.h>

#include "dbus/config.h"
#include "dbus/value.h"

#define MAX_SIZE (4 << 20) /* as much as the reference reads */
#define MAX_NESTING 16

/* Four hexadecimal digits at text, -1 for anything else. */
static int code_unit(const char *text, size_t length) {
        int unit = 0;

        if (length < 4)
                return -1;
        for (size_t i = 0; i < 4; i++) {
                if (!g_ascii_isxdigit(text[i]))
                        return -1;
                unit = unit * 16 + g_ascii_xdigit_value(text[i]);
        }
        return unit;
}

/* The length of what follows the u of an escape, 0 when it names no character: json-glib makes broken UTF-8 of a
 * surrogate without its other half, and of fewer than four digits. */
static size_t unicode_escape(const char *text, size_t length) {
        int first = code_unit(text, length), second;

        if (first <= 0 || (first >= 0xdc00 && first <= 0xdfff))
                return 0;
        if (first < 0xd800 || first > 0xdfff)
                return 4;
        if (length < 10 || text[4] != '\\' || text[5] != 'u')
                return 0;
        second = code_unit(text + 6, length - 6);
        return second >= 0xdc00 && second <= 0xdfff ? 10 : 0;
}

static bool scan(const char *json, size_t length, GError **error) {
        bool in_string = false;
        unsigned depth = 0;

        for (size_t i = 0; i < length; i++) {
                char c = json[i];

                if (in_string) {
                        if (c == '\\') {
                                if (++i < length && !strchr("\"\\/bfnrtu", json[i]))
                                        return chv_invalid(
                                                        error,
                                                        "not JSON: unknown escape at byte %zu", i);
                                if (i < length && json[i] == 'u') {
                                        size_t skip = unicode_escape(json + i + 1, length - i - 1);

                                        if (skip == 0)
                                                return chv_invalid(
                                                                error,
                                                                "not JSON: no character is meant "
                                                                "by the escape at byte %zu",
                                                                i);
                                        i += skip;
                                }
                        } else if (c == '"')
                                in_string = false;
                        else if (g_ascii_iscntrl(c))
                                return chv_invalid(
                                                error, "not JSON: control character at byte %zu",
                                                i);
                } else if (c == '"')
                        in_string = true;
                else if (c == '[' || c == '{')
                        depth++;
                else if (c == ']' || c == '}')
                        depth -= depth > 0;
                else if (!g_ascii_isalnum(c) && !strchr(" \t\r\n:,+-.", c))
                        return chv_invalid(error, "not JSON: unexpected character at byte %zu", i);
                if (depth > MAX_NESTING)
                        return chv_invalid(error, "JSON is nested too deeply");
        }
        return true;
}

static GVariant *to_variant(JsonNode *node);

static GVariant *object_to_variant(JsonObject *object) {
        g_auto(GVariantBuilder) builder = G_VARIANT_BUILDER_INIT(G_VARIANT_TYPE_VARDICT);
        JsonObjectIter iter;
        const char *key;
        JsonNode *node;

        json_object_iter_init_ordered(&iter, object);
        while (json_object_iter_next_ordered(&iter, &key, &node))
                g_variant_builder_add(&builder, "{sv}", key, to_variant(node));
        return g_variant_builder_end(&builder);
}

static GVariant *array_to_variant(JsonArray *array) {
        g_auto(GVariantBuilder) builder = G_VARIANT_BUILDER_INIT(G_VARIANT_TYPE("av"));

        for (guint i = 0; i < json_array_get_length(array); i++)
                g_variant_builder_add(&builder, "v", to_variant(json_array_get_element(array, i)));
        return g_variant_builder_end(&builder);
}

/* The depth is bounded by scan(). */
static GVariant *to_variant(JsonNode *node) {
        switch (json_node_get_node_type(node)) {
        case JSON_NODE_OBJECT:
                return object_to_variant(json_node_get_object(node));
        case JSON_NODE_ARRAY:
                return array_to_variant(json_node_get_array(node));
        case JSON_NODE_VALUE:
                switch (json_node_get_value_type(node)) {
                case G_TYPE_INT64:
                        return g_variant_new_int64(json_node_get_int(node));
                case G_TYPE_BOOLEAN:
                        return g_variant_new_boolean(json_node_get_boolean(node));
                case G_TYPE_DOUBLE:
                        return g_variant_new_double(json_node_get_double(node));
                default:
                        return g_variant_new_string(json_node_get_string(node));
                }
        default:
                return g_variant_new_tuple(NULL, 0);
        }
}

ChvConfig *chv_config_from_json(const char *json, gssize len, GError **error) {
        size_t length = len < 0 ? strlen(json) : (size_t) len;
        g_autoptr(JsonParser) parser = json_parser_new_immutable();
        g_autoptr(GError) syntax = NULL;
        g_autoptr(GVariant) dict = NULL;
        JsonNode *root;

        if (length > MAX_SIZE) {
                chv_invalid(error, "JSON is larger than 4 MiB");
                return NULL;
        }
        if (!g_utf8_validate(json, (gssize) length, NULL)) {
                chv_invalid(error, "JSON is not valid UTF-8");
                return NULL;
        }
        if (!scan(json, length, error))
                return NULL;
        if (!json_parser_load_from_data(parser, json, (gssize) length, &syntax)) {
                chv_invalid(error, "not JSON: %s", syntax->message);
                return NULL;
        }
        root = json_parser_get_root(parser);
        if (!root || !JSON_NODE_HOLDS_OBJECT(root)) {
                chv_invalid(error, "the configuration must be a JSON object");
                return NULL;
        }
        dict = g_variant_ref_sink(to_variant(root));
        return chv_config_from_variant(dict, error);
}

char *chv_config_to_json(const ChvConfig *config) {
        g_autoptr(GVariant) dict = g_variant_ref_sink(chv_config_to_variant(config));
        g_autoptr(JsonNode) root = json_gvariant_serialize(dict);

        return json_to_string(root, /* pretty= */ TRUE);
}
