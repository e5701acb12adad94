/*
 * A stand-in for libamd_smi.so: enough of AMD SMI 7.0 to measure GPUs that do not exist.
 *
 * All GPUs live in one file (environment variable FAKE_AMD_SMI_STATE) that every process maps; amd_double.py holds the
 * same layout, and generates stubs.c: every other symbol that the amdsmi wheel binds, answering NOT_SUPPORTED. Struct
 * layouts are those of amdsmi.h 7.0 as the wheel declares them (x86-64).
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    SUCCESS = 0, INVAL = 1, NOT_SUPPORTED = 2, NOT_INIT = 32, DRIVER_NOT_LOADED = 34, INSUFFICIENT_SIZE = 41,
    HOTSPOT = 1, TEMP_CURRENT = 0, CLK_GFX = 0, CLK_MEM = 4, VRAM = 0
};
enum { MAGIC = 0x414d4431, MAX_GPUS = 16 };

/* ---- the shared state; amd_double.py holds the same layout ---- */

typedef struct {
    char uuid[64], model[64];
    uint32_t code;          /* not 0: what every question about this GPU is answered with */
    uint32_t current_w, average_w;
    float resolution_uj;
    uint64_t energy_counts;
    uint64_t cap_uw, min_uw, max_uw;
    uint32_t gfx_percent, gfx_mhz, memory_mhz, reserved;
    int64_t hotspot_c;
    uint64_t vram_used_b;
} gpu_t;

typedef struct {
    uint32_t magic, gpu_count, init_code, inits;
    gpu_t gpus[MAX_GPUS];
} state_t;

_Static_assert(sizeof(gpu_t) == 208, "gpu_t");
_Static_assert(sizeof(state_t) == 16 + 16 * 208, "state_t");

/* ---- AMD SMI's own types ---- */

typedef uint32_t status_t;
typedef void *handle_t;
typedef struct {
    uint64_t socket_power;
    uint32_t current_socket_power, average_socket_power;
    uint64_t gfx_voltage, soc_voltage, mem_voltage;
    uint32_t power_limit, padding;
    uint64_t reserved[18];
} power_info_t;
typedef struct { uint64_t power_cap, default_power_cap, dpm_cap, min_power_cap, max_power_cap, reserved[3]; } cap_info_t;
typedef struct { uint32_t gfx_activity, umc_activity, mm_activity, reserved[13]; } engine_usage_t;
typedef struct { uint32_t clk, min_clk, max_clk; uint8_t locked, deep_sleep, padding[2]; uint32_t reserved[4]; } clk_info_t;
typedef struct {
    char market_name[256];
    uint32_t vendor_id;
    char vendor_name[256];
    uint32_t subvendor_id;
    uint64_t device_id;
    uint32_t rev_id;
    char asic_serial[256];
    uint32_t oam_id, num_of_compute_units, padding;
    uint64_t target_graphics_version;
    uint32_t subsystem_id, reserved[21];
} __attribute__((packed)) asic_info_t;

_Static_assert(sizeof(power_info_t) == 192, "amdsmi_power_info_t");
_Static_assert(sizeof(cap_info_t) == 64, "amdsmi_power_cap_info_t");
_Static_assert(sizeof(engine_usage_t) == 64, "amdsmi_engine_usage_t");
_Static_assert(sizeof(clk_info_t) == 32, "amdsmi_clk_info_t");
_Static_assert(sizeof(asic_info_t) == 896, "amdsmi_asic_info_t");

static state_t *state;

static state_t *mapped(void) {
    const char *path = getenv("FAKE_AMD_SMI_STATE");
    int file = path ? open(path, O_RDWR) : -1;
    if (file < 0) return NULL;
    void *memory = mmap(NULL, sizeof(state_t), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (memory == MAP_FAILED) return NULL;
    if (((state_t *)memory)->magic == MAGIC) return memory;
    munmap(memory, sizeof(state_t));
    return NULL;
}

/* A handle is the GPU's number, from 1. */
static status_t gpu_of(handle_t handle, gpu_t **gpu) {
    uintptr_t number = (uintptr_t)handle;
    if (!state) return NOT_INIT;
    if (number < 1 || number > state->gpu_count) return INVAL;
    *gpu = &state->gpus[number - 1];
    return (*gpu)->code;
}

#define GPU(handle) gpu_t *gpu; { status_t status = gpu_of(handle, &gpu); if (status) return status; }

status_t amdsmi_init(uint64_t flags) {
    (void)flags;
    state_t *found = mapped();
    if (!found) return DRIVER_NOT_LOADED;
    if (found->init_code) { status_t code = found->init_code; munmap(found, sizeof(state_t)); return code; }
    state = found;
    state->inits++;
    return SUCCESS;
}

status_t amdsmi_shut_down(void) {
    if (!state) return NOT_INIT;
    munmap(state, sizeof(state_t));
    state = NULL;
    return SUCCESS;
}

/* One socket a GPU, as on hosts of discrete cards. */
status_t amdsmi_get_socket_handles(uint32_t *count, handle_t *sockets) {
    if (!state) return NOT_INIT;
    if (!count) return INVAL;
    if (sockets)
        for (uint32_t n = 0; n < *count && n < state->gpu_count; n++) sockets[n] = (handle_t)(uintptr_t)(n + 1);
    *count = state->gpu_count;
    return SUCCESS;
}

status_t amdsmi_get_processor_handles(handle_t socket, uint32_t *count, handle_t *processors) {
    if (!state) return NOT_INIT;
    if (!count) return INVAL;
    if (processors && *count >= 1) processors[0] = socket;
    *count = 1;
    return SUCCESS;
}

status_t amdsmi_get_gpu_device_uuid(handle_t handle, uint32_t *length, char *uuid) {
    GPU(handle)
    if (strlen(gpu->uuid) + 1 > *length) return INSUFFICIENT_SIZE;
    strcpy(uuid, gpu->uuid);
    return SUCCESS;
}

status_t amdsmi_get_gpu_asic_info(handle_t handle, asic_info_t *info) {
    GPU(handle)
    memset(info, 0, sizeof *info);
    strcpy(info->market_name, gpu->model);
    return SUCCESS;
}

status_t amdsmi_get_power_info(handle_t handle, power_info_t *info) {
    GPU(handle)
    memset(info, 0xff, sizeof *info); /* what the library does not measure stays at the largest number */
    info->current_socket_power = gpu->current_w;
    info->average_socket_power = gpu->average_w;
    return SUCCESS;
}

status_t amdsmi_get_energy_count(handle_t handle, uint64_t *counts, float *resolution_uj, uint64_t *timestamp_ns) {
    GPU(handle)
    *counts = gpu->energy_counts;
    *resolution_uj = gpu->resolution_uj;
    *timestamp_ns = 1;
    return gpu->resolution_uj > 0 ? SUCCESS : NOT_SUPPORTED;
}

status_t amdsmi_get_power_cap_info(handle_t handle, uint32_t sensor, cap_info_t *info) {
    GPU(handle)
    if (sensor != 0) return INVAL;
    memset(info, 0, sizeof *info);
    info->power_cap = gpu->cap_uw;
    info->default_power_cap = info->max_power_cap = gpu->max_uw;
    info->min_power_cap = gpu->min_uw;
    return SUCCESS;
}

status_t amdsmi_get_gpu_activity(handle_t handle, engine_usage_t *info) {
    GPU(handle)
    memset(info, 0, sizeof *info);
    info->gfx_activity = gpu->gfx_percent;
    info->umc_activity = info->mm_activity = 0xffff;
    return SUCCESS;
}

status_t amdsmi_get_clock_info(handle_t handle, uint32_t kind, clk_info_t *info) {
    GPU(handle)
    if (kind != CLK_GFX && kind != CLK_MEM) return NOT_SUPPORTED;
    memset(info, 0, sizeof *info);
    info->clk = kind == CLK_GFX ? gpu->gfx_mhz : gpu->memory_mhz;
    return SUCCESS;
}

status_t amdsmi_get_temp_metric(handle_t handle, uint32_t sensor, uint32_t metric, int64_t *celsius) {
    GPU(handle)
    if (sensor != HOTSPOT || metric != TEMP_CURRENT) return NOT_SUPPORTED;
    *celsius = gpu->hotspot_c;
    return SUCCESS;
}

status_t amdsmi_get_gpu_memory_usage(handle_t handle, uint32_t kind, uint64_t *bytes) {
    GPU(handle)
    if (kind != VRAM) return NOT_SUPPORTED;
    *bytes = gpu->vram_used_b;
    return SUCCESS;
}
