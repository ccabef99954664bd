#!/usr/bin/env bash
# Train under SLURM: tools/slurm_train.sh PARTITION JOB_NAME CONFIG [options of tools/train.py]
# GPUS (8), GPUS_PER_NODE (8) and CPUS_PER_TASK (8) size the job; SRUN_ARGS holds further options of srun.
set -euo pipefail
[ $# -ge 3 ] || { sed -n '2,3s/^# //p' "$0" >&2; exit 2; }
partition=$1 job=$2 config=$3
shift 3
gpus=${GPUS:-8} per_node=${GPUS_PER_NODE:-8}
[ "$gpus" -ge "$per_node" ] || per_node=$gpus
# shellcheck disable=SC2086  SRUN_ARGS is a list of options
exec srun -p "$partition" --job-name="$job" --gres="gpu:$per_node" --ntasks="$gpus" --ntasks-per-node="$per_node" \
    --cpus-per-task="${CPUS_PER_TASK:-8}" --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
    python -u "$(dirname "$0")/train.py" "$config" --launcher slurm "$@"
