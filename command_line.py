"""What the Python programs share of their command line: errors in one line, exit statuses, Ctrl-C."""

import argparse
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from typing import NoReturn

LONGEST_ERROR = 1000  # characters
# What a TensorFlow error quotes of the graph and of the Python source, before and behind the fault.
QUOTES = re.compile(r"Graph execution error:.*\nNode: '[^']*'\n|\n\t? ?\[\[.*|\n\nOriginal stack trace.*", re.DOTALL)


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Shows a flag's default, where it has one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        shown = action.default not in (None, False, argparse.SUPPRESS, [])
        return f"{action.help} (default: %(default)s)" if shown else action.help


class ArgumentParser(argparse.ArgumentParser):
    """An `argparse.ArgumentParser` that takes `-x` for `--x`, `--x -1,2` for `--x=-1,2`, and errs in one line."""

    def __init__(self, description: str | None) -> None:
        super().__init__(description=description, allow_abbrev=False, formatter_class=HelpFormatter)

    def parse_args(self, words: Sequence[str] | None = None) -> argparse.Namespace:  # type: ignore[override]
        """Parses `words` (default: the command line). Exits with status 2 after one line on standard error."""
        joined: list[str] = []
        for word in sys.argv[1:] if words is None else words:
            if f"-{word}".partition("=")[0] in self._option_string_actions:
                word = f"-{word}"
            if joined and joined[-1] in self._option_string_actions and re.match(r"-([\d.]|inf|nan)", word, re.I):
                joined[-1] += f"={word}"
            else:
                joined.append(word)
        return super().parse_args(joined)

    def error(self, message: str) -> NoReturn:
        fail(f"{message} (--help lists the flags)", status=2)


def name_and_value(text: str) -> tuple[str, str]:
    """The type of a flag that takes `NAME=LIST`."""
    name, separator, value = text.partition("=")
    if not name or not separator:
        raise argparse.ArgumentTypeError(f"not NAME=LIST: {text}")
    return name, value


def one_line(error: object) -> str:
    """The text of an error or warning, on one line that a terminal shows as it is."""
    if isinstance(error, OSError) and error.strerror:
        text = error.strerror + (f": {error.filename}" if error.filename else "")
    else:
        text = QUOTES.sub("", str(error))
        if isinstance(error, (KeyError, AttributeError, TypeError, MemoryError)):
            text = f"{type(error).__name__}: {text}"
    text = " ".join(line.strip() for line in text.splitlines() if line.strip())
    if len(text) > LONGEST_ERROR:
        text = f"{text[: LONGEST_ERROR // 2]} ... {text[-LONGEST_ERROR // 2 :]}"
    return "".join(c if c.isprintable() else " " for c in text)


def warn(message: object) -> None:
    """Prints `PROGRAM: message` as one line on standard error."""
    print(f"{os.path.basename(sys.argv[0])}: {one_line(message)}", file=sys.stderr, flush=True)


def fail(message: object, status: int = 1) -> NoReturn:
    """Prints `PROGRAM: message` as one line on standard error and exits."""
    warn(message)
    raise SystemExit(status)


def exit_on_interrupt() -> None:
    """Makes Ctrl-C end the process at once with status 130, also while TensorFlow calculates or is being imported.

    A handler in Python runs only between two of Python's instructions, so not during a long `session.run`. The wake-up
    descriptor is written to as the signal comes, and a thread can wait for that.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer)
        signal.signal(signal.SIGINT, lambda *_: None)
        threading.Thread(target=lambda: os._exit(130 * len(os.read(reader, 1))), daemon=True).start()


def run(main: Callable[[], None]) -> NoReturn:
    """Runs a program and exits: 0 when it is done or its reader went away, 1 after an error, 130 on Ctrl-C."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:  # closed by the caller (`<&-`): else the next file opened takes its number
            while os.open(os.devnull, os.O_RDWR) < descriptor:
                pass
            setattr(sys, name, open(descriptor, "rw"[descriptor > 0], closefd=False))  # noqa: SIM115
    exit_on_interrupt()
    try:
        main()
        sys.stdout.flush()
    except BrokenPipeError:
        pass
    except Exception as error:
        if isinstance(error, ModuleNotFoundError):
            listed = os.path.join(os.path.dirname(sys.argv[0]), "requirements.txt")
            install = f", pip install -r {listed}" if os.path.exists(listed) else ""
            error = f"no Python package: {error.name} (source .venv/bin/activate{install})"
        warn(error)
        os._exit(1)  # what stands in standard output's buffer has been refused already
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    raise SystemExit(0)
