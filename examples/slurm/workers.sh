#!/usr/bin/env bash
# The Dask workers of one node: one on each GPU, else WORKERS_PER_NODE. build.sbatch starts it.
set -euo pipefail
file=$1

IFS=, read -r -a gpus <<<"${CUDA_VISIBLE_DEVICES:-}"
count=${WORKERS_PER_NODE:-${#gpus[@]}}
((count > 0)) || count=1

# What a worker keeps for itself belongs on a disk of its node.
scratch=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$scratch"' EXIT
trap 'exit 143' TERM INT

for ((n = 0; n < count; n++)); do
  if ((${#gpus[@]} > 0)); then
    export CUDA_VISIBLE_DEVICES=${gpus[n % ${#gpus[@]}]}
  fi
  PREFECT_HOME="$scratch/prefect-$n" dask worker --scheduler-file "$file" --nworkers 1 --nthreads 1 \
    --memory-limit 0 --no-dashboard --local-directory "$scratch" --death-timeout 120 \
    --name "${SLURMD_NODENAME:-$HOSTNAME}-$n-$$" ${DASK_INTERFACE:+--interface "$DASK_INTERFACE"} &
done
wait
