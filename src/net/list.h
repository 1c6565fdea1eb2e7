/* SPDX-License-Identifier: MIT */
/* list.h - a doubly linked ring inside its members. A node that is on no list points at itself. */
#ifndef BK_NET_LIST_H
#define BK_NET_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *prev, *next;
};

/* The structure that holds node as its field. */
#define LIST_OWNER(node, type, field) ((type *)(void *)((char *)(node)-offsetof(type, field)))

static inline void list_init(struct list *l)
{
    l->prev = l->next = l;
}

static inline bool list_empty(const struct list *l)
{
    return l->next == l;
}

static inline void list_push(struct list *head, struct list *node)
{
    node->prev = head->prev;
    node->next = head;
    head->prev->next = node;
    head->prev = node;
}

/* Also when node is on no list. */
static inline void list_remove(struct list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_init(node);
}

/* The first node, taken off; NULL when empty. */
static inline struct list *list_pop(struct list *head)
{
    struct list *node = head->next;
    if (node == head) {
        return NULL;
    }
    list_remove(node);
    return node;
}

/* Moves all of from to the empty list to. */
static inline void list_take(struct list *to, struct list *from)
{
    list_init(to);
    if (!list_empty(from)) {
        *to = *from;
        to->next->prev = to;
        to->prev->next = to;
        list_init(from);
    }
}

/* Moves all of from in front of what head has. */
static inline void list_put_back(struct list *head, struct list *from)
{
    if (!list_empty(from)) {
        from->prev->next = head->next;
        head->next->prev = from->prev;
        head->next = from->next;
        from->next->prev = head;
        list_init(from);
    }
}

#endif
