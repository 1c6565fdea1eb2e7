/* SPDX-License-Identifier: MIT */
/* toolrun.c - see toolrun.h. Files, not pipes: neither side ever waits for the other. */
#include "lib/toolrun.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef TEST_TOOL
#define TEST_TOOL "build/bitkv"
#endif

static FILE *scratch(void)
{
    FILE *f = tmpfile();
    if (f == NULL) {
        perror("tmpfile");
        abort();
    }
    return f;
}

static void take(FILE *f, struct bk_buf *out)
{
    size_t got;
    out->len = 0;
    rewind(f);
    do {
        got = fread(bk_buf_reserve(out, 65536), 1, 65536, f);
        out->len += got;
    } while (got > 0);
    *bk_buf_reserve(out, 1) = 0;
    fclose(f);
}

int toolrun_argv(struct toolrun *t, const char *const *argv)
{
    FILE *in = scratch();
    FILE *out = scratch();
    FILE *err = scratch();
    int status = 0;
    if (t->input.len > 0) {
        fwrite(t->input.data, 1, t->input.len, in);
    }
    fflush(in);
    rewind(in);
    t->input = bk_span_of(NULL, 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(fileno(in), 0);
        dup2(fileno(out), 1);
        dup2(fileno(err), 2);
        execvp(argv[0], (char *const *)(uintptr_t)argv);
        perror(argv[0]);
        _exit(127);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid) {
        perror("fork");
        abort();
    }
    t->status = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    fclose(in);
    take(out, &t->out);
    take(err, &t->err);
    return t->status;
}

int tool(struct toolrun *t, const char *arg, ...)
{
    const char *argv[TOOLRUN_ARGS + 2] = {TEST_TOOL};
    size_t n = 1;
    va_list ap;
    va_start(ap, arg);
    for (const char *a = arg; a != NULL && n <= TOOLRUN_ARGS; a = va_arg(ap, const char *)) {
        argv[n++] = a;
    }
    va_end(ap);
    argv[n] = NULL;
    return toolrun_argv(t, argv);
}

void toolrun_fini(struct toolrun *t)
{
    bk_buf_fini(&t->out);
    bk_buf_fini(&t->err);
}
