"""Trains the producer's model on a cluster: one graph over several processes, on one machine or many.

    TF_CONFIG='{"cluster": {"chief": [...], "ps": [...], "worker": [...]},
      "task": {"type": "worker", "index": 0}}' python distributed/train.py

The same command starts each task. The ps holds the variables and the optimizer.
Each of n workers reads every n-th row of --data, keeps it and calculates its
part of the loss. The chief drives the training and writes what the producer
writes. The loss is the sum over the workers, so the table is the producer's.
distributed/local_cluster.sh starts a cluster on this machine.

Reads   --data on each worker: a CSV file or a pattern of several
Writes  exported_graphs/ saved_model/ summaries/, on the chief, as the producer
        recovery/  all variables and the step, from which a killed run
                   continues; removed at the end
"""

import argparse
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from cluster import JOBS, Cluster, read_cluster, say_done, start_server, wait_until_done, watch
from model_import_export import command_line, training
from model_import_export.digests import write_whole
from model_import_export.graph_mode import tf
from recorder import Recorder
from shares import find_columns, read_share, what_is_wrong

from tqdm import tqdm

RECOVER_EVERY = 100  # steps


def build_graph(
    cluster: Cluster, data: str, columns: tuple[int, int], header: str, rate: float
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Builds one graph over all tasks: the variables on the ps, a share of the rows and its loss on each worker.

    Returns:
        What to fetch for a step: the `step`'s number, counted from 1; the `loss` before it, `slope` and `intercept`
        after it (float64 scalars). And what to fetch about the data: the number of `rows` on all workers, the `least`
        and the `most` of their x.
    """
    workers = len(cluster.tasks["worker"])
    with tf.device(tf.train.replica_device_setter(len(cluster.tasks["ps"]), worker_device="/job:chief/task:0")):
        with tf.variable_scope("model_variables"):
            slope = tf.get_variable("slope", initializer=tf.constant(1.0, tf.float64))
            intercept = tf.get_variable("intercept", initializer=tf.constant(1.0, tf.float64))
        step = tf.train.get_or_create_global_step()
    losses, shares = [], []
    for i in range(workers):
        with tf.device(f"/job:worker/task:{i}/cpu:0"), tf.name_scope(f"worker_{i}"):
            share = read_share(data, columns, header, i, workers)
            # Local variables: a worker that was lost reads them from the files again, and they are not saved.
            settings = {"validate_shape": False, "trainable": False, "collections": [tf.GraphKeys.LOCAL_VARIABLES]}
            x, y = tf.Variable(share[:, 0], **settings), tf.Variable(share[:, 1], **settings)
            losses.append(tf.reduce_sum((slope * x + intercept - y) ** 2))
            shares.append((tf.size(x, out_type=tf.int64), tf.reduce_min(x), tf.reduce_max(x)))
    with tf.device("/job:chief/task:0/cpu:0"):
        loss = tf.add_n(losses)
        optimizer = tf.train.AdagradOptimizer(rate, initial_accumulator_value=0.1)
        train_op = optimizer.minimize(loss, step, colocate_gradients_with_ops=True)
        # Without this dependency the variables could be read at any time, and lag a step behind.
        with tf.control_dependencies([train_op]):
            steps = {"step": step.read_value(), "slope": slope.read_value(), "intercept": intercept.read_value()}
        rows, least, most = zip(*shares, strict=True)
        extent = {"rows": tf.add_n(rows), "least": tf.reduce_min(least), "most": tf.reduce_max(most)}
    return steps | {"loss": loss}, extent


def open_recovery(folder: Path, flags: argparse.Namespace, recorder: Recorder) -> None:
    """Continues where a killed run ended, or starts clean.

    Raises:
        ValueError: the folder holds another run's state.
    """
    run = {name: str(getattr(flags, name)) for name in ("data", "epochs", "learning_rate", "checkpoint_every")}
    description = folder / "run.json"
    if not description.exists():
        shutil.rmtree(folder, ignore_errors=True)
        recorder.start_clean()
        write_whole(description, json.dumps(run))
        return
    other = json.loads(description.read_text())
    if other != run:
        flag = next(name for name in run if run[name] != other.get(name))
        raise ValueError(
            f"the recovery state of another run: {folder}, of --{flag.replace('_', '-')} {other.get(flag)} "
            "(give the same flags to go on with it, or remove the folder)"
        )
    recorder.resume()


def train(cluster: Cluster, target: str, flags: argparse.Namespace) -> None:
    """Does the chief's work: trains to the last epoch, even if another task is lost, and records everything.

    Raises:
        ValueError: the data cannot be used, or the loss is no longer finite. No recovery state is left then.
    """
    folder = flags.output_dir / "recovery"
    columns, header = find_columns(flags.data, len(cluster.tasks["worker"]), target)
    recorder = Recorder(flags)
    open_recovery(folder, flags, recorder)
    try:
        with tf.Graph().as_default():
            steps, extent = build_graph(cluster, flags.data, columns, header, flags.learning_rate)
            with start_session(target, folder, recorder) as session:
                run_steps(session, steps, extent, flags, recorder)
    except (ValueError, tf.errors.InvalidArgumentError) as error:
        words = error if isinstance(error, ValueError) else what_is_wrong(error)
        if words is None:
            raise
        shutil.rmtree(folder)
        raise ValueError(words) from None
    recorder.close()
    shutil.rmtree(folder)


def start_session(target: str, folder: Path, recorder: Recorder) -> Any:
    """A session that recovers from a lost task: it goes back to the newest state in the recovery folder."""

    class Flush(tf.train.CheckpointSaverListener):
        """Writes the summaries before a recovery state that counts on them."""

        def before_save(self, session: Any, step: int) -> None:
            recorder.flush()

    with tf.device("/job:chief/task:0/cpu:0"):
        # Not sharded, so the chief writes it all; otherwise each ps would write its part on its own disk.
        saver = tf.train.Saver(sharded=False, max_to_keep=2, save_relative_paths=True)
    saving = tf.train.CheckpointSaverHook(str(folder), save_steps=RECOVER_EVERY, saver=saver, listeners=[Flush()])
    return tf.train.MonitoredTrainingSession(
        target,
        checkpoint_dir=str(folder),
        scaffold=tf.train.Scaffold(saver=saver),
        hooks=[saving],
        save_checkpoint_secs=None,
        save_checkpoint_steps=None,
        save_summaries_steps=None,
        save_summaries_secs=None,
        log_step_count_steps=None,
    )


def run_steps(
    session: Any, steps: dict[str, Any], extent: dict[str, Any], flags: argparse.Namespace, recorder: Recorder
) -> None:
    """Runs steps to the last epoch. Raises ValueError if the points do not determine a line, or the loss diverges."""
    points = session.run(extent)
    if points["rows"] < 2 or points["least"] == points["most"]:
        raise ValueError(f"too few points: {flags.data} has {points['rows']} rows (a line takes two different x)")
    step = int(session.run(tf.train.get_global_step()))
    recorder.begin(step)
    with tqdm(total=flags.epochs, initial=step, unit=" epochs", leave=False, disable=None) as bar:
        while step < flags.epochs:
            values = session.run(steps)
            step = int(values["step"])  # after a lost task, goes back to the recovery state
            bar.update(step - bar.n)
            recorder.record(step - 1, values["loss"], values["slope"], values["intercept"])


def parse_arguments() -> argparse.Namespace:
    parser = command_line.ArgumentParser(__doc__)
    parser.add_argument(
        "--data",
        metavar="FILES",
        default="data/linear_regression.csv",
        help="a CSV file with x,y, or a pattern of them",
    )
    training.add_training_flags(parser)
    parser.add_argument(
        "--cluster-timeout",
        metavar="S",
        type=command_line.count,
        default=60,
        help="how long to wait for a task to come, or to come back",
    )
    return parser.parse_args()


def main() -> None:
    flags = parse_arguments()
    cluster = read_cluster()
    server = start_server(cluster)
    watch(cluster.others(*(JOBS if cluster.job == "chief" else ["chief"])), flags.cluster_timeout)
    if cluster.job != "chief":
        print(f"{cluster.job} {cluster.index} listens on {cluster.address}", flush=True)
        wait_until_done(cluster, server.target)
    else:
        train(cluster, server.target, flags)
        _held = say_done(cluster, server.target)
    sys.stdout.flush()
    os._exit(0)  # there is no other way to end a server


if __name__ == "__main__":
    command_line.run(main)
