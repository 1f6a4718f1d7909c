"""Carrying out a drill: choose a backup, restore it into a scratch target, compare, ask the operator's checks."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime

from blocks import BackupStore, MongoDBTarget
from flows.core.access import Access
from flows.core.drill import (
    Rule,
    choose_backup,
    compare_contents,
    compare_listing,
    concerns_backup,
    finding_of,
    scratch_rename,
)
from flows.core.drill_checks import Check, CheckResult, check_findings
from flows.core.drill_report import DrillReport, Stage, limit_findings
from flows.core.encryption import Identities
from flows.core.errors import BackupError, BackupNotFound, ConfigurationError, Refused, Stopped
from flows.core.evidence import BackupEvidence, EvidenceKind, Finding, ObjectEvidence, Result
from flows.core.evidence import Check as Compared
from flows.core.keys import manifest_key
from flows.core.maintenance import Procedure
from flows.core.manifest import Manifest
from flows.core.merge import Existing
from flows.core.names import Namespace
from flows.core.restore_plan import RestoreRequest
from flows.core.version import versions
from flows.mongo.checking import run_check, try_check
from flows.mongo.scratch import EMPTY, make_empty, survey
from flows.storage.evidence import read_chain
from flows.storage.repository import Repository
from flows.tasks.find import check_access, find_backup
from flows.tasks.options import stage
from flows.tasks.publish import name_run, started_by
from flows.tasks.restore_job import RestoreJob
from flows.tasks.restoring import Manner, Precautions, Restored, carry_out
from flows.tasks.run import Run
from flows.tasks.scratch import Scratch, embedded_scratch, given_scratch

logger = logging.getLogger(__name__)

_BY_RESTORE = (
    Compared.LENGTH,
    Compared.SHA256,
    Compared.CRC,
    Compared.COUNTS,
    Compared.CONTENT,
)
_BY_LISTING = (
    Compared.NAMESPACES,
    Compared.INDEXES,
    Compared.OPTIONS,
    Compared.VALIDATORS,
    Compared.VIEWS,
)


@dataclass(frozen=True, slots=True)
class DrillOrder:
    """What the operator asked for."""

    plan: str
    rule: str  # or the id of a backup
    checks: tuple[Check, ...]
    rto_limit_minutes: float | None
    rpo_limit_hours: float | None
    cache_gb: float  # of a MongoDB of our own [GiB]
    in_flight: int  # segments worked on at a time
    time_zone: str


@dataclass
class Notebook:
    """What is known of a drill so far."""

    started: datetime
    rule: str
    backup: str
    manifest: Manifest | None = None
    manifest_sha256: str = ""
    manifest_bytes: int = 0
    target: str = "nothing was restored"
    restored: Restored | None = None
    rto_seconds: float | None = None
    objects: list[ObjectEvidence] = field(default_factory=list)
    stages: list[Stage] = field(default_factory=list)
    compared: list[str] = field(default_factory=list)
    checks: list[CheckResult] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    aside: list[Finding] = field(default_factory=list)  # that say nothing of the backup
    judged: bool = False  # whether it is known of the backup whether it is good
    notes: list[str] = field(default_factory=list)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Take the time of a part."""
        begun = datetime.now(UTC)
        try:
            yield
        finally:
            self.stages.append(Stage(name, (datetime.now(UTC) - begun).total_seconds()))

    def found(self, error: BackupError) -> None:
        """Note an error that ends the drill."""
        self.findings.append(finding_of(error, self.backup))
        self.judged = self.judged or concerns_backup(error)

    @property
    def data_from(self) -> datetime | None:
        """The time that the backup shows."""
        if self.manifest is None or self.manifest.cluster_time is None:
            return self.manifest.started if self.manifest else None
        return datetime.fromtimestamp(self.manifest.cluster_time.seconds, UTC)

    def report(self, run: Run, order: DrillOrder) -> DrillReport:
        """The end of it."""
        manifest, done = self.manifest, self.restored
        finished = datetime.now(UTC)
        report = DrillReport(
            plan=order.plan,
            backup=self.backup,
            rule=self.rule,
            target=self.target,
            by=started_by(),
            run=run.id,
            started=self.started,
            finished=finished,
            time_zone=order.time_zone,
            data_from=self.data_from,
            namespaces=len(done.plan.items) if done else 0,
            indexes=done.indexes if done else 0,
            read_back=done.read_back if done else 0,
            backed_up=BackupEvidence(
                backup=self.backup,
                result=Result.FAILED if self.findings else Result.PASSED,
                manifest_sha256=self.manifest_sha256,
                documents=manifest.documents if manifest else 0,
                bson_bytes=manifest.bson_bytes if manifest else 0,
                stored_bytes=manifest.stored_bytes if manifest else 0,
                checked_bytes=sum(item.bytes for item in self.objects if not item.key.endswith(".json")),
                encrypted=bool(manifest and manifest.recipients),
                signed=bool(manifest and manifest.signature),
            ),
            objects=tuple(self.objects),
            stages=tuple(self.stages),
            rto_seconds=self.rto_seconds,
            rto_limit_minutes=order.rto_limit_minutes,
            rpo_limit_hours=order.rpo_limit_hours,
            compared=tuple(self.compared),
            checks=tuple(self.checks),
            findings=(*self.findings, *self.aside),
            judged=self.judged,
            notes=tuple(self.notes),
            versions=versions() | ({"source mongod": manifest.source.server_version} if manifest else {}),
        )
        late = limit_findings(
            rto_seconds=report.rto_seconds,
            rpo_seconds=report.rpo_seconds,
            rto_limit_minutes=order.rto_limit_minutes,
            rpo_limit_hours=order.rpo_limit_hours,
        )
        return replace(report, findings=report.findings + tuple(late))


def rehearse(
    run: Run, store: BackupStore, server: MongoDBTarget | None, keys: Identities, order: DrillOrder
) -> DrillReport:
    """Restore one backup into a scratch target, and find out whether it is what its manifest says.

    Whatever is wrong with the backup, or with what came of it, is a finding of the report. The scratch target is gone
    at the end, however that comes.

    Args:
        run: The flow run.
        store: Where the backups are.
        server: Where to restore into; None: a throw-away MongoDB on the worker.
        keys: What opens the backup, and who may have signed it.
        order: What the operator asked for.

    Raises:
        BackupNotFound: There is no backup.
        Refused, ConfigurationError: The drill cannot be done as it was asked for.
        StoreUnavailable: The store does not answer.
    """
    started = datetime.now(UTC)
    backup, rule = choose(store, order.plan, order.rule, started.date())
    name_run(f"drill {order.plan} {backup}")
    book = Notebook(started, rule, backup)
    found = _look_up(store, keys, order.plan, book)
    if found is not None:
        try:
            _restore_and_compare(run, store, server, *found, order, book)
        except (Refused, ConfigurationError, Stopped):
            raise
        except BackupError as error:
            logger.error("the drill came to an early end: %s", error)  # noqa: TRY400 - its task has the trace
            book.found(error)
    return book.report(run, order)


def _look_up(store: BackupStore, keys: Identities, plan: str, book: Notebook) -> tuple[Manifest, Access] | None:
    """Read the manifest and see that the backup can be opened; None where there is a finding instead."""
    try:
        with book.stage("find the backup"):
            book.manifest_sha256, size = hash_manifest(store, plan, book.backup)
            book.objects.append(ObjectEvidence(manifest_key(plan, book.backup), size, book.manifest_sha256))
            manifest = find_backup(store, plan, book.backup)
            book.manifest = manifest
            access = check_access(store, manifest, keys)
    except BackupNotFound:
        raise
    except BackupError as error:
        if error.retryable:
            raise  # nothing is known of the backup
        logger.error("the backup cannot be used: %s", error)  # noqa: TRY400 - its task has the trace
        book.found(error)
        return None
    book.notes += [*access.lines(manifest), *(f"* **Warning**: {warning}" for warning in manifest.warnings)]
    if manifest.users:
        book.notes.append("* **Users and roles** of the backup were left out")
    book.compared += [Compared.SIGNATURE] if keys.signers else []
    book.compared += [Compared.DECRYPTION] if access.identity else []
    return access.opened(manifest), access


def _restore_and_compare(
    run: Run,
    store: BackupStore,
    server: MongoDBTarget | None,
    manifest: Manifest,
    access: Access,
    order: DrillOrder,
    book: Notebook,
) -> None:
    opening = (
        embedded_scratch(run, manifest, cache_gb=order.cache_gb)
        if server is None
        else given_scratch(run, server, manifest)
    )
    scratch: Scratch | None = None
    try:
        with ExitStack() as stack:
            with book.stage("start the scratch target"):
                scratch = stack.enter_context(opening)
                prepare_checks(scratch.target, scratch.name, order.checks)
            job = RestoreJob(run.id, scratch.target, store, manifest, access)
            done = _restore(run, job, scratch, order, book)
            with book.stage("compare"):
                listed = list_scratch(job, scratch.name, own=scratch.own)
                differences = compare_listing(done.plan.items, listed, hold_ttl=not scratch.own)
                # Documents were counted before, too.
                book.findings += [found for found in differences if found not in book.findings]
                book.compared += _BY_LISTING
            book.rto_seconds = (datetime.now(UTC) - book.started).total_seconds()
            book.judged = True
            with book.stage("checks of the operator"):
                _ask(job, done, order, book)
    finally:
        book.aside += scratch.findings if scratch else []


def _restore(run: Run, job: RestoreJob, scratch: Scratch, order: DrillOrder, book: Notebook) -> Restored:
    manifest = job.manifest
    try:
        with book.stage("restore and read back"):
            done = carry_out(
                run,
                job,
                RestoreRequest(rename={} if scratch.own else scratch_rename(manifest, scratch.name)),
                Precautions(confirm="", into_source=False, approval=None, safety_plan=""),
                Manner(hold_ttl=not scratch.own, prove=True, majority=False, in_flight=order.in_flight),
                Procedure(),
                page=f"drilled-restore-{order.plan}",
                dry_run=False,
                judged=False,
            )
    finally:
        read = [segment for segment in manifest.segments if segment.name in run.loaded]
        book.objects += [ObjectEvidence(manifest.segment_key(s), s.bytes, s.sha256) for s in read]
    book.restored = done
    book.target = f"{scratch.description}: {done.plan.target}"
    if not scratch.own:
        book.notes.append("* **Expiry** of documents was held: the times of TTL indexes were not compared")
    book.findings += compare_contents(done.plan.items, done.proofs)
    book.judged = bool(book.findings)
    book.compared += _BY_RESTORE
    return done


def _ask(job: RestoreJob, done: Restored, order: DrillOrder, book: Notebook) -> None:
    places = {item.record.namespace: item.target for item in done.plan.items}
    taken = book.data_from or book.started
    book.checks += [
        ask(job, check, places.get(check.namespace), taken=taken, now=book.started) for check in order.checks
    ]
    book.findings += check_findings(book.checks)
    book.compared += [Compared.ASSERTIONS] if order.checks else []


@stage(name="choose", task_run_name="choose a backup of {plan}: {rule}")
def choose(store: BackupStore, plan: str, rule: str, day: date) -> tuple[str, str]:
    """Choose the backup of a drill; gives its id and the rule."""
    opened = store.open()
    backups = Repository(opened, plan).backup_ids()
    drilled: dict[str, datetime] = {}
    if rule == Rule.IN_TURN:
        for stored in read_chain(opened, plan):
            if stored.record is not None and stored.record.record.kind is EvidenceKind.DRILL:
                earlier = stored.record.record
                for item in earlier.backups:
                    drilled[item.backup] = max(earlier.finished, drilled.get(item.backup, earlier.finished))
    backup, by = choose_backup(rule, backups, plan=plan, day=day, drilled=drilled)
    logger.info("chose backup %s of plan %s: %s of %d", backup, plan, by, len(backups))
    return backup, by


@stage(name="hash-manifest", task_run_name="hash manifest of {backup}")
def hash_manifest(store: BackupStore, plan: str, backup: str) -> tuple[str, int]:
    """SHA-256 and size [bytes] of a manifest as it is stored."""
    return Repository(store.open(), plan).manifest_hash(backup)


@stage(name="try-checks", task_run_name="try the checks")
def prepare_checks(server: MongoDBTarget, scratch: str, checks: tuple[Check, ...]) -> None:
    """See that the server takes all checks."""
    if checks:
        with server.open() as target:
            make_empty(target, scratch)
            for check in checks:
                try_check(target, check, Namespace(scratch, EMPTY))


@stage(name="list-scratch", task_run_name="list what is there")
def list_scratch(job: RestoreJob, scratch: str, *, own: bool) -> list[Existing]:
    """List what the scratch target has in the end."""
    with job.target.open() as target:
        return survey(target, job.manifest, scratch, own=own)


@stage(name="check", task_run_name="check: {check.name}")
def ask(job: RestoreJob, check: Check, place: Namespace | None, *, taken: datetime, now: datetime) -> CheckResult:
    """Ask one of the operator's checks."""
    with job.target.open() as target:
        result = run_check(target, check, place, taken=taken, now=now)
    say = logger.info if result.ok else logger.error
    say("%s: %s: expected %s, got %s", result.name, "passed" if result.ok else "failed", result.expected, result.got)
    return result
