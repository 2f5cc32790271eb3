"""Trains three models in the usual ways of TensorFlow 1.x and Keras 3, for model_freeze.py to freeze.

    python cookbook/example_models.py

Writes  results/mlp/         a checkpoint: do two numbers have the same sign?
        results/flowers/     a SavedModel by model.export(): which kind has four measures?
        results/cnn.keras    a Keras file: which quarter of an image is bright?
        results/images.npy   four such images
"""

import os

from model_import_export import command_line
from model_import_export.graph_mode import import_tensorflow, tf

import numpy as np

SEED = 47


def make_mlp(folder: str) -> None:
    """Trains a network with dropout in a graph of TensorFlow 1.x, from `x` [?, 2] to the probability `y` [?, 1]."""
    random = np.random.default_rng(SEED)
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(SEED)
        x = tf.placeholder(tf.float32, [None, 2], name="x")
        keep_prob = tf.placeholder(tf.float32, name="keep_prob")
        labels = tf.placeholder(tf.float32, [None, 1], name="labels")
        weights = tf.get_variable("w1", initializer=random.normal(size=[2, 16]).astype(np.float32))
        bias = tf.get_variable("b1", initializer=np.zeros(16, np.float32))
        hidden = tf.nn.dropout(tf.nn.relu(tf.matmul(x, weights) + bias), keep_prob=keep_prob)
        last = tf.get_variable("w2", initializer=random.normal(size=[16, 1]).astype(np.float32))
        logits = tf.matmul(hidden, last) + tf.get_variable("b2", initializer=np.zeros(1, np.float32))
        tf.sigmoid(logits, name="y")
        loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits))
        step = tf.train.AdamOptimizer(0.02).minimize(loss)
        session.run(tf.global_variables_initializer())
        for _ in range(300):
            batch = random.uniform(-1, 1, [128, 2])
            session.run(step, {x: batch, labels: batch.prod(axis=1, keepdims=True) > 0, keep_prob: 0.95})
        tf.train.Saver().save(session, os.path.join(folder, "model.ckpt"))


def make_flowers(folder: str) -> None:
    """Trains a network on three clouds of points, from [?, 4] to the probabilities of three kinds."""
    import keras

    keras.utils.set_random_seed(SEED)
    kinds = np.random.default_rng(SEED).integers(0, 3, 600)
    x = np.array([[5, 3.4, 1.5, 0.2], [6, 2.8, 4.3, 1.3], [6.6, 3, 5.6, 2]])[kinds]
    x = (x + np.random.default_rng(1).normal(0, 0.3, x.shape)).astype(np.float32)
    layers = [keras.layers.Normalization(), keras.layers.Dense(8, "relu"), keras.layers.Dense(3, "softmax")]
    layers[0].adapt(x)
    model = keras.Sequential([keras.Input([4], name="measures"), *layers])
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x, kinds, epochs=20, verbose=0)
    model.export(folder, verbose=False)


def make_cnn(file: str, images: str) -> None:
    """Trains a convolutional network, from images [?, 28, 28, 1] to the probabilities of the four quarters."""
    import keras

    keras.utils.set_random_seed(SEED)
    random = np.random.default_rng(SEED)
    quarters = np.arange(512) % 4
    x = random.uniform(0, 0.3, [512, 28, 28, 1]).astype(np.float32)
    for image, quarter in zip(x, quarters, strict=True):
        row, column = random.integers(1, 8, 2) + 14 * np.array(divmod(quarter, 2))
        image[row : row + 5, column : column + 5] = 1
    model = keras.Sequential(
        [
            keras.Input([28, 28, 1], name="image"),
            keras.layers.Conv2D(8, 5, 2, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(4, "softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, quarters, epochs=12, verbose=0)
    model.save(file)
    np.save(images, x[:4])


def main() -> None:
    command_line.ArgumentParser(__doc__).parse_args()
    os.makedirs("results", exist_ok=True)
    import_tensorflow()
    make_flowers("results/flowers")
    make_cnn("results/cnn.keras", "results/images.npy")
    # Keras needs TensorFlow 2 behaviour. The first use of `tf` switches it off for the whole process.
    make_mlp("results/mlp")
    print("results/mlp results/flowers results/cnn.keras results/images.npy")


if __name__ == "__main__":
    command_line.run(main)
