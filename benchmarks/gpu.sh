#!/usr/bin/env bash
# Everything that needs a GPU, stage by stage: tests, rows of every benchmark, a short training.
#
#   benchmarks/gpu.sh OUT                 all stages
#   benchmarks/gpu.sh OUT fast graphs     these
#   DEVICE=cpu benchmarks/gpu.sh OUT      the same on a toy problem, to see that it works
#
# Each stage writes OUT/<stage>.log and, where it has rows, OUT/<stage>.json, row by row; OUT/stages.txt says how each
# ended and how long it took. A stage that fails or takes too long does not stop the others; what ALL_SECONDS (default
# 1,000) leave no time for is named there. PYTHON is the interpreter (default python).

set -u
self=$(realpath "${BASH_SOURCE[0]}")
cd "$(dirname "$self")/.." || exit 1
[ $# -ge 1 ] || { sed -n '2,10p' "$self"; exit 2; }
mkdir -p "$1" || exit 1
out=$(realpath "$1")
shift
python=${PYTHON:-python}
device=${DEVICE:-cuda}
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}

if [ "$device" = cpu ]; then
  batch=2 batch_many=2 batch_memory=4 many=(11 13) images=40
  step=(--alone --steps 1 --size 64)
  small=(--cfg-options model.backbone.depth=18 model.head.in_channels=512)
  tiles=(--batch 1 --places 17 --classes 5 --width 19 --repeats 1)
  inference=(--batch 2 --size 64 --arch 18 --repeats 1)
  amp=()
else
  batch=52 batch_many=32 batch_memory=64 many=(20 500 2000 9605) images=2000
  step=(--steps 6)
  small=()
  tiles=(--seconds 28)
  inference=(--batch 64 --repeats 5)
  amp=(--amp)
  export SARLP_TEST_GPU=1
fi

steps() { # NAME BATCH ARGUMENTS
  local name=$1 size=$2
  shift 2
  "$python" benchmarks/train_step.py --device "$device" --batch "$size" "${step[@]}" --json "$out/$name.json" "$@" \
    "${small[@]}"
}

run_stage() {
  case $1 in
  import)
    "$python" -c '
import platform, torch, mmengine, sarlp.engine, sarlp.models, sarlp.inference
print(platform.python_version(), torch.__version__, mmengine.__version__, sarlp.__file__)
if torch.cuda.is_available():
    import triton
    print(triton.__version__, torch.cuda.get_device_name(), torch.cuda.mem_get_info())' ;;
  tests) # those of the GPU, and beside them those that hide it
    env -u SARLP_TEST_GPU "$python" -m pytest -q -p no:cacheprovider tests/test_models/test_tanh_grid.py \
      tests/test_models/test_literal.py tests/test_engine/test_mixed_precision.py tests/test_engine/test_ema.py \
      >"$out/tests_hidden.log" 2>&1 &
    "$python" -m pytest -q -p no:cacheprovider tests/test_gpu.py
    code=$?
    wait $! || code=$?
    tail -n 5 "$out/tests_hidden.log"
    return "$code" ;;
  eager) steps eager "$batch" --options recipe bfloat16 --profile ;;
  fast) steps fast "$batch" --options fast --variants sarlp backbone --profile ;;
  graphs) steps graphs "$batch" --options graphs --variants sarlp backbone --profile ;;
  memory) steps memory "$batch_memory" --options memory --variants sarlp ;;
  classes) steps classes "$batch_many" --options bfloat16 --variants backbone sarlp --classes "${many[@]}" ;;
  tiles)
    [ "$device" != cpu ] || export TRITON_INTERPRET=1
    "$python" benchmarks/tanh_grid_tiles.py --device "$device" --json "$out/tiles.json" "${tiles[@]}" ;;
  inference) "$python" benchmarks/inference.py --device "$device" --json "$out/inference.json" "${inference[@]}" ;;
  train)
    data=$(mktemp -d)
    trap 'rm -rf "$data"' EXIT
    "$python" tools/dataset_converters/digits.py --out "$data/digits" --num-train "$images" --num-test 40 >/dev/null &&
      "$python" tools/train.py configs/sarlp/sarlp_r18_digits_p0.1.py --work-dir "$data/run" "${amp[@]}" --cfg-options \
        train_cfg.max_epochs=3 default_hooks.logger.interval=5 {train,val,test}_dataloader.dataset.data_root="$data/digits" &&
      cat "$data"/run/*/vis_data/scalars.json >"$out/train.json" ;;
  *)
    echo "no such stage: $1"
    exit 2
    ;;
  esac
}

if [ -n "${STAGE:-}" ]; then # called by itself, below
  run_stage "$STAGE"
  exit
fi

limits=(import:40 tests:100 eager:120 fast:300 graphs:200 memory:60 tiles:45 classes:90 inference:60 train:60)
[ $# -gt 0 ] || set -- "${limits[@]%%:*}"
end=$((SECONDS + ${ALL_SECONDS:-1000}))
failed=0
for name; do
  limit=60
  for pair in "${limits[@]}"; do [ "${pair%%:*}" != "$name" ] || limit=${pair##*:}; done
  [ "$device" != cpu ] || limit=$((6 * limit))
  left=$((end - SECONDS))
  if [ "$left" -lt 8 ]; then
    echo "$name: left out, no time" | tee -a "$out/stages.txt"
    failed=1
    continue
  fi
  [ "$limit" -lt "$left" ] || limit=$left
  start=$SECONDS
  STAGE=$name timeout -k 3 "$limit" bash "$self" "$out" >"$out/$name.log" 2>&1
  code=$?
  echo "$name: exit $code after $((SECONDS - start)) s of at most $limit" | tee -a "$out/stages.txt"
  tail -n 14 "$out/$name.log" | cut -c1-300
  [ "$code" -eq 0 ] || failed=1
done
exit "$failed"
