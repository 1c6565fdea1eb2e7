/* SPDX-License-Identifier: MIT */
/*
 * walk.c - how long a client takes to see all keys: KEYS *, or SCAN from 0 to 0.
 *
 *   walk PORT keys
 *   walk PORT scan COUNT
 *
 * Replies are counted, not kept, so that the time is the server's and the kernel's. Prints how many
 * keys came and the milliseconds: "n=10000000 ms=1234".
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define LINE 64u

static int fd;
static char in[1u << 16];
static size_t in_at, in_n;

_Noreturn static void fail(const char *what)
{
    fprintf(stderr, "walk: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void connect_to(uint16_t port)
{
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&at, sizeof at) != 0) {
        fail("connect");
    }
}

static void fill_in(void)
{
    ssize_t n;
    do {
        n = read(fd, in, sizeof in);
    } while (n < 0 && errno == EINTR);
    if (n <= 0) {
        fail("the server has closed the connection");
    }
    in_at = 0;
    in_n = (size_t)n;
}

static char next_byte(void)
{
    if (in_at == in_n) {
        fill_in();
    }
    return in[in_at++];
}

/* One line without its end; it begins with `mark`. Returns the number that follows. */
static uint64_t line(char mark)
{
    char text[LINE];
    size_t n = 0;
    char c;
    while ((c = next_byte()) != '\n') {
        text[n++] = c;
        if (n == LINE) {
            errno = EPROTO;
            fail("a long line");
        }
    }
    text[n] = '\0';
    if (text[0] != mark) {
        errno = EPROTO;
        fail(text);
    }
    return strtoull(text + 1, NULL, 10);
}

static void skip(uint64_t left)
{
    while (left > 0) {
        if (in_at == in_n) {
            fill_in();
        }
        size_t n = left < in_n - in_at ? (size_t)left : in_n - in_at;
        in_at += n;
        left -= n;
    }
}

/* An array of strings: steps over them, returns how many. */
static uint64_t strings(void)
{
    uint64_t n = line('*');
    for (uint64_t i = 0; i < n; i++) {
        skip(line('$') + 2);
    }
    return n;
}

static void ask(const char *text, int n)
{
    if (write(fd, text, (size_t)n) != n) {
        fail("write");
    }
}

static uint64_t scan_all(uint64_t count)
{
    uint64_t cursor = 0;
    uint64_t seen = 0;
    do {
        char text[128];
        int n =
            snprintf(text, sizeof text, "SCAN %" PRIu64 " COUNT %" PRIu64 "\r\n", cursor, count);
        ask(text, n);
        line('*');
        n = (int)line('$');
        for (cursor = 0; n > 0; n--) {
            cursor = cursor * 10 + (uint64_t)(next_byte() - '0');
        }
        skip(2);
        seen += strings();
    } while (cursor != 0);
    return seen;
}

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

int main(int argc, char **argv)
{
    uint64_t begin;
    uint64_t seen;
    if (argc < 3) {
        fprintf(stderr, "usage: walk PORT keys | walk PORT scan COUNT\n");
        return 1;
    }
    connect_to((uint16_t)strtoul(argv[1], NULL, 10));
    begin = now_ms();
    if (strcmp(argv[2], "keys") == 0) {
        ask("KEYS *\r\n", 8);
        seen = strings();
    } else {
        seen = scan_all(argc > 3 ? strtoull(argv[3], NULL, 10) : 1000);
    }
    printf("n=%" PRIu64 " ms=%" PRIu64 "\n", seen, now_ms() - begin);
    return 0;
}
