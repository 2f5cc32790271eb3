"""Runs under Python 3.6 and TensorFlow 1.8: writes a checkpoint as in 2018, and reads one written today.

    python tests/tensorflow_1_8.py write /tmp/2018
    python tests/tensorflow_1_8.py read saved_model/linear_regression.ckpt-1900

The first command wrote the checkpoint in tests/tensorflow_1_8; its folder has been moved since.
"""

import csv
import os
import sys

import numpy as np
import tensorflow as tf


def write(folder):
    """Trains the published model up to epoch 200 and saves a checkpoint there."""
    with open("data/linear_regression.csv") as file:
        sample = np.array([[float(row["x"]), float(row["y"])] for row in csv.DictReader(file)])
    with tf.name_scope("inputs"):
        x_sample = tf.placeholder(tf.float64, [None, None], name="x_sample")
        y_sample = tf.placeholder(tf.float64, [None, None], name="y_sample")
        tf.add_to_collection("inputs", x_sample)
        tf.add_to_collection("inputs", y_sample)
    with tf.variable_scope("model_variables"):
        slope = tf.get_variable("slope", initializer=tf.constant(1.0, tf.float64))
        intercept = tf.get_variable("intercept", initializer=tf.constant(1.0, tf.float64))
        for summary in (tf.summary.scalar, tf.summary.histogram):
            summary("slope", slope)
            summary("intercept", intercept)
    with tf.name_scope("linear_regression"):
        y_calc = tf.add(tf.multiply(slope, x_sample, name="mul"), intercept, name="add")
        tf.add_to_collection("y_calc", y_calc)
    with tf.name_scope("optimizer"):
        loss = tf.reduce_sum(tf.pow(y_calc - y_sample, 2))
        train_op = tf.train.AdagradOptimizer(0.8, initial_accumulator_value=0.1).minimize(loss)
        tf.summary.scalar("loss", loss)
        tf.summary.histogram("loss", loss)
    tf.summary.merge_all()
    init = tf.global_variables_initializer()
    saver = tf.train.Saver([slope, intercept])
    with tf.Session() as session:
        session.run(init)
        for _ in range(201):
            feeds = {x_sample: sample[np.newaxis, :, 0], y_sample: sample[np.newaxis, :, 1]}
            _, slope_value, intercept_value = session.run([train_op, slope, intercept], feeds)
        saver.save(session, os.path.join(folder, "linear_regression.ckpt"), global_step=200)
    print(repr(slope_value), repr(intercept_value))


def read(prefix):
    """Restores the two variables by name and prints them."""
    slope = tf.Variable(0.0, dtype=tf.float64)
    intercept = tf.Variable(0.0, dtype=tf.float64)
    saver = tf.train.Saver({"model_variables/slope": slope, "model_variables/intercept": intercept})
    with tf.Session() as session:
        saver.restore(session, prefix)
        print(*map(repr, session.run([slope, intercept])))


if __name__ == "__main__":
    {"write": write, "read": read}[sys.argv[1]](sys.argv[2])
