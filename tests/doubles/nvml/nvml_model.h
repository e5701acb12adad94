/*
 * The GPUs that do not exist: their state in a file that all processes share, NVML's own types, the rules by which
 * calls fail, and how draw, clocks and counters move. nvml_double.py mirrors the layout. nvml_set.h changes it.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
    SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NO_PERMISSION = 4, NOT_FOUND = 6,
    INSUFFICIENT_SIZE = 7, DRIVER_NOT_LOADED = 9, TIMEOUT = 10, GPU_IS_LOST = 15, RESET_REQUIRED = 16,
    LIB_RM_VERSION_MISMATCH = 18, ARGUMENT_VERSION_MISMATCH = 25
};
enum { MAGIC = 0x4c4d564e, MAX_GPUS = 16, MAX_RULES = 16, MAX_UNSUPPORTED = 8, AVERAGE_MS = 1000 };
enum { MAX_MIG = 7, MAX_PIDS = 16, MAX_XIDS = 64, MAX_SETS = 256, STEP_MS = 5, EVENT_STEP_MS = 25 };
enum { CLOCK_STEP_MHZ = 15 };

/* ---- the shared state; nvml_double.py holds the same layout ---- */

typedef struct {
    char function[48];  /* without version suffix; * = any */
    int32_t gpu;        /* -1 = any */
    int32_t code;       /* what to return; negative: hang only, then go on */
    uint32_t after;     /* calls to let through first */
    uint32_t hang_ms;   /* ends early when the rules are forgotten */
    uint64_t hits;
} rule_t;

typedef struct {
    char uuid[96], name[96], bus_id[32];
    uint32_t present, mig;
    uint32_t min_mw, max_mw, default_mw, requested_mw;
    uint32_t bmc_mw;       /* out-of-band cap, 0 = none */
    uint32_t idle_mw, demand_mw, lag_ms, temperature_c;
    uint32_t scope_mask;   /* bit n: power scope n answers */
    uint32_t reported_mw;  /* not 0: what fields 185 and 186 say instead of the model */
    uint32_t unsupported[MAX_UNSUPPORTED]; /* field ids that this card does not know */
    uint32_t field_code;   /* what those fields answer, 0 = NOT_SUPPORTED */
    uint64_t energy_uj;
    int64_t stepped_ns;    /* 0 = never */
    double instant_mw, average_mw;
    uint64_t set_calls;
    uint32_t minor, persistence;
    uint32_t sm_mhz, sm_idle_mhz, memory_mhz;       /* under full load, at idle; the memory's never changes */
    uint32_t locked_min_mhz, locked_max_mhz;        /* 0 = not locked */
    uint32_t sw_thermal, hw_thermal, brake;         /* what holds it back just now */
    uint32_t registered;      /* times that somebody asked for its events */
    uint64_t capped_ns, sw_thermal_ns, hw_thermal_ns, brake_ns;
    uint32_t slowdown_field;  /* first of the three ids under which this driver counts slowdowns: 269, or 251 */
    uint32_t smoothing_field; /* first of three ids that mean power smoothing to it, 0 = none */
    int64_t frozen_us;        /* not 0: the timestamp of every field */
    uint64_t memory_total_b, memory_used_b;
    uint32_t mig_max, mig_count;                    /* 0 = this card cannot be divided */
    char mig_uuids[MAX_MIG][96];
    uint32_t pid_count, capability, pids[MAX_PIDS]; /* CUDA's compute capability times ten */
    uint32_t module_min_mw, module_max_mw;          /* 0 = the module tells no range */
    uint32_t lockable, set_ms;                      /* its clocks can be locked; how long a setter takes */
    uint32_t sm_lowest_mhz, spare;
} gpu_t;

typedef struct { uint32_t gpu, xid; } xid_t;

/* One call of a setter, as it came out. Filled before `number` is, so a reader knows a slot that is being written. */
typedef struct {
    uint64_t number;       /* of the call, from 1 */
    int64_t at_ns, raw_ns; /* by the model's clock, and by CLOCK_MONOTONIC_RAW */
    uint32_t gpu, what;
    uint32_t value, lowest; /* mW; MHz, with the lower bound; mode */
    int32_t code, pid;
} set_t;
enum { SET_LIMIT = 1, SET_CLOCKS = 2, RESET_CLOCKS = 3, SET_PERSISTENCE = 4 };

typedef struct {
    uint32_t magic, gpu_count, driver_loaded, root;
    char driver_version[80];
    uint32_t generation, rule_count;
    int64_t now_ns;        /* not 0: the clock stands here */
    double speed;          /* not 0: it shows origin_ns at the machine's started_ns and runs this fast */
    int64_t origin_ns, started_ns;
    uint64_t born;         /* another number: another host in the same file */
    uint32_t mended;       /* times that the rules were forgotten */
    uint32_t users;        /* nvmlInit less nvmlShutdown, of all processes; for tests to look at */
    uint32_t xid_count, spare;
    xid_t xids[MAX_XIDS];  /* a ring */
    rule_t rules[MAX_RULES];
    gpu_t gpus[MAX_GPUS];
    uint64_t set_count;    /* setters called so far */
    set_t sets[MAX_SETS];  /* a ring */
} state_t;

_Static_assert(sizeof(rule_t) == 72, "rule_t");
_Static_assert(sizeof(gpu_t) == 1240, "gpu_t");
_Static_assert(sizeof(set_t) == 48, "set_t");
_Static_assert(sizeof(state_t) == 160 + 64 * 8 + 16 * 72 + 16 * 1240 + 8 + 256 * 48, "state_t");

/* ---- NVML's own types ---- */

typedef int nvmlReturn_t;
typedef void *nvmlDevice_t;
typedef union { double d; unsigned ui; unsigned long long ull; long long ll; } value_t;
typedef struct {
    unsigned fieldId, scopeId;
    long long timestamp, latencyUsec;
    unsigned valueType;
    nvmlReturn_t nvmlReturn;
    value_t value;
} nvmlFieldValue_t;
typedef struct {
    char busIdLegacy[16];
    unsigned domain, bus, device, pciDeviceId, pciSubSystemId;
    char busId[32];
} nvmlPciInfo_t;
typedef struct { unsigned version; unsigned char powerScope; unsigned powerValueMw; } nvmlPowerValue_v2_t;
typedef struct { unsigned gpu, memory; } nvmlUtilization_t;
typedef struct { unsigned long long total, free, used; } nvmlMemory_t;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } nvmlMemory_v2_t;
typedef struct { unsigned version, sensorType; int temperature; } nvmlTemperature_v1_t;
typedef struct {
    unsigned pid;
    unsigned long long usedGpuMemory;
    unsigned gpuInstanceId, computeInstanceId;
} nvmlProcessInfo_t;
typedef struct {
    nvmlDevice_t device;
    unsigned long long eventType, eventData;
    unsigned gpuInstanceId, computeInstanceId;
} nvmlEventData_t;
typedef struct { uint64_t born; uint32_t seen, gpus; } *nvmlEventSet_t; /* gpus: bit n, GPU n is registered */

_Static_assert(sizeof(nvmlFieldValue_t) == 40, "nvmlFieldValue_t");
_Static_assert(sizeof(nvmlPciInfo_t) == 68, "nvmlPciInfo_t");
_Static_assert(sizeof(nvmlPowerValue_v2_t) == 12, "nvmlPowerValue_v2_t");
_Static_assert(sizeof(nvmlUtilization_t) == 8, "nvmlUtilization_t");
_Static_assert(sizeof(nvmlMemory_t) == 24, "nvmlMemory_t");
_Static_assert(sizeof(nvmlMemory_v2_t) == 40, "nvmlMemory_v2_t");
_Static_assert(sizeof(nvmlTemperature_v1_t) == 12, "nvmlTemperature_v1_t");
_Static_assert(sizeof(nvmlProcessInfo_t) == 24, "nvmlProcessInfo_t");
_Static_assert(sizeof(nvmlEventData_t) == 32, "nvmlEventData_t");

enum { TYPE_UNSIGNED_INT = 1, TYPE_UNSIGNED_LONG_LONG = 3 };
enum { POWER_VALUE_V2 = 0x0200000C, MEMORY_V2 = 0x02000028, TEMPERATURE_V1 = 0x0100000C };
enum { EVENT_XID = 0x8, NO_MIG_INSTANCE = 0xFFFFFFFF, MIG_SHIFT = 16 };

static state_t *state;
static int state_fd = -1;
static int users;                 /* nvmlInit counts, nvmlShutdown counts back */
static uint64_t born;             /* of the host that they use */
static uint32_t generation;       /* of the driver we initialised against */
static pthread_mutex_t threads = PTHREAD_MUTEX_INITIALIZER;

/* Threads exclude each other by the mutex, processes by flock, which a killed process cannot leave behind. */
static void lock(void) { pthread_mutex_lock(&threads); flock(state_fd, LOCK_EX); }
static void unlock(void) { flock(state_fd, LOCK_UN); pthread_mutex_unlock(&threads); }

/* The kernel's clock, asked without the C library: whoever shifts a process's clock does not shift the GPUs'. */
static int64_t kernel_ns(clockid_t clock) {
    struct timespec t;
    syscall(SYS_clock_gettime, clock, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int64_t now_ns(void) {
    if (state->now_ns) return state->now_ns;
    int64_t machine_ns = kernel_ns(CLOCK_REALTIME);
    if (!state->speed) return machine_ns;
    return state->origin_ns + llround((double)(machine_ns - state->started_ns) * state->speed);
}

static int map_state(void) {
    const char *path = getenv("FAKE_NVML_STATE");
    if (state) return 1;
    if (!path || (state_fd = open(path, O_RDWR | O_CLOEXEC)) < 0) return 0;
    void *mapped = mmap(NULL, sizeof(state_t), PROT_READ | PROT_WRITE, MAP_SHARED, state_fd, 0);
    if (mapped == MAP_FAILED || ((state_t *)mapped)->magic != MAGIC) {
        if (mapped != MAP_FAILED) munmap(mapped, sizeof(state_t));
        close(state_fd);
        return 0;
    }
    state = mapped;
    return 1;
}

static void nap(unsigned ms) { usleep(ms * 1000); }

static void hang(unsigned ms) {
    uint32_t mended = state->mended;
    uint64_t host = state->born;
    for (uint64_t slept = 0; slept < ms && state->mended == mended && state->born == host; slept += STEP_MS)
        nap(STEP_MS);
}

/* The first rule that matches wins. */
static nvmlReturn_t ruled(const char *function, int gpu) {
    for (uint32_t i = 0; i < state->rule_count && i < MAX_RULES; i++) {
        rule_t *rule = &state->rules[i];
        if (strcmp(rule->function, "*") && strcmp(rule->function, function)) continue;
        if (rule->gpu >= 0 && rule->gpu != gpu) continue;
        if (__atomic_fetch_add(&rule->hits, 1, __ATOMIC_SEQ_CST) < rule->after) return SUCCESS;
        int code = rule->code; /* the rule may be forgotten during the hang */
        hang(rule->hang_ms);
        return code > 0 ? code : SUCCESS;
    }
    return SUCCESS;
}

/* What every device call begins with: a handle is the index plus one; MIG instance n has n + 1 in the upper bits. */
static nvmlReturn_t enter_any(const char *function, nvmlDevice_t device, gpu_t **gpu) {
    uintptr_t index = ((uintptr_t)device & ((1 << MIG_SHIFT) - 1)) - 1;
    if (!users || born != state->born) return UNINITIALIZED;
    if (!device || index >= state->gpu_count) return INVALID_ARGUMENT;
    *gpu = &state->gpus[index];
    nvmlReturn_t code = ruled(function, (int)index);
    if (code) return code;
    return (*gpu)->present && generation == state->generation ? SUCCESS : GPU_IS_LOST;
}

/* Most calls want a whole GPU: power, clocks, energy are not an instance's to tell. */
static nvmlReturn_t enter(const char *function, nvmlDevice_t device, gpu_t **gpu) {
    nvmlReturn_t code = enter_any(function, device, gpu);
    return code ? code : (uintptr_t)device >> MIG_SHIFT ? NOT_SUPPORTED : SUCCESS;
}

#define ENTER(function) \
    gpu_t *gpu; \
    nvmlReturn_t entered = enter(function, device, &gpu); \
    if (entered) return entered

static double enforced_mw(const gpu_t *gpu) {
    return gpu->bmc_mw && gpu->bmc_mw < gpu->requested_mw ? gpu->bmc_mw : gpu->requested_mw;
}

/* Draw if no power limit holds it: a locked clock takes its share of what is above idle. */
static double wanted_mw(const gpu_t *gpu) {
    double busy = fmax(0, (double)gpu->demand_mw - gpu->idle_mw);
    double share = gpu->locked_max_mhz ? fmin(1, (double)gpu->locked_max_mhz / gpu->sm_mhz) : 1;
    return gpu->idle_mw + busy * share;
}

static int is_capped(const gpu_t *gpu) { return wanted_mw(gpu) > enforced_mw(gpu); }

/* A locked clock holds at once, the draw follows. */
static unsigned sm_mhz(const gpu_t *gpu) {
    double busy = (double)gpu->demand_mw - gpu->idle_mw;
    double share = busy > 0 ? fmin(1, (gpu->instant_mw - gpu->idle_mw) / busy) : 0;
    double mhz = fmax(gpu->sm_idle_mhz, share * gpu->sm_mhz);
    return (unsigned)lround(gpu->locked_max_mhz ? fmin(mhz, gpu->locked_max_mhz) : mhz);
}

/* Bring the model to now: exact for a constant target, so steps of any length give the same energy. Locked. */
static void step_locked(gpu_t *gpu) {
    int64_t now = now_ns();
    double target = fmax(gpu->idle_mw, fmin(wanted_mw(gpu), enforced_mw(gpu)));
    if (!gpu->stepped_ns) {
        gpu->instant_mw = gpu->average_mw = fmax(gpu->idle_mw, gpu->demand_mw);
        gpu->stepped_ns = now;
    }
    if (now > gpu->stepped_ns) {
        uint64_t ns = (uint64_t)(now - gpu->stepped_ns);
        gpu->capped_ns += is_capped(gpu) ? ns : 0;
        gpu->sw_thermal_ns += gpu->sw_thermal ? ns : 0;
        gpu->hw_thermal_ns += gpu->hw_thermal ? ns : 0;
        gpu->brake_ns += gpu->brake ? ns : 0;
        double ms = (double)ns / 1e6;
        double lag = gpu->lag_ms ? exp(-ms / gpu->lag_ms) : 0;
        double above = gpu->instant_mw - target;
        double mean = target + above * gpu->lag_ms / ms * (1 - lag);
        gpu->instant_mw = target + above * lag;
        gpu->average_mw = mean + (gpu->average_mw - mean) * exp(-ms / AVERAGE_MS);
        gpu->energy_uj += (uint64_t)llround(mean * ms); /* mW x ms = uJ */
        gpu->stepped_ns = now;
    }
}

static void step(gpu_t *gpu) {
    lock();
    step_locked(gpu);
    unlock();
}
