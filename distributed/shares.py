"""Reads a worker's share of the rows of CSV files on that worker, with TensorFlow's own operations."""

import contextlib
import re
from typing import Any

from model_import_export.graph_mode import tf

BATCH = 1 << 14  # lines parsed in one operation
FIELD = r'(?:"(?:[^"]|"")*"|[^",]*)'
NUMBER = r'\s*"?\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\s*"?\s*'


def _first_line(path: Any) -> Any:
    """A dataset with a file's first line, without byte order mark, blanks and quotes; empty for an empty file."""
    clean = '^\ufeff|["\\s]'
    return tf.data.TextLineDataset(path).take(1).map(lambda line: tf.strings.regex_replace(line, clean, ""))


def find_columns(pattern: str, workers: int, target: str) -> tuple[tuple[int, int], str]:
    """Finds the columns `x` and `y` in the first line of the first file. Returns their positions and that line.

    Raises:
        ValueError: a worker has no such files, or other files than worker 0; or a column is missing.
    """
    files, headers = [], []
    with tf.Graph().as_default():
        for i in range(workers):
            with tf.device(f"/job:worker/task:{i}/cpu:0"):
                paths = tf.io.matching_files(pattern)
                first = tf.data.Dataset.from_tensor_slices(paths).take(1).flat_map(_first_line)
                header = tf.data.experimental.get_single_element(
                    first.concatenate(tf.data.Dataset.from_tensors("")).take(1)
                )
                files.append(paths)
                headers.append(header)
        files, headers = _run((files, headers), target)
    for i, paths in enumerate(files):
        if len(paths) == 0:
            raise ValueError(f"no data: {pattern} on worker {i} (give --data FILE or PATTERN, the same on each worker)")
        if list(paths) != list(files[0]):
            raise ValueError(
                f"not the same files: worker {i} has {len(paths)} of {pattern}, worker 0 has {len(files[0])}"
            )
    header = headers[0].decode(errors="replace")
    names = header.split(",")
    for name in ("x", "y"):
        if name not in names:
            path = files[0][0].decode(errors="replace")
            raise ValueError(f"no column {name}: {path} (its first line names the columns: x,y)")
    return (names.index("x"), names.index("y")), header


def _run(fetches: Any, target: str) -> Any:
    """Runs once, and again if a task was lost meanwhile."""
    while True:
        with contextlib.suppress(tf.errors.UnavailableError, tf.errors.AbortedError), tf.Session(target) as session:
            return session.run(fetches)


def read_share(pattern: str, columns: tuple[int, int], header: str, worker: int, workers: int) -> Any:
    """Every `workers`-th row of each file that matches the pattern, from row `worker` on.

    Args:
        columns: the positions of x and y.
        header: the first line that each file must have.

    Returns:
        float64, shape `[n, 2]`: x and y. Running it raises InvalidArgumentError if a file has another header or a row
        is not two finite numbers; `what_is_wrong` extracts the message from it.
    """
    fields = [NUMBER if i in columns else FIELD for i in range(max(columns) + 1)]
    row = f"{','.join(fields)}(?:,.*)?"
    order = [sorted(columns).index(column) for column in columns]

    def read_file(path: Any) -> Any:
        def check_header(line: Any) -> Any:
            with tf.control_dependencies(
                [_refuse(tf.not_equal(line, header), tf.strings.join(["another header: ", path]))]
            ):
                return tf.zeros([0, 2], tf.float64)

        def parse(batch: Any, lines: Any) -> Any:
            numbers = 2 + worker + workers * (batch * BATCH + tf.range(tf.size(lines, out_type=tf.int64)))
            kept = tf.not_equal(lines, "")
            lines, numbers = tf.boolean_mask(lines, kept), tf.boolean_mask(numbers, kept)

            def refuse(good: Any) -> Any:
                first = tf.where(tf.logical_not(good))[:1]
                line, number = (tf.strings.as_string(tf.gather_nd(part, first)) for part in (lines, numbers))
                words = ["not two finite numbers: ", line, " on line ", number, " of ", path]
                return _refuse(tf.logical_not(tf.reduce_all(good)), tf.strings.join(words))

            with tf.control_dependencies([refuse(tf.strings.regex_full_match(lines, row))]):
                values = tf.io.decode_csv(lines, [tf.constant([], tf.float64)] * 2, select_cols=sorted(columns))
            points = tf.stack([values[i] for i in order], axis=1)
            with tf.control_dependencies([refuse(tf.reduce_all(tf.math.is_finite(points), axis=1))]):
                return tf.identity(points)

        lines = tf.data.TextLineDataset(path, buffer_size=1 << 20).skip(1).shard(workers, worker)
        return _first_line(path).map(check_header).concatenate(lines.batch(BATCH).enumerate().map(parse))

    files = tf.data.Dataset.from_tensor_slices(tf.io.matching_files(pattern))
    # All batches as one ragged tensor, whose values are their rows in sequence.
    batches = files.flat_map(read_file).apply(tf.data.experimental.dense_to_ragged_batch(1 << 40))
    return tf.data.experimental.get_single_element(batches).values


def _refuse(wrong: Any, words: Any) -> Any:
    return tf.debugging.Assert(tf.logical_not(wrong), [tf.strings.join(["<<", words, ">>"])], summarize=1)


def what_is_wrong(error: Exception) -> str | None:
    """The message of `read_share` in a TensorFlow error; None if it is another error."""
    found = re.search(r"<<(.*?)>>", str(error), re.DOTALL)
    return found and found[1]
