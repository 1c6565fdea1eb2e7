/* SPDX-License-Identifier: MIT */
/* bitmap_private.h - what the files of the bitmap commands share. */
#ifndef BK_COMMAND_BITMAP_PRIVATE_H
#define BK_COMMAND_BITMAP_PRIVATE_H

#include "command/command.h"

#include <stdbool.h>
#include <stdint.h>

/* A bit's place that a string may have. field_bits: the width of the fields that "#n" counts, 0
 * where that form is not known. false: the error is written. */
bool bitmap_offset(struct command_ctx *c, struct bk_span arg, unsigned field_bits,
                   uint64_t *offset);

/* bitmap_field.c */
void bitmap_bitfield(struct command_ctx *c);
void bitmap_bitfield_ro(struct command_ctx *c);

#endif
