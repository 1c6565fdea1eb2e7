/* SPDX-License-Identifier: MIT */
/* smallfs.c - see smallfs.h. */
#include "lib/smallfs.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATH_SIZE 512

static bool write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0) {
        close(fd);
    }
    return ok;
}

/* In a user namespace of its own, as root there, which stands for this user outside. */
static bool enter_user_namespace(void)
{
    char uids[64];
    char gids[64];
    snprintf(uids, sizeof uids, "0 %u 1", (unsigned)geteuid());
    snprintf(gids, sizeof gids, "0 %u 1", (unsigned)getegid());
    return unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0 &&
           write_text("/proc/self/setgroups", "deny") && write_text("/proc/self/uid_map", uids) &&
           write_text("/proc/self/gid_map", gids);
}

bool smallfs_enter(const char **why)
{
    if (unshare(CLONE_NEWNS) != 0 && !enter_user_namespace()) {
        *why = "neither root nor allowed a user namespace";
        return false;
    }
    if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) {
        *why = "mounts cannot be made private here";
        return false;
    }
    return true;
}

static bool run(const char *program, char *const *argv)
{
    int status = -1;
    pid_t pid = fork();
    if (pid == 0) {
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        dup2(null, 1);
        dup2(null, 2);
        execvp(program, argv);
        _exit(127);
    }
    return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) &&
           WEXITSTATUS(status) == 0;
}

static bool mount_ext4(const char *dir, uint64_t size, const char *scratch, const char **why)
{
    char image[PATH_SIZE];
    snprintf(image, sizeof image, "%s/image", scratch);
    char target[PATH_SIZE];
    snprintf(target, sizeof target, "%s", dir);
    char *make[] = {"mkfs.ext4", "-q", "-F", "-m", "0", image, NULL};
    char *attach[] = {"mount", "-t", "ext4", "-o", "loop", image, target, NULL};
    int fd = open(image, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool ok = fd >= 0 && ftruncate(fd, (off_t)size) == 0;
    if (fd >= 0) {
        close(fd);
    }
    setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
    *why = "mkfs.ext4 does not run here";
    ok = ok && run("mkfs.ext4", make);
    if (ok) {
        *why = "no loop device may be mounted here";
        ok = run("mount", attach);
    }
    unlink(image); /* the loop device keeps it as long as it is used */
    return ok;
}

bool smallfs_mount(enum smallfs_kind kind, const char *dir, uint64_t size, const char *scratch,
                   const char **why)
{
    char options[64];
    if (kind == SMALLFS_EXT4) {
        return mount_ext4(dir, size, scratch, why);
    }
    snprintf(options, sizeof options, "size=%llu", (unsigned long long)size);
    *why = "mounting a tmpfs is not permitted here";
    return mount("tmpfs", dir, "tmpfs", 0, options) == 0;
}

void smallfs_unmount(const char *dir)
{
    umount2(dir, MNT_DETACH);
}

uint64_t smallfs_free(const char *path)
{
    struct statvfs s;
    return statvfs(path, &s) == 0 ? (uint64_t)s.f_bavail * s.f_frsize : 0;
}
