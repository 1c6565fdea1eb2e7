/* SPDX-License-Identifier: MIT */
/* The ring that connections are queued on: order, and what moves between two of them. */
#include "net/list.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct item {
    struct list link;
    int n;
};

static struct item items[6];

static void fill(struct list *head, int from, int to)
{
    list_init(head);
    for (int i = from; i < to; i++) {
        items[i].n = i;
        list_init(&items[i].link);
        list_push(head, &items[i].link);
    }
}

/* Empties it: its items are first, first + 1 and so on up to end. */
static void expect_order(struct list *head, int first, int end)
{
    struct list *node;
    int n = first;
    while ((node = list_pop(head)) != NULL) {
        assert_true(node->next == node && node->prev == node);
        assert_int_equal(LIST_OWNER(node, struct item, link)->n, n++);
    }
    assert_int_equal(n, end);
    assert_true(list_empty(head));
}

static void test_list__put_back__comes_before_what_is_there(void **state)
{
    (void)state;
    for (int cut = 0; cut <= 6; cut++) {
        struct list head;
        struct list rest;
        fill(&rest, 0, cut);
        fill(&head, cut, 6);
        list_put_back(&head, &rest);
        assert_true(list_empty(&rest));
        expect_order(&head, 0, 6);
    }
}

static void test_list__put_back__items_can_be_taken_out(void **state)
{
    (void)state;
    struct list head;
    struct list rest;
    fill(&rest, 0, 3);
    fill(&head, 3, 6);
    list_put_back(&head, &rest);
    for (int i = 0; i < 6; i += 5) {
        list_remove(&items[i].link);
    }
    expect_order(&head, 1, 5);
}

static void test_list__take__moves_all(void **state)
{
    (void)state;
    for (int n = 0; n <= 6; n++) {
        struct list head;
        struct list now;
        fill(&head, 0, n);
        list_take(&now, &head);
        assert_true(list_empty(&head));
        expect_order(&now, 0, n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list__put_back__comes_before_what_is_there),
        cmocka_unit_test(test_list__put_back__items_can_be_taken_out),
        cmocka_unit_test(test_list__take__moves_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
