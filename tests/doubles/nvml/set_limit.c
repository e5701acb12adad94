/*
 * Set one GPU's power limit and end, as `nvidia-smi -i GPU -pl WATTS` does: a process, a session, one call.
 *
 *     set_limit GPU WATTS          exit code: NVML's
 *
 * nvidia-smi itself does more (it reads the card first), so this is the least that a sub-process for each GPU costs.
 */
#include <stdlib.h>

int nvmlInit_v2(void);
int nvmlShutdown(void);
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device);
int nvmlDeviceSetPowerManagementLimit(void *device, unsigned milliwatts);

int main(int count, char **words) {
    if (count != 3) return 2;
    void *device;
    int code = nvmlInit_v2();
    if (code) return code;
    code = nvmlDeviceGetHandleByIndex_v2((unsigned)atoi(words[1]), &device);
    if (!code) code = nvmlDeviceSetPowerManagementLimit(device, (unsigned)(atof(words[2]) * 1000 + 0.5));
    nvmlShutdown();
    return code;
}
