/* Preloaded, it makes flushes of the files whose path ends in BROKEN_FLUSH_OF fail
 * as soon as the file BROKEN_FLUSH_WHEN exists. They take a while to fail, so that an
 * answer that does not wait for them gets out. */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int broken(int file) {
    const char *suffix = getenv("BROKEN_FLUSH_OF");
    const char *trigger = getenv("BROKEN_FLUSH_WHEN");
    if (!suffix || !trigger || access(trigger, F_OK) != 0) return 0;
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path);
    size_t end = strlen(suffix);
    return length >= (ssize_t)end && memcmp(path + length - end, suffix, end) == 0;
}

static int flush(long call, int file) {
    if (broken(file)) {
        usleep(100 * 1000);
        errno = EIO;
        return -1;
    }
    return (int)syscall(call, file);
}

int fsync(int file) { return flush(SYS_fsync, file); }
int fdatasync(int file) { return flush(SYS_fdatasync, file); }
