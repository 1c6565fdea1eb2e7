/* SPDX-License-Identifier: MIT */
/*
 * fuzz_tool_load.c - any bytes as a dump for the offline tool: what it takes for a record comes
 * back the same when it is written and read again, and memory follows the input, not what it
 * promises. The first byte chooses the format.
 */
#include "base/assert.h"
#include "tools/format.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int read_one(bool json, struct tool_reader *rd)
{
    return json ? tool_json_read(rd) : tool_resp_read(rd);
}

static void write_and_read(bool json, const struct tool_record *r)
{
    char *text = NULL;
    size_t len = 0;
    int64_t selected = -1;
    FILE *f = open_memstream(&text, &len);
    int rc = json ? tool_json_write(f, r) : tool_resp_write(f, r, &selected);
    fclose(f);
    BK_ASSERT(rc == BK_OK);
    struct tool_reader rd = {.in = {.f = fmemopen(text, len, "r")}};
    rc = read_one(json, &rd);
    BK_ASSERT(rc == BK_OK);
    BK_ASSERT(bk_span_eq(rd.r.key, r->key) && bk_span_eq(rd.r.value, r->value));
    BK_ASSERT(rd.r.num == r->num && rd.r.flags == r->flags && rd.r.expire_ms == r->expire_ms);
    fclose(rd.in.f);
    free(text);
    tool_reader_fini(&rd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    bool json = data[0] % 2 == 0;
    uint8_t *copy = malloc(size - 1);
    BK_ASSERT(copy != NULL);
    memcpy(copy, data + 1, size - 1);
    struct tool_reader rd = {.in = {.f = fmemopen(copy, size - 1, "r")}};
    int rc;
    while ((rc = read_one(json, &rd)) == BK_OK) {
        write_and_read(json, &rd.r);
    }
    BK_ASSERT(rc == BK_NOTFOUND || (rc == BK_EINVAL && rd.why[0] != '\0'));
    BK_ASSERT(rd.key.cap + rd.value.cap + rd.line.cap + rd.word.cap <=
              4 * (((size_t)1 << 20) + size));
    fclose(rd.in.f);
    free(copy);
    tool_reader_fini(&rd);
    return 0;
}
