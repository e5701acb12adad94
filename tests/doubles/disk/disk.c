/*
 * A disk that keeps a diary, and that can be told to fail. Loaded with LD_PRELOAD into a process under test.
 *
 *   DISK_FOLDER   only files directly in this folder are watched
 *   DISK_DIARY    every operation on them that succeeded is appended here, in the order it was made
 *   DISK_TROUBLE  while this file holds an errno in decimal, watched files cannot be made, written, grown or fsynced;
 *                 under EROFS (30) they cannot be opened for writing, nor renamed or unlinked
 *
 * An entry is  op:u8  name:u16  to:u16  offset:i64  length:u32  then name, second name, data; little endian. The
 * folder itself has the empty name. See recorder.py, which reads it. What SQLite or Python might do to a file and this
 * does not know ends the process, so that no operation is missed in silence.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { CREATE = 1, WRITE = 2, TRUNCATE = 3, SYNC = 4, UNLINK = 5, RENAME = 6 };
enum { FILES = 1024, NAME = 128 };

static char names[FILES][NAME]; /* by descriptor */
static char watched[FILES];
static const char *folder, *trouble;
static int diary = -1;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

#define REAL(name) ((typeof(&name)) real(#name))

static void *real(const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    if (!found) abort();
    return found;
}

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("DISK_DIARY");
    folder = getenv("DISK_FOLDER");
    trouble = getenv("DISK_TROUBLE");
    if (path) diary = (int)syscall(SYS_openat, AT_FDCWD, path, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
}

/* The name of PATH inside the watched folder, "" for the folder itself, NULL for all else. */
static const char *inside(const char *path) {
    if (!folder || !path) return NULL;
    size_t length = strlen(folder);
    if (strncmp(path, folder, length)) return NULL;
    if (!path[length]) return "";
    if (path[length] != '/' || strchr(path + length + 1, '/')) return NULL;
    return path + length + 1;
}

static int is_watched(int fd) { return fd >= 0 && fd < FILES && watched[fd]; }

static void note(uint8_t op, const char *name, const char *to, int64_t offset, const void *data, uint32_t length) {
    if (diary < 0) return;
    unsigned char head[17];
    uint16_t name_length = (uint16_t)strlen(name), to_length = (uint16_t)strlen(to);
    head[0] = op;
    memcpy(head + 1, &name_length, 2);
    memcpy(head + 3, &to_length, 2);
    memcpy(head + 5, &offset, 8);
    memcpy(head + 13, &length, 4);
    struct iovec parts[] = {{head, sizeof head}, {(void *)name, name_length}, {(void *)to, to_length},
                            {(void *)data, data ? length : 0}};
    pthread_mutex_lock(&mutex);
    if (syscall(SYS_writev, diary, parts, 4) < 0) abort();
    pthread_mutex_unlock(&mutex);
}

/* Nonzero, and errno set, while the disk is in trouble. */
static int fails(void) {
    char text[16] = "";
    if (!trouble) return 0;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, trouble, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) return 0;
    long got = syscall(SYS_read, fd, text, sizeof text - 1);
    syscall(SYS_close, fd);
    if (got <= 0 || !atoi(text)) return 0;
    errno = atoi(text);
    return 1;
}

static int fails_for_names(void) { return fails() && errno == EROFS; }

static void unknown(const char *call) {
    fprintf(stderr, "disk.c does not know %s on a watched file\n", call);
    abort();
}

static int opened(const char *path, int flags, mode_t mode, int at) {
    const char *name = inside(path);
    struct stat before;
    int is_new = name && *name && (flags & O_CREAT) && stat(path, &before);
    if (is_new && fails()) return -1;
    if (name && *name && (flags & O_ACCMODE) != O_RDONLY && fails_for_names()) return -1;
    int fd = (int)syscall(SYS_openat, at, path, flags, mode);
    if (fd < 0 || !name) return fd;
    if (fd >= FILES || strlen(name) >= NAME) unknown("open");
    strcpy(names[fd], name);
    watched[fd] = 1;
    if (is_new) note(CREATE, name, "", 0, NULL, 0);
    if (!is_new && (flags & O_TRUNC)) note(TRUNCATE, name, "", 0, NULL, 0);
    return fd;
}

#define MODE(last)                                              \
    mode_t mode = 0;                                            \
    if (flags & (O_CREAT | O_TMPFILE)) {                        \
        va_list rest;                                           \
        va_start(rest, last);                                   \
        mode = va_arg(rest, mode_t);                            \
        va_end(rest);                                           \
    }

int open(const char *path, int flags, ...) { MODE(flags) return opened(path, flags, mode, AT_FDCWD); }
int open64(const char *path, int flags, ...) { MODE(flags) return opened(path, flags, mode, AT_FDCWD); }
int openat(int at, const char *path, int flags, ...) { MODE(flags) return opened(path, flags, mode, at); }
int openat64(int at, const char *path, int flags, ...) { MODE(flags) return opened(path, flags, mode, at); }

int close(int fd) {
    if (is_watched(fd)) watched[fd] = 0;
    return REAL(close)(fd);
}

static ssize_t wrote(int fd, const void *data, size_t length, off64_t offset) {
    if (is_watched(fd) && fails()) return -1;
    ssize_t done = syscall(SYS_pwrite64, fd, data, length, offset);
    if (is_watched(fd) && done > 0) note(WRITE, names[fd], "", offset, data, (uint32_t)done);
    return done;
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) { return wrote(fd, data, length, offset); }
ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset) { return wrote(fd, data, length, offset); }

ssize_t write(int fd, const void *data, size_t length) {
    if (!is_watched(fd)) return syscall(SYS_write, fd, data, length);
    if (fails()) return -1;
    ssize_t done = syscall(SYS_write, fd, data, length);
    if (done > 0) note(WRITE, names[fd], "", lseek64(fd, 0, SEEK_CUR) - done, data, (uint32_t)done);
    return done;
}

static int cut(int fd, off64_t length) {
    if (is_watched(fd) && fails()) return -1;
    int result = (int)syscall(SYS_ftruncate, fd, length);
    if (is_watched(fd) && !result) note(TRUNCATE, names[fd], "", length, NULL, 0);
    return result;
}

int ftruncate(int fd, off_t length) { return cut(fd, length); }
int ftruncate64(int fd, off64_t length) { return cut(fd, length); }

static int synced(int fd, long call) {
    if (is_watched(fd) && fails()) return -1;
    int result = (int)syscall(call, fd);
    if (is_watched(fd) && !result) note(SYNC, names[fd], "", 0, NULL, 0);
    return result;
}

int fsync(int fd) { return synced(fd, SYS_fsync); }
int fdatasync(int fd) { return synced(fd, SYS_fdatasync); }

int unlink(const char *path) {
    const char *name = inside(path);
    if (name && fails_for_names()) return -1;
    int result = REAL(unlink)(path);
    if (name && !result) note(UNLINK, name, "", 0, NULL, 0);
    return result;
}

int rename(const char *from, const char *to) {
    const char *name = inside(from), *new_name = inside(to);
    if (!name != !new_name) unknown("rename across folders");
    if (name && fails_for_names()) return -1;
    int result = REAL(rename)(from, to);
    if (name && !result) note(RENAME, name, new_name, 0, NULL, 0);
    return result;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    if (is_watched(fd)) unknown("writev");
    return syscall(SYS_writev, fd, parts, count);
}

int posix_fallocate(int fd, off_t offset, off_t length) {
    if (is_watched(fd)) unknown("posix_fallocate");
    return REAL(posix_fallocate)(fd, offset, length);
}

int fallocate(int fd, int mode, off_t offset, off_t length) {
    if (is_watched(fd)) unknown("fallocate");
    return REAL(fallocate)(fd, mode, offset, length);
}

void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset) {
    if (is_watched(fd) && (flags & MAP_SHARED) && (protection & PROT_WRITE)) unknown("mmap for writing");
    return (void *)syscall(SYS_mmap, address, length, protection, flags, fd, offset);
}

void *mmap64(void *address, size_t length, int protection, int flags, int fd, off64_t offset) {
    return mmap(address, length, protection, flags, fd, offset);
}
