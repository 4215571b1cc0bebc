"""What the scripts beside it share: where things are, starting and stopping servers, running the generator, numbers."""

import json
import os
import pathlib
import platform
import resource
import socket
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
CARGO_TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
BUILD = "cargo build --release -p oyez-broker -p oyez-benches --bins"
START_SECONDS = 10
STOP_SECONDS = 15


def say(text):
    print(text, file=sys.stderr, flush=True)


def raise_limits():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def require(directory):
    """Both binaries are there, or that is the end."""
    if not all((directory / name).exists() for name in ("oyez-compare", "oyez-server")):
        sys.exit(f"{pathlib.Path(sys.argv[0]).name}: {directory} has no oyez-compare and oyez-server; run: {BUILD}")


def start(words, settings, log):
    """A server in the background."""
    return subprocess.Popen([str(word) for word in words], env={**os.environ, **settings}, stdin=subprocess.DEVNULL, stdout=log,
                            stderr=log, preexec_fn=raise_limits)


def wait_until(is_up, server, log):
    """Waits for a server that has just been started."""
    deadline = time.monotonic() + START_SECONDS
    while not is_up():
        if server.poll() is not None or time.monotonic() > deadline:
            log.seek(0)
            raise RuntimeError(f"the server did not start: {log.read()[-500:].strip()}")
        time.sleep(0.02)


def stop(process):
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def generate(words, timeout):
    """What one run of `oyez-compare` tells."""
    words = [*words, "--timeout", f"{timeout}s", "-o", "json"]
    generator = subprocess.Popen([str(word) for word in words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                 preexec_fn=raise_limits)
    try:
        out, trouble = generator.communicate(timeout=timeout + START_SECONDS)
    finally:
        stop(generator)
    if generator.returncode != 0:
        raise RuntimeError(trouble.strip() or f"exit code {generator.returncode}")
    return json.loads(out)


def hardware():
    cpu = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    return f"{os.cpu_count()} cores ({cpu}), Linux {platform.release()}"


def command_line():
    return " ".join([f"benches/{pathlib.Path(sys.argv[0]).name}", *sys.argv[1:]])


def number(value):
    """As people read it: three digits, and what is before the point."""
    places = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{places}f}"


def ratio(values, base):
    """The ratio of two medians; none where there is nothing to divide by."""
    if not values or not base or statistics.median(base) <= 0:
        return None
    return statistics.median(values) / statistics.median(base)
