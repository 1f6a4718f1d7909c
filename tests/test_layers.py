"""The house keeps its shape: one direction of imports, and packages that load by themselves."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def test_the_import_contracts_hold() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Contracts: 4 kept, 0 broken." in done.stdout


def run_fresh(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    "module",
    [
        "blocks",
        "flows.backup",
        "flows.restore",
        "flows.restore_archive",
        "flows.restore_documents",
        "flows.prune",
        "flows.inventory",
        "flows.probe",
        "flows.copy_backup",
        "flows.hold",
        "flows.drill",
        "flows.verify",
        "flows.preflight",
        "flows.export",
        "flows.compact_exports",
        "flows.watch",
        "flows.erase",
        "flows.prune_exports",
        "flows.tasks.dump",
    ],
)
def test_each_entry_loads_alone_in_a_fresh_interpreter(module: str) -> None:
    run_fresh(f"import {module}")


def test_the_flows_package_imports_none_of_its_flows() -> None:
    assert (
        run_fresh("import sys; before = set(sys.modules); import flows; print(sorted(set(sys.modules) - before))")
        == "['flows', 'gc']"
    )


def test_core_needs_no_prefect_and_no_network() -> None:
    loaded = run_fresh(
        "import pkgutil, importlib, sys, flows.core\n"
        "for m in pkgutil.walk_packages(flows.core.__path__, 'flows.core.'): importlib.import_module(m.name)\n"
        "print([n for n in ('prefect', 'pydantic', 'boto3', 'pymongo', 'httpx') if n in sys.modules])"
    )
    # `bson` comes in one distribution with the driver and does not load it.
    assert loaded == "[]"


def test_no_module_of_flows_has_the_name_of_an_installed_one() -> None:
    for path in (ROOT / "flows").glob("*.py"):
        if not path.stem.startswith("__"):
            assert path.stem not in sys.stdlib_module_names
            assert importlib.util.find_spec(path.stem) is None, path


def test_core_reads_no_clock() -> None:
    for path in (ROOT / "flows" / "core").rglob("*.py"):
        text = path.read_text()
        assert "datetime.now(" not in text, path
        assert "time.time(" not in text, path


def test_the_version_is_one() -> None:
    from flows.core.version import __version__

    assert f'version = "{__version__}"' in (ROOT / "pyproject.toml").read_text()
