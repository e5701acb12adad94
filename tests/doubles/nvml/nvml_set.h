/*
 * What changes a GPU, and the log of who changed what: limits, locked clocks, persistence. Included by nvml.c.
 *
 * A setter takes the GPU's `set_ms`, and only then looks and applies. It applies and writes down under one lock, so the
 * log has the order in which limits held; a process killed in between leaves UNKNOWN as the code.
 */

enum { UNKNOWN = -1 };

static set_t *note(const gpu_t *gpu, uint32_t what, uint32_t value, uint32_t lowest) {
    uint64_t number = __atomic_add_fetch(&state->set_count, 1, __ATOMIC_SEQ_CST);
    set_t *entry = &state->sets[(number - 1) % MAX_SETS];
    __atomic_store_n(&entry->number, 0, __ATOMIC_SEQ_CST);
    entry->at_ns = now_ns();
    entry->raw_ns = kernel_ns(CLOCK_MONOTONIC_RAW);
    entry->gpu = (uint32_t)(gpu - state->gpus);
    entry->what = what;
    entry->value = value;
    entry->lowest = lowest;
    entry->code = UNKNOWN;
    entry->pid = getpid();
    __atomic_store_n(&entry->number, number, __ATOMIC_SEQ_CST);
    return entry;
}

/* Clocks are taken down to a step of the card. One step above the highest is the highest. */
static nvmlReturn_t lock_clocks(gpu_t *gpu, uint32_t lowest, uint32_t highest) {
    if (!highest || lowest > highest || highest > gpu->sm_mhz + CLOCK_STEP_MHZ) return INVALID_ARGUMENT;
    uint32_t held = highest < gpu->sm_mhz ? highest - highest % CLOCK_STEP_MHZ : gpu->sm_mhz;
    gpu->locked_max_mhz = held > gpu->sm_lowest_mhz ? held : gpu->sm_lowest_mhz;
    gpu->locked_min_mhz = lowest - lowest % CLOCK_STEP_MHZ;
    return SUCCESS;
}

static nvmlReturn_t apply(gpu_t *gpu, uint32_t what, uint32_t value, uint32_t lowest) {
    if ((what == SET_CLOCKS || what == RESET_CLOCKS) && !gpu->lockable) return NOT_SUPPORTED;
    if (!state->root) return NO_PERMISSION;
    step_locked(gpu);
    switch (what) {
    case SET_LIMIT:
        if (value < gpu->min_mw || value > gpu->max_mw) return INVALID_ARGUMENT;
        gpu->requested_mw = value;
        return SUCCESS;
    case SET_CLOCKS: return lock_clocks(gpu, lowest, value);
    case RESET_CLOCKS: gpu->locked_min_mhz = gpu->locked_max_mhz = 0; return SUCCESS;
    default: gpu->persistence = value; return SUCCESS;
    }
}

static nvmlReturn_t set(const char *function, nvmlDevice_t device, uint32_t what, uint32_t value, uint32_t lowest) {
    gpu_t *gpu = NULL;
    nvmlReturn_t code = enter(function, device, &gpu);
    if (!gpu) return code;
    if (!code) {
        nap(gpu->set_ms);
        if (born != state->born) return UNINITIALIZED;
        if (!gpu->present || generation != state->generation) code = GPU_IS_LOST;
    }
    lock();
    set_t *entry = note(gpu, what, value, lowest);
    if (!code) {
        gpu->set_calls++;
        code = apply(gpu, what, value, lowest);
    }
    entry->code = code;
    unlock();
    return code;
}

/* Without persistence mode the driver lets go of a GPU that nobody uses, and forgets what was set. */
static void leave_idle_gpus(void) {
    for (uint32_t i = 0; i < state->gpu_count; i++) {
        gpu_t *gpu = &state->gpus[i];
        if (gpu->persistence || gpu->pid_count) continue;
        lock();
        step_locked(gpu);
        gpu->requested_mw = gpu->default_mw;
        gpu->locked_min_mhz = gpu->locked_max_mhz = 0;
        unlock();
    }
}

nvmlReturn_t nvmlDeviceSetPowerManagementLimit(nvmlDevice_t device, unsigned mw) {
    return set("nvmlDeviceSetPowerManagementLimit", device, SET_LIMIT, mw, 0);
}

nvmlReturn_t nvmlDeviceSetPowerManagementLimit_v2(nvmlDevice_t device, const nvmlPowerValue_v2_t *limit) {
    if (limit->version != POWER_VALUE_V2) return ARGUMENT_VERSION_MISMATCH;
    if (limit->powerScope) return NOT_SUPPORTED;
    return set("nvmlDeviceSetPowerManagementLimit", device, SET_LIMIT, limit->powerValueMw, 0);
}

nvmlReturn_t nvmlDeviceSetGpuLockedClocks(nvmlDevice_t device, unsigned min_mhz, unsigned max_mhz) {
    return set("nvmlDeviceSetGpuLockedClocks", device, SET_CLOCKS, max_mhz, min_mhz);
}

nvmlReturn_t nvmlDeviceResetGpuLockedClocks(nvmlDevice_t device) {
    return set("nvmlDeviceResetGpuLockedClocks", device, RESET_CLOCKS, 0, 0);
}

nvmlReturn_t nvmlDeviceSetPersistenceMode(nvmlDevice_t device, unsigned mode) {
    return set("nvmlDeviceSetPersistenceMode", device, SET_PERSISTENCE, mode, 0);
}
