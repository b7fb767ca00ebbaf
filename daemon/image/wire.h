/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/*
 * What the part that reads images asks of the part that opens files, over a socket that keeps messages apart. An answer has a
 * descriptor or a message.
 */
#define WIRE_NAME_MAX 4096u

struct wire_request {
        uint8_t index; /* of the file on the command line whose chain it is */
        uint8_t depth; /* images above the one that is asked for, or that it is a part of */
        uint8_t role;  /* enum image_role */
        uint8_t readonly;
        char name[WIRE_NAME_MAX]; /* NUL-terminated */
};

struct wire_answer {
        int32_t error;                     /* 0: there is a descriptor */
        char message[WIRE_NAME_MAX + 256]; /* NUL-terminated */
};
