#!/usr/bin/env bash
# Predict in parts under SLURM: tools/slurm_predict.sh PARTITION JOB_NAME PARTS CONFIG CHECKPOINT INPUT... --out FILE [options]
# GPUS (1) and CPUS_PER_TASK (8) size a part; SBATCH_ARGS holds further options of sbatch. The same again goes on where
# parts were stopped; when all are finished: sarlp predict --merge FILE
set -euo pipefail
[ $# -ge 6 ] || { sed -n '2,4s/^# //p' "$0" >&2; exit 2; }
partition=$1 job=$2 parts=$3
shift 3
printf -v command '%q ' python -u "$(dirname "$0")/predict.py" "$@" --shard auto
# shellcheck disable=SC2086  SBATCH_ARGS is a list of options
exec sbatch -p "$partition" --job-name="$job" --array="1-$parts" --requeue --gres="gpu:${GPUS:-1}" --ntasks=1 \
    --cpus-per-task="${CPUS_PER_TASK:-8}" ${SBATCH_ARGS:-} --wrap="$command"
