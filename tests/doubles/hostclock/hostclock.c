/*
 * A host whose wall clock steps: loaded before the C library, it shifts what a process is told of the wall clock by as
 * many nanoseconds as the file named in FAKE_HOST_CLOCK says just now. Clocks that only ever run on stay true.
 *
 * Left alone: waits until a moment of the wall clock (sem_timedwait and its like), which end by the kernel's own.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const int64_t NANOSECONDS = 1000000000;
static const int64_t *offset_ns; /* NULL: true time */

__attribute__((constructor)) static void open_offset(void) {
    const char *path = getenv("FAKE_HOST_CLOCK");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *mapped = mmap(NULL, sizeof *offset_ns, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (mapped != MAP_FAILED) offset_ns = mapped;
}

static void shift(struct timespec *t) {
    if (!offset_ns) return;
    int64_t ns = t->tv_sec * NANOSECONDS + t->tv_nsec + __atomic_load_n(offset_ns, __ATOMIC_SEQ_CST);
    t->tv_sec = ns / NANOSECONDS;
    t->tv_nsec = ns % NANOSECONDS;
}

int clock_gettime(clockid_t clock, struct timespec *t) {
    int failed = (int)syscall(SYS_clock_gettime, clock, t);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) shift(t);
    return failed;
}

int gettimeofday(struct timeval *restrict found, void *restrict zone) {
    (void)zone;
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    found->tv_sec = t.tv_sec;
    found->tv_usec = t.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *found) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME_COARSE, &t);
    if (found) *found = t.tv_sec;
    return t.tv_sec;
}
