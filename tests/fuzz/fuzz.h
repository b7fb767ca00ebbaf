/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/*
 * What every fuzz target defines: feeds one input to the code under test. It keeps nothing between
 * calls that changes what the next one does, and returns 0. An assertion, a crash, a hang or a sanitizer's
 * complaint is a finding; the input that led to it then becomes a file in corpus/TARGET/.
 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A memfd with the input, reused by the next call; never close it. */
int fuzz_fd(const uint8_t *data, size_t size);
