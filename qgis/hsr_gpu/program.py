"""Runs the program with progress and cancel. Knows nothing of QGIS, so that it is tested without one."""

import json
import os
import queue
import shutil
import subprocess
import sys
import sysconfig
import threading

#: Seconds between two looks whether the user has cancelled.
LOOK = 0.2


class ProgramError(Exception):
    """The program's own line about what is wrong."""


def find():
    """The program: what HSR_GPU names, one on the PATH, or the one that pip put beside this Python."""
    beside = os.path.join(sysconfig.get_path("scripts"), "hsr-gpu")
    for candidate in (os.environ.get("HSR_GPU"), shutil.which("hsr-gpu"), beside, beside + ".exe"):
        if candidate and os.path.isfile(candidate):
            return candidate
    raise ProgramError(
        "the program hsr-gpu was not found; run 'pip install hsr-gpu', or name it in the environment variable HSR_GPU"
    )


def run(arguments, on_stage=lambda stage, share: None, on_line=lambda line: None, cancelled=lambda: False):
    """Runs ``hsr-gpu ARGUMENTS --json --json-progress`` and returns what it printed as JSON.

    ``on_stage`` is told of the stage and its share done (0 to 1), ``on_line`` of notes and warnings. Where ``cancelled``
    says so the program is stopped as with Ctrl-C, and None is returned.
    """
    command = [find(), *arguments, "--json", "--json-progress"]
    hidden = {"creationflags": subprocess.CREATE_NO_WINDOW} if sys.platform == "win32" else {}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
    lines, printed = queue.Queue(), []
    with subprocess.Popen(command, text=True, encoding="utf-8", **pipes, **hidden) as child:
        readers = [
            threading.Thread(target=_lines_into, args=(child.stderr, lines)),
            threading.Thread(target=lambda: printed.append(child.stdout.read())),
        ]
        for reader in readers:
            reader.start()
        last, stopped = "", False
        while True:
            if not stopped and cancelled():
                child.terminate()
                stopped = True
            try:
                line = lines.get(timeout=LOOK)
            except queue.Empty:
                continue
            if line is None:
                break
            last = _told(line, on_stage, on_line) or last
        for reader in readers:
            reader.join()
    if stopped:
        return None
    if child.returncode != 0:
        raise ProgramError(last.removeprefix("hsr-gpu: ") or f"hsr-gpu ended with exit code {child.returncode}")
    return json.loads(printed[0])


def _lines_into(stream, lines):
    for line in stream:
        lines.put(line.rstrip("\n"))
    lines.put(None)


def _told(line, on_stage, on_line):
    """Passes on one line of standard error; returns it where it is no event."""
    try:
        event = json.loads(line)
    except ValueError:
        event = None
    if not isinstance(event, dict):
        return line
    kind, stage, total = event.get("event"), event.get("stage", ""), event.get("total") or 0
    if kind == "begin":
        on_stage(stage, 0.0)
    elif kind in ("note", "warning"):
        on_line(event.get("text", ""))
    elif total:
        on_stage(stage, event.get("done", 0) / total)
    return None
