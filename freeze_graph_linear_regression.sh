#!/usr/bin/env bash
# Freezes the model: the variables of the newest complete checkpoint become constants in a GraphDef of their own, which
# every language can load without Python.
#
#   ./freeze_graph_linear_regression.sh
#
# Environment variables say what else to freeze:
#   INPUT_GRAPH       a GraphDef, text (.pbtxt) or binary, or a .meta; default exported_graphs/graphdef.pbtxt
#   INPUT_CHECKPOINT  a folder or a prefix; default saved_model
#   OUTPUT_GRAPH      default frozen_graphs/frozen_linear_regression.pb; its digest goes into the SHA256SUMS beside it
#   OUTPUT_NODE       what is wanted of the graph; default linear_regression/add
set -euo pipefail

INPUT_GRAPH=${INPUT_GRAPH:-exported_graphs/graphdef.pbtxt}
INPUT_CHECKPOINT=${INPUT_CHECKPOINT:-saved_model}
OUTPUT_GRAPH=${OUTPUT_GRAPH:-frozen_graphs/frozen_linear_regression.pb}
OUTPUT_NODE=${OUTPUT_NODE:-linear_regression/add}

here=$(cd "$(dirname "$0")" && pwd)
program=$(basename "$0")

fail() {
    echo "$program: $1" >&2
    exit "${2:-1}"
}

case $*:$# in
:0) ;;
-h:1 | --help:1)
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
*) fail "unknown argument: $* (the settings are environment variables; --help lists them)" 2 ;;
esac

# 1. The Python of the active environment, or of .venv where none is active.
if [[ -n ${VIRTUAL_ENV-}${CONDA_PREFIX-} ]]; then
    python=python
elif [[ -x $here/.venv/bin/python ]]; then
    python=$here/.venv/bin/python
else
    fail "no Python environment: $here/.venv (run make venv, or activate the environment that has TensorFlow)"
fi
command -v "$python" >/dev/null || fail "no Python in the active environment: ${VIRTUAL_ENV-}${CONDA_PREFIX-}"
export PYTHONPATH=$here${PYTHONPATH:+:$PYTHONPATH}

# 2. What there is to freeze.
[[ $OUTPUT_NODE != *:* ]] || fail "not a node: $OUTPUT_NODE is a tensor (OUTPUT_NODE=${OUTPUT_NODE%%:*} is its node)"
[[ -f $INPUT_GRAPH ]] || fail "no graph: $INPUT_GRAPH (run python model_producer.py first, or set INPUT_GRAPH)"
case $INPUT_GRAPH in
*.meta) graph=(--input_meta_graph="$INPUT_GRAPH" --input_binary=true) ;;
*.pbtxt) graph=(--input_graph="$INPUT_GRAPH") ;;
*) graph=(--input_graph="$INPUT_GRAPH" --input_binary=true) ;;
esac
[[ -d $INPUT_CHECKPOINT || -f $INPUT_CHECKPOINT.index ]] ||
    fail "no checkpoint: $INPUT_CHECKPOINT (run python model_producer.py first, or set INPUT_CHECKPOINT)"
checkpoint=$(
    "$python" - "$program" "$INPUT_CHECKPOINT" <<'END'
import sys

import command_line
import model_file

sys.argv[:] = sys.argv[1:]
command_line.run(lambda: print(model_file.newest_complete(sys.argv[1])))
END
)

# 3. Freeze, into a file that nobody reads yet.
[[ $OUTPUT_GRAPH != -* ]] || OUTPUT_GRAPH=./$OUTPUT_GRAPH
folder=$(dirname "$OUTPUT_GRAPH")
name=$(basename "$OUTPUT_GRAPH")
[[ $OUTPUT_GRAPH != */ && ! -d $OUTPUT_GRAPH ]] || fail "not a file: $OUTPUT_GRAPH is a folder (set OUTPUT_GRAPH)"
[[ $name != *[\\$'\n']* ]] || fail "not a name for a file: $name (SHA256SUMS writes it otherwise; set OUTPUT_GRAPH)"
[[ -f $folder/SHA256SUMS || ! -e $folder/SHA256SUMS ]] || fail "not a file: $folder/SHA256SUMS (remove it)"
mkdir -p "$folder" 2>/dev/null || fail "cannot make the folder: $folder (set OUTPUT_GRAPH)"
[[ -w $folder ]] || fail "cannot write: $folder (set OUTPUT_GRAPH)"
frozen=$folder/.$name.$$ sums=$folder/.SHA256SUMS.$$ log=$folder/.log.$$
trap 'rm -f "$frozen" "$sums" "$log"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
if ! "$python" -m tensorflow.python.tools.freeze_graph "${graph[@]}" --input_checkpoint="$checkpoint" \
    --output_node_names="$OUTPUT_NODE" --output_graph="$frozen" >"$log" 2>&1; then
    fail "cannot freeze: $INPUT_GRAPH with $checkpoint: $(grep -E '^[A-Za-z_.]+(Error|Exception)' "$log" | tail -n 1)"
fi
[[ -z ${TF_CPP_MIN_LOG_LEVEL-} ]] || cat "$log" >&2

# 4. TensorFlow 1.x said how many variables it converted; 2.x does not, so they are counted.
"$python" - "$program" "$INPUT_GRAPH" "$frozen" <<'END'
import sys
from pathlib import Path

import command_line
import graph_check
from graph_mode import tf


def main() -> None:
    source, frozen = sys.argv[1:]
    kind = tf.MetaGraphDef if source.endswith(".meta") else tf.GraphDef
    graph_def = graph_check.parse(kind(), Path(source).read_bytes(), source)
    nodes = getattr(graph_def, "graph_def", graph_def).node
    variables = {node.name for node in nodes if node.op in ("Variable", "VariableV2", "VarHandleOp")}
    result = graph_check.parse(tf.GraphDef(), Path(frozen).read_bytes(), frozen).node
    for node in result:
        if node.op.startswith(("Var", "Assign", "Apply", "ResourceApply", "Save", "Restore")):
            raise ValueError(f"not frozen: {node.op} in node {node.name} is left")
    print(f"Converted {len(variables & {n.name for n in result if n.op == 'Const'})} variables to const ops.")


sys.argv[:] = sys.argv[1:]
command_line.run(main)
END

# 5. The graph gets its name, and then its digest is noted; those of other files stay.
sync "$frozen"
mv "$frozen" "$OUTPUT_GRAPH"
if [[ -f $folder/SHA256SUMS ]]; then
    NAME=$name awk 'substr($0, 67) != ENVIRON["NAME"]' "$folder/SHA256SUMS" >"$sums"
fi
(cd "$folder" && sha256sum -- "$name") >>"$sums"
sync "$sums"
mv "$sums" "$folder/SHA256SUMS"
