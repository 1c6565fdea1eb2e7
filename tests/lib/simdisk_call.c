/* SPDX-License-Identifier: MIT */
/* simdisk_call.c - what happens around each call of the simulated disk: counted, made to fail, cut
 * off, traced. */
#include "lib/simdisk_private.h"

#include <errno.h>
#include <stdio.h>

static unsigned call_index(enum simdisk_call call)
{
    return (unsigned)__builtin_ctz((unsigned)call);
}

static bool fault_due(struct simdisk *d, enum simdisk_call call)
{
    bool due = false;
    if ((d->fail_mask & (unsigned)call) != 0) {
        if (d->fail_in > 1) {
            d->fail_in--;
        } else if (d->fail_times > 0) {
            d->fail_times -= d->fail_times == UINT64_MAX ? 0 : 1;
            d->failed++;
            due = true;
        }
    }
    return due;
}

bool sim_noise_due(struct simdisk *d, unsigned calls, enum simdisk_call call)
{
    return (calls & (unsigned)call) != 0 &&
           (d->cut_short || (d->noise_percent > 0 && rng_percent(&d->rng, d->noise_percent)));
}

int sim_call_begin(struct simdisk *d, enum simdisk_call call)
{
    int rc = 0;
    pthread_mutex_lock(&d->mu);
    d->calls[call_index(call)]++;
    d->calls_all++;
    int told = !d->dead && d->ask != NULL ? d->ask(d->ask_arg, call) : 0;
    d->cut_short = told == SIMDISK_SHORT;
    if (d->dead) {
        rc = -EIO;
    } else if (told < 0) {
        rc = told;
    } else if ((d->cut_in > 0 && --d->cut_in == 0) || told == SIMDISK_ENDS) {
        d->cutting = true;
        rc = rng_percent(&d->rng, 50) ? 0 : -EIO;
    } else if (fault_due(d, call)) {
        rc = -d->fail_error;
    } else if (!d->cut_short && sim_noise_due(d, SIMDISK_READ | SIMDISK_WRITE, call)) {
        rc = -EINTR;
    }
    return rc;
}

int64_t sim_call_end(struct simdisk *d, const char *what, const char *path, uint64_t a, uint64_t b,
                     int64_t rc)
{
    if (d->cutting) {
        d->cutting = false;
        d->dead = true;
        rc = -EIO;
    }
    if (d->trace != NULL) {
        fprintf(d->trace, "%6llu %-9s %s %llu+%llu = %lld%s\n", (unsigned long long)d->calls_all,
                what, path != NULL ? path : "-", (unsigned long long)a, (unsigned long long)b,
                (long long)rc, d->dead ? " (dead)" : "");
    }
    pthread_mutex_unlock(&d->mu);
    return rc;
}
