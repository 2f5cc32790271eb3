"""The classifier that most recipes save and load: do ten numbers add up to 47.5 or more?

It has a hidden layer with dropout and an output layer, and Adagrad trains it on numbers drawn here. The batch and the
dropout mask depend only on the step number, so a training that is interrupted and resumed equals an uninterrupted one
bit for bit. The random numbers of a `tf.Session` would start over in each session.
"""

from typing import Any, NamedTuple

from model_import_export.graph_mode import tf

import numpy as np

INPUT, OUTPUT = "Placeholder/inputs_placeholder", "Accuracy/predictions"
INPUTS, HIDDEN, THRESHOLD = 10, 16, 47.5
BATCH, DROPOUT, LEARNING_RATE, SEED = 128, 0.05, 0.2, 47
# The first ten numbers add up to 45, the other ten to 50.
EXAMPLES = np.array([range(10), [5] * 10], np.float32)


class Classifier(NamedTuple):
    """The tensors of a classifier. In one for inference, `labels`, `step` and `loss` are None."""

    inputs: Any  # placeholder, float32 [?, 10]
    predictions: Any  # bool [?, 1]
    labels: Any = None  # placeholder, bool [?, 1]
    step: Any = None  # int64, the number of steps done
    loss: Any = None  # float32 scalar


def build_graph(training: bool, hidden: int = HIDDEN, use_resource: bool = False) -> Classifier:
    """Builds the classifier in the default graph; for training also the labels, a branch with dropout, and the loss.

    The placeholders are in the collection `inputs` and the predictions in `y_calc`, for whoever imports the graph.
    """
    with tf.name_scope("Placeholder"):
        inputs = tf.placeholder(tf.float32, [None, INPUTS], name="inputs_placeholder")
        labels = tf.placeholder(tf.bool, [None, 1], name="labels_placeholder") if training else None
    # Centred, so that the first layer does not have to learn the offset.
    layer = tf.nn.relu(dense("hidden", inputs - THRESHOLD / INPUTS, hidden, use_resource))
    logits = dense("output", layer, 1, use_resource)
    with tf.name_scope("Accuracy"):
        predictions = tf.greater_equal(tf.nn.sigmoid(logits), 0.5, name="predictions")
    tf.add_to_collection("inputs", inputs)
    tf.add_to_collection("y_calc", predictions)
    if not training:
        return Classifier(inputs, predictions)
    tf.add_to_collection("inputs", labels)
    step = tf.train.get_or_create_global_step()
    with tf.name_scope("Training"):
        drawn = tf.random.stateless_uniform(tf.shape(layer), tf.stack([SEED, step]))
        kept = layer * tf.cast(drawn >= DROPOUT, tf.float32) / (1 - DROPOUT)
        logits = dense("output", kept, 1, use_resource)
        loss = tf.nn.sigmoid_cross_entropy_with_logits(labels=tf.cast(labels, tf.float32), logits=logits)
        return Classifier(inputs, predictions, labels, step, tf.reduce_mean(loss))


def dense(name: str, x: Any, units: int, use_resource: bool) -> Any:
    """A layer from float32 `[?, n]` to `[?, units]`; creates or reuses the variables `NAME/kernel` and `NAME/bias`."""
    with tf.variable_scope(name, use_resource=use_resource, reuse=tf.AUTO_REUSE):
        # Drawn in numpy, so that the graph has no random operation; the bounds are those of Glorot and Bengio (2010).
        bound = np.sqrt(6 / (int(x.shape[1]) + units))
        drawn = np.random.default_rng(SEED).uniform(-bound, bound, [x.shape[1], units]).astype(np.float32)
        kernel = tf.get_variable("kernel", initializer=drawn)
        bias = tf.get_variable("bias", initializer=np.zeros(units, np.float32))
        return tf.matmul(x, kernel) + bias


def build_training(classifier: Classifier) -> Any:
    """Adds the optimizer. Returns the operation that takes a step, which is also in the collection `train_op`."""
    return tf.train.AdagradOptimizer(LEARNING_RATE).minimize(classifier.loss, classifier.step)


def draw_batch(step: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws the batch of a step: rows of float32 `[128, 10]` from 0 to 9.5, and their labels, bool `[128, 1]`."""
    x = np.random.default_rng([SEED, step]).uniform(0, 2 * THRESHOLD / INPUTS, [BATCH, INPUTS]).astype(np.float32)
    return x, x.sum(axis=1, keepdims=True) >= THRESHOLD


def train(session: Any, train_op: Any, inputs: Any, labels: Any, steps: range) -> None:
    """Runs these training steps, each on its own batch."""
    for step in steps:
        x, y = draw_batch(step)
        session.run(train_op, {inputs: x, labels: y})
