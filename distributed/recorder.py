"""Writes what the producer writes, using its one-machine graph, from the numbers of a training elsewhere."""

import argparse
import math
from typing import Any

import model_producer
from model_import_export import ModelError, model_file, training
from model_import_export.graph_mode import tf
from model_import_export.training import NAME


class Recorder:
    """The producer's graph, checkpoints, summaries and table. A repeated epoch is not written again."""

    def __init__(self, flags: argparse.Namespace) -> None:
        """Builds the producer's graph in a session in this process."""
        self.every, self.folder = flags.checkpoint_every, flags.output_dir
        self.checkpoints, self.summaries = self.folder / "saved_model", self.folder / "summaries" / NAME
        self.model = model_producer.build_graph(flags.learning_rate)
        self.session = tf.Session(graph=self.model.g, config=tf.ConfigProto(inter_op_parallelism_threads=-1))
        self.printed = self.summarised = -1  # the last epochs for which that was done
        self.writer: Any = None

    def start_clean(self) -> None:
        """Writes the graph, and removes what an earlier run left."""
        training.export_graph(self.model.g, self.folder / "exported_graphs")
        training.remove_earlier_run(self.checkpoints, self.summaries)

    def resume(self) -> None:
        """Finds out what a killed run has printed: each line of the table immediately follows its checkpoint."""
        try:
            newest = model_file.newest_complete(str(self.checkpoints))
        except (ModelError, OSError):
            return
        self.printed = int(newest.rpartition("-")[2])
        state = tf.train.get_checkpoint_state(str(self.checkpoints))
        self.model.saver.recover_last_checkpoints(state.all_model_checkpoint_paths)

    def begin(self, epoch: int) -> None:
        """Starts writing summaries. TensorBoard drops a killed run's from this epoch on, because they are repeated."""
        for path in (self.checkpoints, self.summaries):
            path.mkdir(parents=True, exist_ok=True)
        self.writer = tf.summary.FileWriter(str(self.summaries), self.model.g)
        self.writer.add_session_log(tf.SessionLog(status=tf.SessionLog.START), epoch)
        self.summarised = epoch - 1

    def record(self, epoch: int, loss: float, slope: float, intercept: float) -> None:
        """Writes an epoch's summaries and, if its turn has come, its checkpoint and its line of the table.

        Args:
            loss: the loss before the epoch's step.
            slope, intercept: their values after it.

        Raises:
            ValueError: a number is not finite; the checkpoints saved so far are good.
        """
        if not math.isfinite(loss) or not math.isfinite(slope) or not math.isfinite(intercept):
            good = self.model.saver.last_checkpoints
            raise ValueError(
                f"the loss is no longer finite: epoch {epoch} (lower --learning-rate; "
                + (f"the last good checkpoint is {good[-1]})" if good else "no checkpoint was saved)")
            )
        _, loss_sum, *variables, summaries = self.model.fetches
        values = dict(zip((variable.value() for variable in variables), (slope, intercept), strict=True))
        if epoch > self.summarised:
            self.writer.add_summary(self.session.run(summaries, {loss_sum: loss, **values}), epoch)
            self.summarised = epoch
        if epoch % self.every == 0 and epoch > self.printed:
            for variable, value in zip(variables, (slope, intercept), strict=True):
                variable.load(value, self.session)
            self.model.saver.save(self.session, str(self.checkpoints / f"{NAME}.ckpt"), global_step=epoch)
            training.print_line(f"epoch: {epoch}, loss: {loss}, slope: {slope}, intercept: {intercept}")
            self.printed = epoch

    def flush(self) -> None:
        """Writes all summaries so far, before a recovery state relies on them."""
        if self.writer:
            self.writer.flush()

    def close(self) -> None:
        """Closes the summaries. Raises OSError if some are missing."""
        self.writer.close()
        training.check_summaries(self.summaries, self.summarised)
