/* SPDX-License-Identifier: MIT */
/*
 * test_golden.c - the format is what FORMAT.md says: a reader written from that page alone
 * (read_store.tcl) decodes the golden directory to what it always was, sees in it the keys that the
 * engine sees, and agrees with the model about stores of random operations.
 */
#include "base/checksum.h"
#include "engine_test.h"
#include "lib/tmpdir.h"

#include <dirent.h>
#include <sys/wait.h>
#include <unistd.h>

#define HERE "tests/engine/"

static void read_file(const char *path, struct bk_buf *out)
{
    FILE *f = fopen(path, "rb");
    if (f == NULL) {
        print_error("%s: run from the top of the repository\n", path);
        fail();
    }
    size_t n;
    out->len = 0;
    do {
        n = fread(bk_buf_reserve(out, 65536), 1, 65536, f);
        out->len += n;
    } while (n > 0);
    fclose(f);
}

/* The reader's output; the test fails when the reader does. */
static void run_reader(const char *dir, int64_t now_ms, struct bk_buf *out)
{
    char now[32];
    int fds[2];
    snprintf(now, sizeof(now), "%lld", (long long)now_ms);
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        dup2(fds[1], STDOUT_FILENO);
        close(fds[0]);
        close(fds[1]);
        execlp("tclsh", "tclsh", HERE "read_store.tcl", dir, now, (char *)NULL);
        _exit(127);
    }
    close(fds[1]);
    out->len = 0;
    ssize_t n;
    while ((n = read(fds[0], bk_buf_reserve(out, 65536), 65536)) > 0) {
        out->len += (size_t)n;
    }
    close(fds[0]);
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_golden__reader_from_the_page_alone__decodes_every_field(void **state)
{
    (void)state;
    struct bk_buf want = {0};
    struct bk_buf got = {0};
    read_file(HERE "golden.expected", &want);
    run_reader(HERE "golden", 0, &got);
    bk_buf_append(&want, "", 1);
    bk_buf_append(&got, "", 1);
    assert_string_equal((char *)got.data, (char *)want.data);
    bk_buf_fini(&want);
    bk_buf_fini(&got);
}

/* ---- Keys as the reader prints them ---- */

struct lines {
    struct bk_buf *out;
    uint32_t num;
};

static void add_line(void *arg, struct bk_span key, const struct model_value *v)
{
    struct lines *l = arg;
    bk_buf_printf(l->out, "key %u ", l->num);
    for (size_t i = 0; i < key.len; i++) {
        bk_buf_printf(l->out, "%02x", key.data[i]);
    }
    bk_buf_printf(l->out, " flags %u expire %lld value %zu %08x\n", v->flags,
                  (long long)v->expire_ms, v->value.len, bk_crc32c(0, v->value.data, v->value.len));
}

/* True when each of the reader's key lines is in want, and there are as many. */
static bool same_lines(struct bk_buf *reader, struct bk_buf *want)
{
    size_t n = 0;
    size_t wanted = 0;
    bool same = true;
    bk_buf_append(reader, "", 1);
    bk_buf_append(want, "", 1);
    for (const char *at = (const char *)want->data; (at = strchr(at, '\n')) != NULL; at++) {
        wanted++;
    }
    char *save = NULL;
    for (char *line = strtok_r((char *)reader->data, "\n", &save); line != NULL;
         line = strtok_r(NULL, "\n", &save)) {
        char *with_end = NULL;
        if (strncmp(line, "key ", 4) == 0 && asprintf(&with_end, "%s\n", line) > 0) {
            same = same && strstr((char *)want->data, with_end) != NULL;
            n++;
        }
        free(with_end);
    }
    return same && n == wanted;
}

static void state_lines(const struct model_state *s, struct bk_buf *out)
{
    struct lines l = {.out = out};
    for (; l.num < s->databases; l.num++) {
        model_state_each(s, l.num, add_line, &l);
    }
}

static void copy_in(struct rig *r, const char *name)
{
    char path[300];
    struct bk_buf bytes = {0};
    snprintf(path, sizeof(path), HERE "golden/%s", name);
    read_file(path, &bytes);
    rig_path(name, path, sizeof(path));
    simdisk_put(r->disk, path, bytes.data, bytes.len);
    bk_buf_fini(&bytes);
}

static void test_golden__engine_and_reader__see_the_same_keys(void **state)
{
    (void)state;
    struct rig r;
    struct bk_buf reader = {0};
    struct bk_buf engine = {0};
    struct model_state seen;
    rig_init(&r, 3, BK_SYNC_NO);
    const struct bk_io *io = simdisk_io(r.disk);
    assert_int_equal(io->mkdir(io->arg, RIG_DIR), 0);
    DIR *d = opendir(HERE "golden");
    assert_non_null(d);
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        if (e->d_name[0] != '.') {
            copy_in(&r, e->d_name);
        }
    }
    closedir(d);
    RIG_TRUE(&r, rig_open(&r) == BK_OK);
    RIG_TRUE(&r, rig_check(&r));
    RIG_TRUE(&r, rig_read_all(&r, &seen));
    state_lines(&seen, &engine);
    run_reader(HERE "golden", SIMCLOCK_START_MS, &reader);
    assert_true(same_lines(&reader, &engine));
    assert_true(engine.len > 500);
    model_state_fini(&seen);
    bk_buf_fini(&reader);
    bk_buf_fini(&engine);
    rig_fini(&r);
}

/* ---- Random stores, written to a real directory for the reader ---- */

struct export
{
    struct rig *r;
    const char *dir;
};

static void export_file(void *arg, const char *name)
{
    struct export *e = arg;
    char path[400];
    struct bk_buf bytes = {0};
    rig_path(name, path, sizeof(path));
    simdisk_read(e->r->disk, path, &bytes);
    snprintf(path, sizeof(path), "%s/%s", e->dir, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes.data, 1, bytes.len, f), bytes.len);
    assert_int_equal(fclose(f), 0);
    bk_buf_fini(&bytes);
}

struct keep {
    struct model_state *to;
    uint32_t num;
};

/* The state leaves out what has expired. */
static void keep_if_alive(void *arg, struct bk_span key, const struct model_value *v)
{
    struct keep *k = arg;
    model_state_put(k->to, k->num, key, v);
}

static void compare_random(uint64_t seed)
{
    struct rig r;
    struct tmpdir dir;
    struct bk_buf reader = {0};
    struct bk_buf model = {0};
    struct model_state want;
    rig_init(&r, seed, (enum bk_sync)(seed % 3));
    for (int life = 0; life < 3; life++) {
        RIG_TRUE(&r, rig_open(&r) == BK_OK);
        for (int i = 0; i < 60; i++) {
            RIG_TRUE(&r, rig_random_op(&r));
        }
        RIG_TRUE(&r, rig_settle(&r));
        if (life % 2 == 0) {
            rig_crash(&r, SIMDISK_KILL);
        } else {
            RIG_TRUE(&r, rig_close(&r) == BK_OK);
        }
    }
    tmpdir_make(&dir, "golden");
    rig_data_files(&r, export_file, &(struct export){&r, dir.path});
    export_file(&(struct export){&r, dir.path}, "MANIFEST");
    run_reader(dir.path, bk_clock_wall_ms(&r.clock.clock), &reader);
    model_state_init(&want, RIG_DATABASES, bk_clock_wall_ms(&r.clock.clock));
    for (uint32_t num = 0; num < RIG_DATABASES; num++) {
        model_state_each(&r.model.now, num, keep_if_alive, &(struct keep){&want, num});
    }
    state_lines(&want, &model);
    bool same = same_lines(&reader, &model);
    if (!same) {
        print_error("seed %llu: the reader's keys are not the model's\n", (unsigned long long)seed);
    }
    assert_true(same);
    model_state_fini(&want);
    bk_buf_fini(&reader);
    bk_buf_fini(&model);
    tmpdir_remove(&dir);
    rig_fini(&r);
}

static void test_golden__random_stores__reader_agrees_with_the_model(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        compare_random(seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden__reader_from_the_page_alone__decodes_every_field),
        cmocka_unit_test(test_golden__engine_and_reader__see_the_same_keys),
        cmocka_unit_test(test_golden__random_stores__reader_agrees_with_the_model),
    };
    quiet_log();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
