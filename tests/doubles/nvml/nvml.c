/*
 * A stand-in for libnvidia-ml.so.1: enough of NVML to measure and to cap GPUs that do not exist.
 *
 * All GPUs live in one file (environment variable FAKE_NVML_STATE) that every process maps: a cap set by the actuator
 * is what the collector reads, and a test moves demand while both run.
 *
 * What it models: draw follows min(demand, enforced limit) with a first-order lag, field 185 is a filter of 1 s, energy
 * is the exact integral, the enforced limit is the lower of what software and what the BMC asked. SM clock and draw
 * above idle are proportional, so a locked clock limits the draw. A slowdown's counter runs while its cause lasts.
 * What was set is lost with the driver, with a reset, and with the last user of a GPU that is not kept initialised.
 * Sizes and codes are those of nvml.h, API 13 (x86-64).
 */
#include "nvml_model.h"
#include "nvml_set.h"

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
    if (born != state->born) users = 0;
    if (!users) generation = state->generation; /* with users left, another nvmlInit only counts */
    born = state->born;
    users++;
    __atomic_fetch_add(&state->users, 1, __ATOMIC_SEQ_CST);
    return SUCCESS;
}

nvmlReturn_t nvmlInit_v2(void) { return nvmlInitWithFlags(0); }

nvmlReturn_t nvmlShutdown(void) {
    if (!users || born != state->born) return UNINITIALIZED;
    nvmlReturn_t code = ruled("nvmlShutdown", -1);
    if (code) return code;
    users--;
    if (__atomic_sub_fetch(&state->users, 1, __ATOMIC_SEQ_CST) == 0) leave_idle_gpus();
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
    case TIMEOUT: return "Timeout";
    case GPU_IS_LOST: return "GPU is lost";
    case RESET_REQUIRED: return "GPU requires reset";
    case LIB_RM_VERSION_MISMATCH: return "Driver/library version mismatch";
    case ARGUMENT_VERSION_MISMATCH: return "Argument version mismatch";
    default: return "Unknown Error";
    }
}

/* ---- system, handles, identity ---- */

nvmlReturn_t nvmlSystemGetDriverVersion(char *version, unsigned length) {
    return users ? copy(version, length, state->driver_version) : UNINITIALIZED;
}

nvmlReturn_t nvmlDeviceGetCount_v2(unsigned *count) {
    if (!users || born != state->born) return UNINITIALIZED;
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
    gpu_t *gpu;
    nvmlReturn_t code = enter_any("nvmlDeviceGetUUID", device, &gpu);
    if (code) return code;
    uintptr_t instance = (uintptr_t)device >> MIG_SHIFT;
    return copy(uuid, length, instance ? gpu->mig_uuids[instance - 1] : gpu->uuid);
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
    *minor = gpu->minor;
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

nvmlReturn_t nvmlDeviceGetCudaComputeCapability(nvmlDevice_t device, int *major, int *minor) {
    ENTER("nvmlDeviceGetCudaComputeCapability");
    *major = (int)gpu->capability / 10;
    *minor = (int)gpu->capability % 10;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMigMode(nvmlDevice_t device, unsigned *current, unsigned *pending) {
    ENTER("nvmlDeviceGetMigMode");
    if (!gpu->mig_max) return NOT_SUPPORTED;
    *current = *pending = gpu->mig;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMaxMigDeviceCount(nvmlDevice_t device, unsigned *count) {
    ENTER("nvmlDeviceGetMaxMigDeviceCount");
    *count = gpu->mig_max;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMigDeviceHandleByIndex(nvmlDevice_t device, unsigned index, nvmlDevice_t *instance) {
    ENTER("nvmlDeviceGetMigDeviceHandleByIndex");
    if (!gpu->mig_max || !gpu->mig) return NOT_SUPPORTED;
    if (index >= gpu->mig_max) return INVALID_ARGUMENT;
    if (index >= gpu->mig_count || !gpu->mig_uuids[index][0]) return NOT_FOUND;
    *instance = (nvmlDevice_t)((uintptr_t)device | (uintptr_t)(index + 1) << MIG_SHIFT);
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceIsMigDeviceHandle(nvmlDevice_t device, unsigned *is_instance) {
    gpu_t *gpu;
    nvmlReturn_t code = enter_any("nvmlDeviceIsMigDeviceHandle", device, &gpu);
    if (!code) *is_instance = (uintptr_t)device >> MIG_SHIFT != 0;
    return code;
}

nvmlReturn_t nvmlDeviceGetPersistenceMode(nvmlDevice_t device, unsigned *mode) {
    ENTER("nvmlDeviceGetPersistenceMode");
    *mode = gpu->persistence;
    return SUCCESS;
}

/* ---- power, energy ---- */

nvmlReturn_t nvmlDeviceGetPowerUsage(nvmlDevice_t device, unsigned *mw) {
    ENTER("nvmlDeviceGetPowerUsage");
    step(gpu);
    *mw = (unsigned)lround(gpu->average_mw);
    return SUCCESS;
}

static int knows(const gpu_t *gpu, unsigned field) {
    for (int i = 0; i < MAX_UNSUPPORTED; i++)
        if (gpu->unsupported[i] == field) return 0;
    return 1;
}

/* A driver without any field of power has this call; a card that lacks the energy field alone has no counter. */
nvmlReturn_t nvmlDeviceGetTotalEnergyConsumption(nvmlDevice_t device, unsigned long long *mj) {
    ENTER("nvmlDeviceGetTotalEnergyConsumption");
    if (!knows(gpu, 83) && knows(gpu, 186)) return NOT_SUPPORTED;
    step(gpu);
    *mj = gpu->energy_uj / 1000;
    return SUCCESS;
}

static nvmlReturn_t nanoseconds(nvmlFieldValue_t *field, uint64_t ns) {
    field->valueType = TYPE_UNSIGNED_LONG_LONG;
    field->value.ull = ns;
    return SUCCESS;
}

/* Three ids that drivers have numbered differently, and three others that mean something else to them. */
static nvmlReturn_t read_slowdown(const gpu_t *gpu, nvmlFieldValue_t *field) {
    if (gpu->smoothing_field && field->fieldId - gpu->smoothing_field < 3) {
        field->value.ui = 1;
        return SUCCESS;
    }
    switch (field->fieldId - gpu->slowdown_field) {
    case 0: return nanoseconds(field, gpu->sw_thermal_ns);
    case 1: return nanoseconds(field, gpu->hw_thermal_ns);
    case 2: return nanoseconds(field, gpu->brake_ns);
    default: return NOT_SUPPORTED;
    }
}

static nvmlReturn_t milliwatts(nvmlFieldValue_t *field, uint32_t mw) {
    field->value.ui = mw;
    return mw ? SUCCESS : NOT_SUPPORTED;
}

static nvmlReturn_t read_field(const gpu_t *gpu, nvmlFieldValue_t *field) {
    unsigned id = field->fieldId;
    if (!knows(gpu, id)) return gpu->field_code ? (nvmlReturn_t)gpu->field_code : NOT_SUPPORTED;
    if (id >= 185 && id <= 192 && (field->scopeId > 31 || !(gpu->scope_mask >> field->scopeId & 1)))
        return NOT_SUPPORTED;
    field->valueType = TYPE_UNSIGNED_INT;
    switch (id) {
    case 74: return nanoseconds(field, gpu->capped_ns);
    case 83: case 191:
        field->valueType = TYPE_UNSIGNED_LONG_LONG;
        field->value.ull = gpu->energy_uj / 1000;
        return SUCCESS;
    case 185: field->value.ui = gpu->reported_mw ? gpu->reported_mw : (unsigned)lround(gpu->average_mw); return SUCCESS;
    case 186: field->value.ui = gpu->reported_mw ? gpu->reported_mw : (unsigned)lround(gpu->instant_mw); return SUCCESS;
    case 187: return milliwatts(field, field->scopeId ? gpu->module_min_mw : gpu->min_mw);
    case 188: return milliwatts(field, field->scopeId ? gpu->module_max_mw : gpu->max_mw);
    case 189: field->value.ui = gpu->default_mw; return SUCCESS;
    case 190: field->value.ui = (unsigned)enforced_mw(gpu); return SUCCESS;
    case 192: field->value.ui = gpu->requested_mw; return SUCCESS;
    default: return read_slowdown(gpu, field);
    }
}

nvmlReturn_t nvmlDeviceGetFieldValues(nvmlDevice_t device, int count, nvmlFieldValue_t *fields) {
    ENTER("nvmlDeviceGetFieldValues");
    step(gpu);
    for (int i = 0; i < count; i++) {
        fields[i].timestamp = gpu->frozen_us ? gpu->frozen_us : now_ns() / 1000;
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

/* ---- clocks ---- */

enum { CLOCK_GRAPHICS, CLOCK_SM, CLOCK_MEMORY };

nvmlReturn_t nvmlDeviceGetClockInfo(nvmlDevice_t device, unsigned clock, unsigned *mhz) {
    ENTER("nvmlDeviceGetClockInfo");
    if (clock > CLOCK_MEMORY) return NOT_SUPPORTED;
    step(gpu);
    *mhz = clock == CLOCK_MEMORY ? gpu->memory_mhz : sm_mhz(gpu);
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMaxClockInfo(nvmlDevice_t device, unsigned clock, unsigned *mhz) {
    ENTER("nvmlDeviceGetMaxClockInfo");
    if (clock > CLOCK_MEMORY) return NOT_SUPPORTED;
    *mhz = clock == CLOCK_MEMORY ? gpu->memory_mhz : gpu->sm_mhz;
    return SUCCESS;
}

/* Both lists fall; *count is the room there is, and then the number there are. */
nvmlReturn_t nvmlDeviceGetSupportedMemoryClocks(nvmlDevice_t device, unsigned *count, unsigned *mhz) {
    ENTER("nvmlDeviceGetSupportedMemoryClocks");
    unsigned room = *count;
    *count = 1;
    if (!room) return INSUFFICIENT_SIZE;
    *mhz = gpu->memory_mhz;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetSupportedGraphicsClocks(
    nvmlDevice_t device, unsigned memory_mhz, unsigned *count, unsigned *mhz) {
    ENTER("nvmlDeviceGetSupportedGraphicsClocks");
    if (memory_mhz != gpu->memory_mhz) return NOT_FOUND;
    unsigned room = *count;
    *count = (gpu->sm_mhz - gpu->sm_lowest_mhz) / CLOCK_STEP_MHZ + 1;
    if (room < *count) return INSUFFICIENT_SIZE;
    for (unsigned i = 0; i < *count; i++) mhz[i] = gpu->sm_mhz - i * CLOCK_STEP_MHZ;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetCurrentClocksEventReasons(nvmlDevice_t device, unsigned long long *reasons) {
    ENTER("nvmlDeviceGetCurrentClocksEventReasons");
    *reasons = is_capped(gpu) ? 0x4 : gpu->demand_mw <= gpu->idle_mw ? 0x1 : 0;
    *reasons |= gpu->sw_thermal ? 0x20 : 0;
    *reasons |= gpu->hw_thermal ? 0x48 : 0; /* with 0x8: hardware slowdown of any cause */
    *reasons |= gpu->brake ? 0x88 : 0;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetCurrentClocksThrottleReasons(nvmlDevice_t device, unsigned long long *reasons) {
    return nvmlDeviceGetCurrentClocksEventReasons(device, reasons);
}

/* ---- temperature, load, memory, processes ---- */

nvmlReturn_t nvmlDeviceGetTemperature(nvmlDevice_t device, unsigned sensor, unsigned *celsius) {
    ENTER("nvmlDeviceGetTemperature");
    if (sensor) return INVALID_ARGUMENT;
    *celsius = gpu->temperature_c;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetTemperatureV(nvmlDevice_t device, nvmlTemperature_v1_t *found) {
    ENTER("nvmlDeviceGetTemperatureV");
    if (found->version != TEMPERATURE_V1) return ARGUMENT_VERSION_MISMATCH;
    if (found->sensorType) return INVALID_ARGUMENT;
    found->temperature = (int)gpu->temperature_c;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t device, nvmlUtilization_t *rates) {
    ENTER("nvmlDeviceGetUtilizationRates");
    if (gpu->mig) return NOT_SUPPORTED; /* "not currently supported" on MIG-enabled GPUs: nvidia-smi --help-query-gpu */
    rates->gpu = rates->memory = gpu->demand_mw > gpu->idle_mw ? 100 : 0;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t *memory) {
    ENTER("nvmlDeviceGetMemoryInfo");
    memory->total = gpu->memory_total_b;
    memory->used = gpu->memory_used_b;
    memory->free = memory->total - memory->used;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t device, nvmlMemory_v2_t *memory) {
    ENTER("nvmlDeviceGetMemoryInfo");
    if (memory->version != MEMORY_V2) return ARGUMENT_VERSION_MISMATCH;
    memory->total = gpu->memory_total_b;
    memory->reserved = 0;
    memory->used = gpu->memory_used_b;
    memory->free = memory->total - memory->used;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t device, unsigned *count, nvmlProcessInfo_t *found) {
    ENTER("nvmlDeviceGetComputeRunningProcesses");
    unsigned room = *count;
    *count = gpu->pid_count;
    if (room < gpu->pid_count) return INSUFFICIENT_SIZE;
    for (uint32_t i = 0; i < gpu->pid_count; i++)
        found[i] = (nvmlProcessInfo_t){gpu->pids[i], 1ULL << 30, NO_MIG_INSTANCE, NO_MIG_INSTANCE};
    return SUCCESS;
}

/* ---- events ---- */

nvmlReturn_t nvmlEventSetCreate(nvmlEventSet_t *set) {
    if (!users || born != state->born) return UNINITIALIZED;
    nvmlReturn_t code = ruled("nvmlEventSetCreate", -1);
    if (code) return code;
    *set = calloc(1, sizeof **set);
    (*set)->born = born;
    (*set)->seen = state->xid_count;
    return SUCCESS;
}

nvmlReturn_t nvmlEventSetFree(nvmlEventSet_t set) {
    free(set);
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetSupportedEventTypes(nvmlDevice_t device, unsigned long long *types) {
    ENTER("nvmlDeviceGetSupportedEventTypes");
    *types = EVENT_XID;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceRegisterEvents(nvmlDevice_t device, unsigned long long types, nvmlEventSet_t set) {
    ENTER("nvmlDeviceRegisterEvents");
    if (types & ~(unsigned long long)EVENT_XID) return NOT_SUPPORTED;
    set->gpus |= 1u << (gpu - state->gpus);
    __atomic_fetch_add(&gpu->registered, 1, __ATOMIC_SEQ_CST);
    return SUCCESS;
}

/* Waits in small steps, so that a host that is replaced or closed underneath ends it. */
nvmlReturn_t nvmlEventSetWait_v2(nvmlEventSet_t set, nvmlEventData_t *event, unsigned timeout_ms) {
    if (!users || set->born != state->born) return UNINITIALIZED;
    nvmlReturn_t code = ruled("nvmlEventSetWait", -1);
    if (code) return code;
    for (unsigned slept = 0;; slept += EVENT_STEP_MS) {
        if (!users || set->born != state->born) return UNINITIALIZED;
        while (set->seen != state->xid_count) {
            xid_t xid = state->xids[set->seen++ % MAX_XIDS];
            if (!(set->gpus >> xid.gpu & 1)) continue;
            *event = (nvmlEventData_t){
                (nvmlDevice_t)((uintptr_t)xid.gpu + 1), EVENT_XID, xid.xid, NO_MIG_INSTANCE, NO_MIG_INSTANCE};
            return SUCCESS;
        }
        if (slept >= timeout_ms) return TIMEOUT;
        nap(EVENT_STEP_MS);
    }
}
