"""Compares the producer with a bare script: the same graph and steps, nothing written.

    python benchmarks/producer.py

The processor's time is compared, not the clock's: the producer writes files, and may wait for the disk.
"""

import sys
import tempfile

from measure import in_turn, run, table
from model_import_export import command_line

BARE = """
import csv
import numpy as np
import tensorflow.compat.v1 as tf
tf.disable_v2_behavior()
with open("data/linear_regression.csv") as file:
    x, y = np.array([[float(row["x"]), float(row["y"])] for row in csv.DictReader(file)]).T[:, np.newaxis]
with tf.Graph().as_default():
    with tf.name_scope("inputs"):
        x_sample = tf.placeholder(tf.float64, [None, None], name="x_sample")
        y_sample = tf.placeholder(tf.float64, [None, None], name="y_sample")
    with tf.variable_scope("model_variables"):
        slope = tf.get_variable("slope", initializer=tf.constant(1.0, tf.float64))
        intercept = tf.get_variable("intercept", initializer=tf.constant(1.0, tf.float64))
        for summary in tf.summary.scalar, tf.summary.histogram:
            summary("slope", slope)
            summary("intercept", intercept)
    with tf.name_scope("linear_regression"):
        y_calc = slope * x_sample + intercept
    with tf.name_scope("optimizer"):
        loss = tf.reduce_sum((y_calc - y_sample) ** 2)
        train_op = tf.train.AdagradOptimizer(0.8, initial_accumulator_value=0.1).minimize(loss)
        tf.summary.scalar("loss", loss)
        tf.summary.histogram("loss", loss)
    summaries = tf.summary.merge_all()
    init = tf.global_variables_initializer()
    saver = tf.train.Saver([slope, intercept])
    with tf.Session() as session:
        session.run(init)
        for _ in range(2000):
            session.run([train_op, loss, slope, intercept, summaries], {x_sample: x, y_sample: y})
"""


def main() -> None:
    parser = command_line.ArgumentParser(__doc__)
    parser.add_argument("--rounds", metavar="N", type=int, default=7, help="runs of each")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        commands = {
            "bare script": [sys.executable, "-c", BARE],
            "model_producer.py": [sys.executable, "model_producer.py", "--output-dir", folder],
        }
        taken = in_turn(flags.rounds, {name: lambda c=command: run(c).processor for name, command in commands.items()})
    targets = {"model_producer.py": "<= 1.1"}
    table("The producer, against a script that writes nothing", "s", taken, "bare script", targets, "processor time")


if __name__ == "__main__":
    main()
