"""Where a drill restores into: a throw-away MongoDB on the worker, or databases of its own on a given server."""

from __future__ import annotations

import contextvars
import logging
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from pydantic import SecretStr

from blocks import MongoDBTarget
from flows.core.drill import finding_of
from flows.core.errors import BackupError
from flows.core.evidence import Finding
from flows.core.manifest import Manifest
from flows.mongo.children import Children
from flows.mongo.mongod import Mongod
from flows.mongo.scratch import check_not_source, drop_scratch, renew_lease, scratch_name, sweep_scratch
from flows.tasks.options import stage
from flows.tasks.run import Run

logger = logging.getLogger(__name__)

_RENEW_SECONDS = 60.0
ROOM_BYTES = 512 * 1024 * 1024  # for the journal, the oplog and the program of a MongoDB of our own
# Nothing may expire while it is looked at; and of the oplog nobody wants more than the newest moment [MB].
_OPTIONS = ("--setParameter", "ttlMonitorEnabled=false", "--oplogSize", "128")


@dataclass
class Scratch:
    """A scratch target that is ready. What goes wrong when it is removed is among its findings."""

    target: MongoDBTarget
    name: str  # what the names of its databases begin with
    own: bool  # whether the whole server is the drill's
    description: str
    findings: list[Finding] = field(default_factory=list)


@contextmanager
def embedded_scratch(run: Run, manifest: Manifest, *, cache_gb: float) -> Iterator[Scratch]:
    """A MongoDB that lives as long as the block, on 127.0.0.1, with its data in the spool folder of the run.

    Nobody else can log in. A process that watches over it ends it and removes its data when this process dies.

    Raises:
        ConfigurationError: There is no `mongod` on this machine.
        SpoolError: There is too little room.
    """
    run.spool.require(manifest.bson_bytes + ROOM_BYTES)
    name = scratch_name(run.id)
    children = Children(within=run.spool.folder)
    problem: list[Finding] = []
    try:
        mongod = Mongod(
            children,
            "scratch",
            replica_set=name,
            auth=("drill", secrets.token_urlsafe(32)),
            options=("--wiredTigerCacheSizeGB", str(cache_gb), *_OPTIONS),
        )
        mongod.start()
        target = MongoDBTarget(connection_string=SecretStr(mongod.uri))
        logger.info("started a throw-away MongoDB on port %d", mongod.port)
        yield Scratch(target, name, True, "a throw-away MongoDB on the worker", problem)
    except BaseException:  # a cancellation too
        run.settle()  # so that no task waits for a server that is gone
        raise
    finally:
        _removed(children.close, "the throw-away MongoDB", problem)


@contextmanager
def given_scratch(run: Run, target: MongoDBTarget, manifest: Manifest) -> Iterator[Scratch]:
    """Databases on a given server that live as long as the block.

    Raises:
        Refused: It is the source of the backup, or may be. Nothing has been written then.
        TargetError: It cannot be used.
    """
    refuse_source(target, manifest)
    name = scratch_name(run.id)
    problem: list[Finding] = []
    for swept in sweep(target):
        logger.warning("dropped the databases %s_… of a drill that was killed", swept)
    try:
        with _lease_renewed(target, name):
            yield Scratch(target, name, False, f"databases {name}_… of a given server", problem)
    except BaseException:  # a cancellation too
        run.settle()  # a task that still loads would make them again
        raise
    finally:
        _removed(lambda: _drop(target, name), f"the databases {name}_…", problem)


@stage(name="refuse-source", task_run_name="see that the target is not the source")
def refuse_source(target: MongoDBTarget, manifest: Manifest) -> None:
    """See that a server is not the source of a backup, by its identity."""
    with target.open() as server:
        check_not_source(server, manifest)


@stage(name="sweep-scratch", task_run_name="sweep what killed drills left")
def sweep(target: MongoDBTarget) -> list[str]:
    """Drop what drills have left that were killed."""
    with target.open() as server:
        return sweep_scratch(server)


def _drop(target: MongoDBTarget, name: str) -> None:
    with target.open() as server:
        drop_scratch(server, name)
    logger.info("dropped the databases %s_…", name)


def _renew(target: MongoDBTarget, name: str) -> None:
    with target.open() as server:
        renew_lease(server, name)


@contextmanager
def _lease_renewed(target: MongoDBTarget, name: str) -> Iterator[None]:
    _renew(target, name)
    finished = threading.Event()

    def work() -> None:
        while not finished.wait(_RENEW_SECONDS):
            try:
                _renew(target, name)
            except BackupError as error:
                logger.warning("the lease of the drill could not be renewed: %s", error.message)

    thread = threading.Thread(target=contextvars.copy_context().run, args=(work,), daemon=True, name="lease")
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()


def _removed(remove: Callable[[], None], what: str, findings: list[Finding]) -> None:
    try:
        remove()
    except BackupError as error:
        logger.error("%s could not be removed; the next drill tries again: %s", what, error)  # noqa: TRY400 - no trace
        findings.append(finding_of(error, ""))
