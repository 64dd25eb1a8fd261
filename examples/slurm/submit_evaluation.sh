#!/usr/bin/env bash
# Submits the shards of an evaluation as an array, and the merge that follows them.
#   examples/slurm/submit_evaluation.sh 64 paper_llada --out runs/llada
# The first word is the number of shards; the others are those of `polytrace evaluate`.
set -euo pipefail
here=$(dirname -- "${BASH_SOURCE[0]}")
shards=$1
shift

# An array task that fails for good cancels the merge: run its shard again, then submit the merge.
array=$(SHARDS=$shards sbatch --parsable --array="1-$shards" "$here/evaluate.sbatch" "$@")
merge=$(sbatch --parsable --dependency="afterok:${array%%;*}" --kill-on-invalid-dep=yes "$here/merge.sbatch" "$@")
echo "shards ${array%%;*}, merge ${merge%%;*}"
