#!/bin/bash
# Slurm epilog: takes back what firmwatt-prolog.sh wrote about the job that ends, whatever GPUs Slurm says it had.
#
# An epilog that fails drains the node, so this one always ends with 0.

set -u
umask 022
PATH=/usr/sbin:/usr/bin:/sbin:/bin # Slurm gives an epilog none

map_dir=${FIRMWATT_MAP_DIR:-/run/firmwatt/gpus}

main() {
    local job=$SLURM_JOB_ID file beside
    [ -d "$map_dir" ] || return 0
    exec 9>"$map_dir/.lock" && flock -w 5 9 # of several jobs that share a GPU
    for file in "$map_dir"/*; do
        grep -qxF -- "$job" "$file" 2>/dev/null || continue
        beside=$map_dir/.$(basename "$file").$$
        if grep -vxF -- "$job" "$file" >"$beside"; then
            mv -f "$beside" "$file" || return
        else
            rm -f "$beside" "$file" || return # nobody else had it
        fi
    done
    rm -f "$map_dir/jobs/$job"
}

[ -z "${SLURM_JOB_ID:-}" ] || main || echo "firmwatt-epilog: could not clean up $map_dir" >&2
exit 0
