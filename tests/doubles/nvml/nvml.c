/*
 * A stand-in for libnvidia-ml.so.1: enough of NVML to measure and to cap GPUs that do not exist.
 *
 * All GPUs live in one file (environment variable FAKE_NVML_STATE) that every process maps: a cap set by the actuator
 * is what the collector reads, and a test moves demand while both run. nvml_double.py mirrors the layout.
 *
 * What it models: draw follows min(demand, enforced limit) with a first-order lag, field 185 is a filter of 1 s, energy
 * is the exact integral, the enforced limit is the lower of what software and what the BMC asked. Sizes and codes are
 * those of nvml.h, API 13 (x86-64).
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
#include <time.h>
#include <unistd.h>

enum {
    SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NO_PERMISSION = 4, NOT_FOUND = 6,
    INSUFFICIENT_SIZE = 7, DRIVER_NOT_LOADED = 9, GPU_IS_LOST = 15, ARGUMENT_VERSION_MISMATCH = 25
};
enum { MAGIC = 0x4c4d564e, MAX_GPUS = 16, MAX_RULES = 16, MAX_UNSUPPORTED = 8, AVERAGE_MS = 1000 };

/* ---- the shared state; nvml_double.py holds the same layout ---- */

typedef struct {
    char function[48];  /* without version suffix; * = any */
    int32_t gpu;        /* -1 = any */
    int32_t code;       /* what to return; negative: hang only, then go on */
    uint32_t after;     /* calls to let through first */
    uint32_t hang_ms;
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
} gpu_t;

typedef struct {
    uint32_t magic, gpu_count, driver_loaded, root;
    char driver_version[80];
    uint32_t generation, rule_count;
    int64_t now_ns;        /* 0 = the machine's clock */
    rule_t rules[MAX_RULES];
    gpu_t gpus[MAX_GPUS];
} state_t;

_Static_assert(sizeof(rule_t) == 72, "rule_t");
_Static_assert(sizeof(gpu_t) == 352, "gpu_t");
_Static_assert(sizeof(state_t) == 112 + 16 * 72 + 16 * 352, "state_t");

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

_Static_assert(sizeof(nvmlFieldValue_t) == 40, "nvmlFieldValue_t");
_Static_assert(sizeof(nvmlPciInfo_t) == 68, "nvmlPciInfo_t");
_Static_assert(sizeof(nvmlPowerValue_v2_t) == 12, "nvmlPowerValue_v2_t");
_Static_assert(sizeof(nvmlUtilization_t) == 8, "nvmlUtilization_t");

enum { TYPE_UNSIGNED_INT = 1, TYPE_UNSIGNED_LONG_LONG = 3, POWER_VALUE_V2 = 0x0200000C };

static state_t *state;
static int state_fd = -1;
static int users;                 /* nvmlInit counts, nvmlShutdown counts back */
static uint32_t generation;       /* of the driver we initialised against */
static pthread_mutex_t threads = PTHREAD_MUTEX_INITIALIZER;

/* Threads exclude each other by the mutex, processes by flock, which a killed process cannot leave behind. */
static void lock(void) { pthread_mutex_lock(&threads); flock(state_fd, LOCK_EX); }
static void unlock(void) { flock(state_fd, LOCK_UN); pthread_mutex_unlock(&threads); }

static int64_t now_ns(void) {
    if (state->now_ns) return state->now_ns;
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
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

/* The first rule that matches wins. */
static nvmlReturn_t ruled(const char *function, int gpu) {
    for (uint32_t i = 0; i < state->rule_count && i < MAX_RULES; i++) {
        rule_t *rule = &state->rules[i];
        if (strcmp(rule->function, "*") && strcmp(rule->function, function)) continue;
        if (rule->gpu >= 0 && rule->gpu != gpu) continue;
        if (__atomic_fetch_add(&rule->hits, 1, __ATOMIC_SEQ_CST) < rule->after) return SUCCESS;
        if (rule->hang_ms) usleep(rule->hang_ms * 1000);
        return rule->code > 0 ? rule->code : SUCCESS;
    }
    return SUCCESS;
}

/* What every device call begins with: a handle is the index plus one. */
static nvmlReturn_t enter(const char *function, nvmlDevice_t device, gpu_t **gpu) {
    uintptr_t index = (uintptr_t)device - 1;
    if (!users) return UNINITIALIZED;
    if (!device || index >= state->gpu_count) return INVALID_ARGUMENT;
    nvmlReturn_t code = ruled(function, (int)index);
    if (code) return code;
    *gpu = &state->gpus[index];
    return (*gpu)->present && generation == state->generation ? SUCCESS : GPU_IS_LOST;
}

#define ENTER(function) \
    gpu_t *gpu; \
    nvmlReturn_t entered = enter(function, device, &gpu); \
    if (entered) return entered

static double enforced_mw(const gpu_t *gpu) {
    return gpu->bmc_mw && gpu->bmc_mw < gpu->requested_mw ? gpu->bmc_mw : gpu->requested_mw;
}

/* Bring the model to now: exact for a constant target, so steps of any length give the same energy. */
static void step(gpu_t *gpu) {
    int64_t now = now_ns();
    double target = fmax(gpu->idle_mw, fmin(gpu->demand_mw, enforced_mw(gpu)));
    lock();
    if (!gpu->stepped_ns) {
        gpu->instant_mw = gpu->average_mw = fmax(gpu->idle_mw, gpu->demand_mw);
        gpu->stepped_ns = now;
    }
    if (now > gpu->stepped_ns) {
        double ms = (double)(now - gpu->stepped_ns) / 1e6;
        double lag = gpu->lag_ms ? exp(-ms / gpu->lag_ms) : 0;
        double above = gpu->instant_mw - target;
        double mean = target + above * gpu->lag_ms / ms * (1 - lag);
        gpu->instant_mw = target + above * lag;
        gpu->average_mw = mean + (gpu->average_mw - mean) * exp(-ms / AVERAGE_MS);
        gpu->energy_uj += (uint64_t)llround(mean * ms); /* mW x ms = uJ */
        gpu->stepped_ns = now;
    }
    unlock();
}

static nvmlReturn_t copy(char *to, unsigned length, const char *from) {
    if (!to) return INVALID_ARGUMENT;
    if (strlen(from) + 1 > length) return INSUFFICIENT_SIZE;
    strcpy(to, from);
    return SUCCESS;
}

/* ---- life cycle ---- */

nvmlReturn_t nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    if (!map_state()) return DRIVER_NOT_LOADED;
    nvmlReturn_t code = ruled("nvmlInit", -1);
    if (code) return code;
    if (!state->driver_loaded) return DRIVER_NOT_LOADED;
    generation = state->generation;
    users++;
    return SUCCESS;
}

nvmlReturn_t nvmlInit_v2(void) { return nvmlInitWithFlags(0); }

nvmlReturn_t nvmlShutdown(void) {
    if (!users) return UNINITIALIZED;
    users--;
    return SUCCESS;
}

const char *nvmlErrorString(nvmlReturn_t code) {
    switch (code) {
    case SUCCESS: return "Success";
    case UNINITIALIZED: return "Uninitialized";
    case INVALID_ARGUMENT: return "Invalid Argument";
    case NOT_SUPPORTED: return "Not Supported";
    case NO_PERMISSION: return "Insufficient Permissions";
    case NOT_FOUND: return "Not Found";
    case INSUFFICIENT_SIZE: return "Insufficient Size";
    case DRIVER_NOT_LOADED: return "Driver Not Loaded";
    case GPU_IS_LOST: return "GPU is lost";
    case ARGUMENT_VERSION_MISMATCH: return "Argument version mismatch";
    default: return "Unknown Error";
    }
}

/* ---- system, handles, identity ---- */

nvmlReturn_t nvmlSystemGetDriverVersion(char *version, unsigned length) {
    return users ? copy(version, length, state->driver_version) : UNINITIALIZED;
}

nvmlReturn_t nvmlDeviceGetCount_v2(unsigned *count) {
    if (!users) return UNINITIALIZED;
    nvmlReturn_t code = ruled("nvmlDeviceGetCount", -1);
    if (!code) *count = state->gpu_count;
    return code;
}

nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned index, nvmlDevice_t *found) {
    nvmlDevice_t device = (nvmlDevice_t)((uintptr_t)index + 1);
    ENTER("nvmlDeviceGetHandleByIndex");
    *found = device;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetHandleByUUID(const char *uuid, nvmlDevice_t *found) {
    if (!users) return UNINITIALIZED;
    for (uint32_t i = 0; i < state->gpu_count; i++)
        if (!strcmp(uuid, state->gpus[i].uuid)) {
            nvmlDevice_t device = (nvmlDevice_t)((uintptr_t)i + 1);
            ENTER("nvmlDeviceGetHandleByUUID");
            *found = device;
            return SUCCESS;
        }
    return NOT_FOUND;
}

nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t device, char *uuid, unsigned length) {
    ENTER("nvmlDeviceGetUUID");
    return copy(uuid, length, gpu->uuid);
}

nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t device, char *name, unsigned length) {
    ENTER("nvmlDeviceGetName");
    return copy(name, length, gpu->name);
}

nvmlReturn_t nvmlDeviceGetIndex(nvmlDevice_t device, unsigned *index) {
    ENTER("nvmlDeviceGetIndex");
    *index = (unsigned)(gpu - state->gpus);
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMinorNumber(nvmlDevice_t device, unsigned *minor) {
    ENTER("nvmlDeviceGetMinorNumber");
    *minor = (unsigned)(gpu - state->gpus);
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPciInfo_v3(nvmlDevice_t device, nvmlPciInfo_t *pci) {
    ENTER("nvmlDeviceGetPciInfo");
    memset(pci, 0, sizeof *pci);
    pci->bus = (unsigned)(gpu - state->gpus) + 1;
    memcpy(pci->busId, gpu->bus_id, sizeof pci->busId);
    memcpy(pci->busIdLegacy, gpu->bus_id, sizeof pci->busIdLegacy - 1);
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMigMode(nvmlDevice_t device, unsigned *current, unsigned *pending) {
    ENTER("nvmlDeviceGetMigMode");
    *current = *pending = gpu->mig;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPersistenceMode(nvmlDevice_t device, unsigned *mode) {
    ENTER("nvmlDeviceGetPersistenceMode");
    *mode = 1;
    return SUCCESS;
}

/* ---- power, energy ---- */

nvmlReturn_t nvmlDeviceGetPowerUsage(nvmlDevice_t device, unsigned *mw) {
    ENTER("nvmlDeviceGetPowerUsage");
    step(gpu);
    *mw = (unsigned)lround(gpu->average_mw);
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetTotalEnergyConsumption(nvmlDevice_t device, unsigned long long *mj) {
    ENTER("nvmlDeviceGetTotalEnergyConsumption");
    step(gpu);
    *mj = gpu->energy_uj / 1000;
    return SUCCESS;
}

static int knows(const gpu_t *gpu, unsigned field) {
    for (int i = 0; i < MAX_UNSUPPORTED; i++)
        if (gpu->unsupported[i] == field) return 0;
    return 1;
}

static nvmlReturn_t read_field(const gpu_t *gpu, nvmlFieldValue_t *field) {
    unsigned id = field->fieldId;
    if (!knows(gpu, id)) return gpu->field_code ? (nvmlReturn_t)gpu->field_code : NOT_SUPPORTED;
    if (id >= 185 && id <= 192 && (field->scopeId > 31 || !(gpu->scope_mask >> field->scopeId & 1)))
        return NOT_SUPPORTED;
    field->valueType = TYPE_UNSIGNED_INT;
    switch (id) {
    case 82: field->value.ui = gpu->temperature_c; return SUCCESS;
    case 83: case 191:
        field->valueType = TYPE_UNSIGNED_LONG_LONG;
        field->value.ull = gpu->energy_uj / 1000;
        return SUCCESS;
    case 185: field->value.ui = gpu->reported_mw ? gpu->reported_mw : (unsigned)lround(gpu->average_mw); return SUCCESS;
    case 186: field->value.ui = gpu->reported_mw ? gpu->reported_mw : (unsigned)lround(gpu->instant_mw); return SUCCESS;
    case 187: field->value.ui = gpu->min_mw; return SUCCESS;
    case 188: field->value.ui = gpu->max_mw; return SUCCESS;
    case 189: field->value.ui = gpu->default_mw; return SUCCESS;
    case 190: field->value.ui = (unsigned)enforced_mw(gpu); return SUCCESS;
    case 192: field->value.ui = gpu->requested_mw; return SUCCESS;
    default: return NOT_SUPPORTED;
    }
}

nvmlReturn_t nvmlDeviceGetFieldValues(nvmlDevice_t device, int count, nvmlFieldValue_t *fields) {
    ENTER("nvmlDeviceGetFieldValues");
    step(gpu);
    for (int i = 0; i < count; i++) {
        fields[i].timestamp = now_ns() / 1000;
        fields[i].latencyUsec = 20;
        fields[i].nvmlReturn = read_field(gpu, &fields[i]);
    }
    return SUCCESS;
}

/* ---- limits ---- */

nvmlReturn_t nvmlDeviceGetPowerManagementLimit(nvmlDevice_t device, unsigned *mw) {
    ENTER("nvmlDeviceGetPowerManagementLimit");
    *mw = gpu->requested_mw;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetEnforcedPowerLimit(nvmlDevice_t device, unsigned *mw) {
    ENTER("nvmlDeviceGetEnforcedPowerLimit");
    *mw = (unsigned)enforced_mw(gpu);
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPowerManagementDefaultLimit(nvmlDevice_t device, unsigned *mw) {
    ENTER("nvmlDeviceGetPowerManagementDefaultLimit");
    *mw = gpu->default_mw;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPowerManagementLimitConstraints(nvmlDevice_t device, unsigned *min_mw, unsigned *max_mw) {
    ENTER("nvmlDeviceGetPowerManagementLimitConstraints");
    *min_mw = gpu->min_mw;
    *max_mw = gpu->max_mw;
    return SUCCESS;
}

static nvmlReturn_t set_limit(gpu_t *gpu, unsigned mw) {
    gpu->set_calls++;
    if (!state->root) return NO_PERMISSION;
    if (mw < gpu->min_mw || mw > gpu->max_mw) return INVALID_ARGUMENT;
    step(gpu);
    gpu->requested_mw = mw;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceSetPowerManagementLimit(nvmlDevice_t device, unsigned mw) {
    ENTER("nvmlDeviceSetPowerManagementLimit");
    return set_limit(gpu, mw);
}

nvmlReturn_t nvmlDeviceSetPowerManagementLimit_v2(nvmlDevice_t device, const nvmlPowerValue_v2_t *limit) {
    ENTER("nvmlDeviceSetPowerManagementLimit");
    if (limit->version != POWER_VALUE_V2) return ARGUMENT_VERSION_MISMATCH;
    if (limit->powerScope) return NOT_SUPPORTED;
    return set_limit(gpu, limit->powerValueMw);
}

/* ---- state ---- */

nvmlReturn_t nvmlDeviceGetCurrentClocksEventReasons(nvmlDevice_t device, unsigned long long *reasons) {
    ENTER("nvmlDeviceGetCurrentClocksEventReasons");
    *reasons = gpu->demand_mw > enforced_mw(gpu) ? 0x4 : gpu->demand_mw <= gpu->idle_mw ? 0x1 : 0;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetTemperature(nvmlDevice_t device, unsigned sensor, unsigned *celsius) {
    ENTER("nvmlDeviceGetTemperature");
    if (sensor) return INVALID_ARGUMENT;
    *celsius = gpu->temperature_c;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t device, nvmlUtilization_t *rates) {
    ENTER("nvmlDeviceGetUtilizationRates");
    rates->gpu = rates->memory = gpu->demand_mw > gpu->idle_mw ? 100 : 0;
    return SUCCESS;
}
