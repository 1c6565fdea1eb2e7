/* SPDX-License-Identifier: MIT */
/* test_look.c - what lies in a directory: no store is made among somebody else's files because they
 * have names that a store's could have. */
#include "engine_test.h"
#include "lib/dirlist.h"
#include "lib/tmpdir.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define JAR "Manifest-Version: 1.0\nCreated-By: somebody else\n"

struct place {
    struct tmpdir dir;
    char path[200]; /* a directory that is not there yet */
    struct bk_options opt;
};

static int setup(void **state)
{
    struct place *p = calloc(1, sizeof(*p));
    tmpdir_make(&p->dir, "look");
    tmpdir_join(&p->dir, "s", p->path, sizeof(p->path));
    bk_options_init(&p->opt);
    p->opt.dir = p->path;
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    struct place *p = *state;
    tmpdir_remove(&p->dir);
    free(p);
    return 0;
}

static void put_file(const struct place *p, const char *name, const void *data, size_t len)
{
    char path[300];
    snprintf(path, sizeof(path), "%s/%s", p->path, name);
    int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), (int)len);
    close(fd);
}

static void expect_look(const struct place *p, enum bk_contents want)
{
    enum bk_contents got;
    struct bk_error err = {0};
    BK_SUCCEEDS(bk_look(NULL, p->path, &got, &err), err);
    assert_int_equal(got, want);
}

/* A store with one key, closed; with its data files or without. */
static void make_store(struct place *p, bool data)
{
    struct bk_error err = {0};
    struct bk_db *db = NULL;
    BK_SUCCEEDS(bk_open(&db, &p->opt, &err), err);
    assert_int_equal(bk_put(db, 0, bk_span_str("k"), bk_span_str("v"), 0), BK_OK);
    BK_SUCCEEDS(bk_close(&db, &err), err);
    if (!data) {
        char path[300];
        struct dirlist l;
        dirlist_read(&l, p->path);
        for (unsigned i = 0; i < l.n; i++) {
            snprintf(path, sizeof(path), "%s/%s", p->path, l.row[i].name);
            assert_int_equal(strcmp(l.row[i].name, "MANIFEST") == 0 ? 0 : unlink(path), 0);
        }
    }
}

static void flip(const struct place *p, unsigned bit)
{
    char path[300];
    uint8_t byte;
    snprintf(path, sizeof(path), "%s/MANIFEST", p->path);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(pread(fd, &byte, 1, bit / 8), 1);
    byte ^= (uint8_t)(1u << bit % 8);
    assert_int_equal(pwrite(fd, &byte, 1, bit / 8), 1);
    close(fd);
}

static void test_look__no_store__is_told_from_one(void **state)
{
    struct place *p = *state;
    expect_look(p, BK_DIR_MISSING);
    assert_int_equal(mkdir(p->path, 0700), 0);
    expect_look(p, BK_DIR_EMPTY);
    static const char *const others[] = {"LOCK", "x.data", "12.data", "0000000001.data.bak",
                                         "0000000001.hint"};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        put_file(p, others[i], "x", 1);
        expect_look(p, BK_DIR_OTHER);
    }
    put_file(p, "0000000001.data", "x", 1);
    expect_look(p, BK_DIR_STORE);
}

static void test_look__manifest_of_another_program__is_refused_and_left_alone(void **state)
{
    struct place *p = *state;
    static const char *const texts[] = {JAR, "", "bitkv", "bitkvdat and so on"};
    assert_int_equal(mkdir(p->path, 0700), 0);
    put_file(p, "table.data", "x", 1);
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct dirlist before;
        struct dirlist after;
        put_file(p, "MANIFEST", texts[i], strlen(texts[i]));
        dirlist_read(&before, p->path);
        expect_look(p, BK_DIR_OTHER);
        for (int read_only = 0; read_only < 2; read_only++) {
            struct bk_error err = {0};
            struct bk_db *db = NULL;
            p->opt.read_only = read_only;
            assert_int_equal(bk_open(&db, &p->opt, &err), BK_EINVAL);
            assert_non_null(strstr(err.path, "MANIFEST"));
        }
        dirlist_read(&after, p->path);
        assert_string_equal(dirlist_difference(&before, &after), "");
    }
}

/* Our own, as damage may leave it, with nothing beside it that would tell. */
static void test_look__one_or_two_wrong_bits_in_the_magic__is_a_store(void **state)
{
    struct place *p = *state;
    make_store(p, false);
    for (unsigned bit = 0; bit < 64; bit++) {
        flip(p, bit);
        expect_look(p, BK_DIR_STORE);
        flip(p, 63);
        expect_look(p, BK_DIR_STORE);
        flip(p, 63);
        flip(p, bit);
    }
    struct bk_error err = {0};
    struct bk_db *db = NULL;
    flip(p, 5);
    BK_SUCCEEDS(bk_open(&db, &p->opt, &err), err);
    BK_SUCCEEDS(bk_close(&db, &err), err);
}

static void test_look__another_manifest_beside_our_data__is_a_store(void **state)
{
    struct place *p = *state;
    struct bk_error err = {0};
    struct bk_db *db = NULL;
    struct bk_buf got = {0};
    make_store(p, true);
    put_file(p, "MANIFEST", JAR, strlen(JAR));
    expect_look(p, BK_DIR_STORE);
    BK_SUCCEEDS(bk_open(&db, &p->opt, &err), err);
    assert_int_equal(bk_get(db, 0, bk_span_str("k"), &got, NULL), BK_OK);
    bk_buf_fini(&got);
    BK_SUCCEEDS(bk_close(&db, &err), err);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_look__no_store__is_told_from_one),
        T(test_look__manifest_of_another_program__is_refused_and_left_alone),
        T(test_look__one_or_two_wrong_bits_in_the_magic__is_a_store),
        T(test_look__another_manifest_beside_our_data__is_a_store),
    };
    quiet_log();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
