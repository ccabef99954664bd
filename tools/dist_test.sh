#!/usr/bin/env bash
# Test with several processes on this machine: tools/dist_test.sh CONFIG CHECKPOINT GPUS [options of tools/test.py]
# Without a GPU the processes share the CPU (gloo). NNODES, NODE_RANK, MASTER_ADDR and PORT span several machines.
set -euo pipefail
[ $# -ge 3 ] || { sed -n '2,3s/^# //p' "$0" >&2; exit 2; }
config=$1 checkpoint=$2 gpus=$3
shift 3
[[ $gpus =~ ^([1-9][0-9]*|gpu|cpu|auto)$ ]] || {
    echo "error: expected CONFIG CHECKPOINT GPUS, of which GPUS is a number of processes, got '$gpus'" >&2
    exit 2
}
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" # what torchrun sets, with a warning
exec python -m torch.distributed.run --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}" --nproc_per_node="$gpus" \
    "$(dirname "$0")/test.py" "$config" "$checkpoint" --launcher pytorch "$@"
