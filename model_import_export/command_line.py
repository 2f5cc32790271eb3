"""Command-line code that all Python programs share: one-line errors, exit statuses, Ctrl-C."""

import argparse
import os
import re
import signal
import sys
import textwrap
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

from model_import_export import __version__

LONGEST_ERROR = 1000  # characters
# The parts of a TensorFlow error that quote the graph and the Python source, before and after the fault.
QUOTES = re.compile(
    r"Graph execution error:(?:.*\nNode: '[^']*'\n|\s*)|\n\t? ?\[\[.*|\n\nOriginal stack trace.*", re.DOTALL
)

COLORS = re.compile(r"\x1b\[[\d;]*m")  # in Keras's errors

# Each returns what the program leaves behind, for the line printed when Ctrl-C ends it.
leaves: list[Callable[[], str]] = []


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Formats the help in 80 columns, and shows a flag's default if it has one."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=80)

    def _get_help_string(self, action: argparse.Action) -> str | None:
        shown = action.default not in (None, False, argparse.SUPPRESS, [])
        return f"{action.help} (default: %(default)s)" if shown else action.help


def _lay_out(docstring: str) -> tuple[str, str]:
    """Returns a docstring wrapped to 80 columns, and its example commands, which the help shows at the end."""
    commands = re.findall(r"^    ((?:  )?\S.*)", docstring, re.MULTILINE)
    text = re.sub(r"^    (?:  )?\S.*\n", "", docstring, flags=re.MULTILINE)
    paragraphs = []
    for paragraph in re.split(r"\n{2,}", text.strip()):
        lines = re.sub(r"\n(?!        |Reads|Writes)", " ", paragraph).split("\n")
        heads = (re.match(r"(?:(?:(?:Reads|Writes) {2,}| {8})(?:\S+/ {2,})?)?", line)[0] for line in lines)
        paragraphs += [
            "\n".join(
                textwrap.fill(line, 80, subsequent_indent=" " * len(head))
                for line, head in zip(lines, heads, strict=True)
            )
        ]
    return "\n\n".join(paragraphs), "examples:\n" + "\n".join(f"  {line}" for line in commands) if commands else ""


def _not_a_number(found: re.Match[str]) -> str:
    return f"not a {'whole ' if found[1] else ''}number: {found[2]}"


class ArgumentParser(argparse.ArgumentParser):
    """An `argparse.ArgumentParser` that takes `-x` as `--x` and `--x -1,2` as `--x=-1,2`, with errors on one line."""

    def __init__(self, docstring: str | None) -> None:
        text, examples = _lay_out(docstring or "")
        super().__init__(description=text, epilog=examples, allow_abbrev=False, formatter_class=HelpFormatter)
        self._positionals.title, self._optionals.title = "arguments", "flags"
        self.add_argument("--version", action=Version, help="print the versions of this program and of TensorFlow")

    def format_help(self) -> str:
        self.usage = " ".join(["%(prog)s [flags]", *(a.metavar or a.dest for a in self._get_positional_actions())])
        return super().format_help()

    def parse_args(self, words: Sequence[str] | None = None) -> argparse.Namespace:  # type: ignore[override]
        """Parses `words` (default: the command line). After an error, prints it on one line and exits with status 2."""
        joined: list[str] = []
        flags = self._option_string_actions
        for word in sys.argv[1:] if words is None else words:
            if f"-{word}".partition("=")[0] in flags:
                word = f"-{word}"
            if joined and joined[-1] in flags and re.match(r"-([\d.]|inf|nan)", word, re.I):
                joined[-1] += f"={word}"
            else:
                joined.append(word)
        self.given = dict.fromkeys(name for word in joined if (name := word.partition("=")[0]) in flags)
        parsed, unknown = super().parse_known_args(joined)
        if unknown:
            name = "-" * unknown[0].startswith("-") + "-" + unknown[0].lstrip("-").partition("=")[0]
            hint = f"nearest: {nearest(name, flags)[0]}; " if unknown[0].startswith("-") else ""
            fail(f"unknown argument: {unknown[0]} ({hint}--help lists the flags)", status=2)
        return parsed

    def error(self, message: str) -> NoReturn:
        message = re.sub(r"invalid (?:(int)|float) value: '(.*)'", _not_a_number, message)
        fail(f"{message} (--help lists the flags)", status=2)

    def parse_consumer(self) -> argparse.Namespace:
        """Parses a consumer's flags and rejects combinations that conflict."""
        parsed = self.parse_args()
        for pair in (("--x", "--stdin"), ("--save", "--stdin")):
            found = [name for name in self.given if name in pair]
            if len(found) == 2:
                self.error(f"argument {found[1]}: not allowed with argument {found[0]}")
        single = next((name for name in ("--stdin", "--save") if name in self.given), None)
        if single and len(parsed.output) > 1:
            self.error(f"argument --output: only one with {single}")
        if parsed.batch and not parsed.stdin:
            self.error("argument --batch: only with --stdin")
        try:
            parsed.feed = list(map(name_and_value, parsed.feed))
        except argparse.ArgumentTypeError as error:
            self.error(f"argument --feed: {error}")
        return parsed


class Version(argparse.Action):
    """Prints the versions of the program and of TensorFlow, without importing TensorFlow."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(nargs=0, default=argparse.SUPPRESS, **settings)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from importlib.metadata import version

        print(f"{parser.prog} {__version__}, TensorFlow {version('tensorflow')}")
        raise SystemExit


def nearest(name: str, names: Iterable[str]) -> list[str]:
    """The three of `names` that share the most characters with `name` at both ends; ties go to the closest length."""

    def distance(other: str) -> tuple[int, int]:
        ends = os.path.commonprefix([name[::-1], other[::-1]])
        return -len(os.path.commonprefix([name, other])) - len(ends), abs(len(name) - len(other))

    return sorted(names, key=distance)[:3]


def name_and_value(text: str) -> tuple[str, str]:
    """The argparse type of a flag that takes `NAME=VALUES`."""
    name, separator, value = text.partition("=")
    if not name or not separator:
        raise argparse.ArgumentTypeError(f"not NAME=VALUES: {text}")
    return name, value


def count(text: str) -> int:
    """The argparse type of a flag that takes a count, at least 1."""
    if not re.fullmatch(r"0*[1-9]\d{0,9}", text, re.ASCII) or not int(text) < 1 << 31:
        raise argparse.ArgumentTypeError(f"not a whole number from 1 to {(1 << 31) - 1}: {text}")
    return int(text)


def one_line(error: object) -> str:
    """The text of an error or warning on one line, with unprintable characters replaced by spaces."""
    if isinstance(error, ModuleNotFoundError):
        listed = os.path.join(os.path.dirname(sys.argv[0]), "requirements.txt")
        install = f"; or pip install -r {listed}" if os.path.exists(listed) else ""
        text = f"no Python package: {error.name} (run make venv, then source .venv/bin/activate{install})"
    elif isinstance(error, OSError) and error.strerror:
        text = error.strerror + (f": {error.filename}" if error.filename else "")
    else:
        text = QUOTES.sub("", COLORS.sub("", str(error)))
        if isinstance(error, (KeyError, AttributeError, TypeError, MemoryError)):
            text = f"{type(error).__name__}: {text}"
    text = " ".join(line.strip() for line in text.splitlines() if line.strip())
    if len(text) > LONGEST_ERROR:
        text = f"{text[: LONGEST_ERROR // 2]} ... {text[-LONGEST_ERROR // 2 :]}"
    return "".join(c if c.isprintable() else " " for c in text)


def program() -> str:
    """The name of the running program."""
    return os.path.basename(sys.argv[0])


def warn(message: object) -> None:
    """Prints `PROGRAM: message` as one line on standard error."""
    print(f"{program()}: {one_line(message)}", file=sys.stderr, flush=True)


def fail(message: object, status: int = 1) -> NoReturn:
    """Prints `PROGRAM: message` as one line on standard error and exits."""
    warn(message)
    raise SystemExit(status)


def exit_on_interrupt() -> None:
    """Makes Ctrl-C print one line and end the process at once, even while TensorFlow runs or is being imported.

    A Python signal handler runs only between two bytecode instructions, so not during a long `session.run`. The wake-up
    file descriptor is written as soon as the signal arrives, and a thread waits for that.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer)
        signal.signal(signal.SIGINT, lambda *_: None)
        threading.Thread(target=lambda: os.read(reader, 1) and interrupted(), daemon=True).start()


def interrupted() -> NoReturn:
    """Prints that the program was interrupted and what it leaves behind, then exits with status 130."""
    left = [say() for say in leaves]
    os.write(2, f"{program()}: interrupted{f' ({left[0]})' if left else ''}\n".encode())
    os._exit(130)


def _explain(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    """Reports Ctrl-C or a missing package on one line, even while the program's own imports run."""
    if issubclass(kind, KeyboardInterrupt):
        interrupted()
    if isinstance(error, ModuleNotFoundError):
        warn(error)
        os._exit(1)
    sys.__excepthook__(kind, error, trace)


sys.excepthook = _explain


def run(main: Callable[[], None]) -> NoReturn:
    """Runs a program and exits: 0 on success or if its reader went away, 1 after an error, 130 on Ctrl-C."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:  # closed by the caller (`<&-`): the next file opened would take its number
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
        warn(error)
        os._exit(1)  # what is left in standard output's buffer could not be written
    os._exit(0)  # Python's normal exit would spend a fifth of a second tearing down TensorFlow
