/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What the strings and arrays of a configuration live in. A configuration is built up once, is read many times and
 * is freed as a whole; so nothing in it is freed on its own, a value that is replaced stays until the end, and fields
 * may point at literals.
 */

#include <string.h>

#include "dbus/value.h"

struct ChvArena {
        GPtrArray *blocks;
};

ChvArena *chv_arena_new(void) {
        ChvArena *arena = g_new0(ChvArena, 1);

        arena->blocks = g_ptr_array_new_with_free_func(g_free);
        return arena;
}

void chv_arena_free(ChvArena *arena) {
        if (!arena)
                return;
        g_ptr_array_unref(arena->blocks);
        g_free(arena);
}

char *chv_arena_strdup(ChvArena *arena, const char *s) {
        char *copy = g_strdup(s);

        if (copy)
                g_ptr_array_add(arena->blocks, copy);
        return copy;
}

void *chv_arena_alloc(ChvArena *arena, size_t size) {
        void *block = g_malloc0(size);

        if (block)
                g_ptr_array_add(arena->blocks, block);
        return block;
}

void *chv_arena_grow(ChvArena *arena, void *block, size_t old_size, size_t new_size) {
        guint index;

        if (!block || !g_ptr_array_find(arena->blocks, block, &index)) {
                char *fresh = chv_arena_alloc(arena, new_size);

                if (block)
                        memcpy(fresh, block, old_size);
                return fresh;
        }
        block = g_realloc(block, new_size);
        memset((char *) block + old_size, 0, new_size - old_size);
        g_ptr_array_index(arena->blocks, index) = block;
        return block;
}
