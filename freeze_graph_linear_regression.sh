#!/usr/bin/env bash
# usage: ./freeze_graph_linear_regression.sh
#
# Freezes a checkpoint with TensorFlow's freeze_graph: variables become constants
# of a GraphDef, which Go and Java load. Then model_check.py checks the result.
#
# environment variables:
#   INPUT_CHECKPOINT  folder or prefix of the checkpoint (default: saved_model)
#   INPUT_GRAPH       GraphDef or .meta (default: exported_graphs/graphdef.pbtxt,
#                     or the .meta of INPUT_CHECKPOINT)
#   OUTPUT_GRAPH      frozen_graphs/frozen_linear_regression.pb by default
#   OUTPUT_NODE       node to calculate (default: linear_regression/add)
#
# example:
#   INPUT_CHECKPOINT=results/old OUTPUT_NODE=y OUTPUT_GRAPH=frozen_graphs/old.pb \
#     ./freeze_graph_linear_regression.sh
set -euo pipefail
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
program=$(basename -- "$0")
frozen='' log=''
fail() { echo "$program: $1" >&2; exit "${2:-1}"; }

# Background commands do not get Ctrl-C: only the script reports it, and ends the command.
wait_for() { "$@" & child=$!; wait "$child"; }
exec 3>&2
trap 'rm -f -- "$frozen" "$log"; [[ -z ${child-} ]] || kill "$child" 2>/dev/null || true' EXIT
trap 'echo "$program: interrupted" >&3; exit 130' INT
trap 'exit 143' TERM

case $*:$# in :0) ;;
-h:1 | --help:1) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" && exit ;;
--version:1) sed -n "s/^__version__ = \"\(.*\)\"/$program \1/p" "$here/model_import_export/__init__.py" && exit ;;
*) fail "unknown argument: $* (the settings are environment variables; --help lists them)" 2 ;;
esac

# 1. Find Python: that of the active environment, or of .venv if none is active.
python=$here/.venv/bin/python
[[ -z ${VIRTUAL_ENV-}${CONDA_PREFIX-} ]] || python=$(command -v python) || fail "no Python in the active environment"
[[ -x $python ]] || fail "no Python environment: $here/.venv (run make venv, or activate the environment that has TensorFlow)"
export PYTHONPATH=$here${PYTHONPATH:+:$PYTHONPATH} PROGRAM=$program

# 2. Find what to freeze, and where to write it.
output=${OUTPUT_GRAPH:-frozen_graphs/frozen_linear_regression.pb} node=${OUTPUT_NODE:-linear_regression/add}
[[ $node != *:* ]] || fail "not a node: $node is a tensor (OUTPUT_NODE=${node%%:*} is its node)"
log=$(mktemp)
wait_for "$python" -m model_import_export.model_file "${INPUT_CHECKPOINT:-saved_model}" >"$log"
checkpoint=$(<"$log")
graph=${INPUT_GRAPH:-exported_graphs/graphdef.pbtxt}
[[ -z ${INPUT_CHECKPOINT-} || -n ${INPUT_GRAPH-} ]] || graph=$checkpoint.meta
[[ -f $graph ]] || fail "no graph: $graph (run python model_producer.py first, or set INPUT_GRAPH)"
case $graph in
*.meta) source=(--input_meta_graph="$graph" --input_binary=true) ;;
*.pbtxt) source=(--input_graph="$graph") ;;
*) source=(--input_graph="$graph" --input_binary=true) ;;
esac
[[ $output == /* ]] || output=./$output
[[ ${output##*/} != SHA256SUMS && $output != */ ]] || fail "not a name for a graph: ${output#./} (set OUTPUT_GRAPH)"
[[ ! -e $output || -f $output ]] || fail "not a regular file: ${output#./} (it would be replaced; set OUTPUT_GRAPH)"
mkdir -p -- "$(dirname -- "$output")" 2>/dev/null || fail "cannot make the folder of ${output#./} (set OUTPUT_GRAPH)"

# 3. Freeze into a temporary file, rename it, and have it checked.
frozen=$(mktemp -- "$(dirname -- "$output")/.frozen.XXXXXX" 2>/dev/null) || fail "cannot write: ${output#./} (set OUTPUT_GRAPH)"
wait_for "$python" -m tensorflow.python.tools.freeze_graph "${source[@]}" --input_checkpoint="$checkpoint" \
    --output_node_names="$node" --output_graph="$frozen" >"$log" 2>&1 ||
    fail "cannot freeze: $graph with $checkpoint: $(grep -E '^[A-Za-z_.]+(Error|Exception)' "$log" | tail -n 1) (OUTPUT_NODE is $node)"
[[ -z ${TF_CPP_MIN_LOG_LEVEL-} ]] || cat "$log" >&2
chmod '=rw' "$frozen"
sync "$frozen"
mv -- "$frozen" "$output"
wait_for "$python" "$here/model_check.py" -- "${output#./}"
