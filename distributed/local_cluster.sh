#!/usr/bin/env bash
# Trains on a cluster of processes on this machine: a chief, a ps and some workers, as on several machines.
#
#   distributed/local_cluster.sh [--workers N] [FLAG ...]
#
# The flags are those of distributed/train.py. Each line of output begins with its task's name. The exit status is the
# chief's. Ctrl-C ends all tasks.
set -euo pipefail

train=$(dirname "${BASH_SOURCE[0]}")/train.py
workers=2
if [[ ${1:-} == --workers ]]; then
  workers=${2:-}
  if ! [[ $workers =~ ^[1-9][0-9]?$ ]]; then
    echo "local_cluster.sh: not from 1 to 99: --workers $workers" >&2
    exit 2
  fi
  shift 2
elif [[ ${1:-} == --help || ${1:-} == -h ]]; then
  sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
  exec python "$train" --help
fi

read -ra ports < <(python - $((workers + 2)) <<'END'
import socket, sys
sockets = [socket.socket() for _ in range(int(sys.argv[1]))]
for each in sockets:
    each.bind(("127.0.0.1", 0))
print(*(each.getsockname()[1] for each in sockets))
END
)
addresses=("${ports[@]/#/\"127.0.0.1:}")
addresses=("${addresses[@]/%/\"}")
cluster=$(IFS=,; echo "{\"chief\": [${addresses[0]}], \"ps\": [${addresses[1]}], \"worker\": [${addresses[*]:2}]}")

# Starts a task and leaves its process id in $!.
start() {
  TF_CONFIG="{\"cluster\": $cluster, \"task\": {\"type\": \"$1\", \"index\": $2}}" python "$train" "${@:3}" \
    > >(exec sed -u "s/^/$1 $2: /") 2> >(exec sed -u "s/^/$1 $2: /" >&2) &
}

tasks=()
trap 'kill "${tasks[@]}" 2>/dev/null || true; wait' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
start ps 0 "$@"
tasks+=($!)
for ((i = 0; i < workers; i++)); do
  start worker "$i" "$@"
  tasks+=($!)
done
start chief 0 "$@"
chief=$!
tasks+=("$chief")
status=0
wait "$chief" || status=$?
if ((status == 0)); then
  wait "${tasks[@]}" || status=$?
fi
exit "$status"
