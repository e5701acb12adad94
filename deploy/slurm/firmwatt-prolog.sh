#!/bin/bash
# Slurm prolog: writes down which GPUs the job that begins has on this node, for firmwatt's `slurm` mapping.
#
# Install (slurm.conf, with firmwatt-epilog.sh beside it):
#     PrologFlags=Alloc
#     Prolog=/etc/slurm/prolog.d/firmwatt-prolog.sh
#     Epilog=/etc/slurm/epilog.d/firmwatt-epilog.sh
#
# It writes, each file whole and renamed into place:
#     MAP_DIR/GPU-8d3fb1a0-…   the job's number, a line for each job that has the GPU
#     MAP_DIR/jobs/NUMBER      user=, account=, partition=, qos=: what the tier rules ask
#
# GPUs are named by UUID: as CUDA_VISIBLE_DEVICES has them (Slurm 25.11 and later, MIG always), else by the device
# file's minor number that SLURM_JOB_GPUS holds, looked up in /proc. Where neither tells (no NVIDIA driver, or a GPU
# that was never opened and whose UUID /proc shows as question marks: keep persistence mode on), the number itself is
# the name, which is right where Slurm's order is NVML's.
#
# A prolog that fails drains the node, so this one always ends with 0.

set -u
umask 022
PATH=/usr/sbin:/usr/bin:/sbin:/bin # Slurm gives a prolog none

map_dir=${FIRMWATT_MAP_DIR:-/run/firmwatt/gpus}
nvidia=${FIRMWATT_NVIDIA_PROC:-/proc/driver/nvidia/gpus}

# The numbers of "0-2,6", one a line.
numbers() {
    local part
    for part in ${1//,/ }; do
        case $part in
        *[!0-9-]* | -* | *-) ;;
        *-*) seq "${part%-*}" "${part#*-}" ;;
        *) echo "$part" ;;
        esac
    done
}

# The UUID of the GPU with device file /dev/nvidia$1, or $1.
uuid_or_number() {
    local uuid
    uuid=$(awk -v minor="$1" '
        FNR == 1 { uuid = "" }
        /^GPU UUID:/ { uuid = $3 }
        /^Device Minor:/ && $3 == minor && uuid ~ /^GPU-[0-9a-f-]+$/ { print uuid; exit }
    ' "$nvidia"/*/information 2>/dev/null)
    echo "${uuid:-$1}"
}

# The job's GPUs on this node, one a line.
gpus() {
    local number visible=${CUDA_VISIBLE_DEVICES:-}
    case $visible in
    GPU-* | MIG-*)
        tr ',' '\n' <<<"$visible" | grep -E '^(GPU|MIG)-[0-9A-Za-z-]+$'
        ;;
    *)
        for number in $(numbers "${SLURM_JOB_GPUS:-$visible}"); do
            uuid_or_number "$number"
        done
        ;;
    esac
}

# Standard input as file $1, whole or not at all.
write() {
    local beside
    beside=$(dirname "$1")/.$(basename "$1").$$
    cat >"$beside" && mv -f "$beside" "$1"
}

main() {
    local job=$SLURM_JOB_ID names name
    names=$(gpus)
    [ -n "$names" ] || return 0
    mkdir -p "$map_dir/jobs" || return
    exec 9>"$map_dir/.lock" && flock -w 5 9 # prologs of several jobs run at once
    printf '%s\n' "user=${SLURM_JOB_USER:-}" "account=${SLURM_JOB_ACCOUNT:-}" \
        "partition=${SLURM_JOB_PARTITION:-}" "qos=${SLURM_JOB_QOS:-}" | write "$map_dir/jobs/$job" || return
    for name in $names; do
        { grep -vxF -- "$job" "$map_dir/$name" 2>/dev/null; echo "$job"; } | write "$map_dir/$name" || return
    done
}

[ -z "${SLURM_JOB_ID:-}" ] || main || echo "firmwatt-prolog: could not write to $map_dir" >&2
exit 0
