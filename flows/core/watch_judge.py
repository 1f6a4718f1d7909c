"""Judging the backups of a plan in a store: what is late, never ran, is damaged or looks wrong.

Only what is in the store counts: it is the same whether Prefect runs, its schedule is paused or its worker is gone.
All is well only with a plan that has been backed up, verified and drilled, each of them lately enough.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from flows.core.errors import BackupError
from flows.core.evidence import Finding
from flows.core.keys import backup_id, backup_time
from flows.core.markup import visible
from flows.core.report import counted, format_duration, format_time
from flows.core.results import Outcome
from flows.core.verify_report import VerifyReport
from flows.core.watch import Fact, Kind, Limits, Seen, Sighting, StoreWatch, limit_text
from flows.core.watch_compare import Suspicion, fewer, smaller, vanished

SKEW = timedelta(minutes=5)  # clocks of workers may differ so much before a time counts as one of the future


def good_backups(backups: Iterable[Seen], *, now: datetime, trusted: Sequence[str]) -> list[Seen]:
    """The backups that count, newest first: not damaged, not of the future, and of a trusted signer where any is named.

    Args:
        backups: All there are.
        now: Aware.
        trusted: Public keys of those who may sign; none: nobody is asked for.
    """
    return sorted(
        (
            item
            for item in backups
            if not item.damage and item.taken <= now + SKEW and (not trusted or item.facts.signer in trusted)
        ),
        key=lambda item: item.facts.backup,
        reverse=True,
    )


def judge(
    seen: Sighting, limits: Limits, *, plan: str, store: str, now: datetime, trusted: Sequence[str] = ()
) -> StoreWatch:
    """Say what is wrong with the backups of a plan in a store.

    Args:
        seen: What is there.
        limits: What is taken for late or suspicious.
        plan: Whose.
        store: Its name.
        now: Aware.
        trusted: As for `good_backups`.
    """
    good = good_backups(seen.backups, now=now, trusted=trusted)
    newest = good[0] if good else None
    ids = [item.facts.backup for item in seen.backups] + [backup for backup, _ in seen.unreadable]
    verified = _last([seen.verified, *(item.standing.looked for item in seen.backups)], now)
    judging = _Judging(seen, limits, plan, store, now, newest, verified, max(ids, default=""))
    facts = [
        *judging.late_backup(len(ids)),
        *judging.bad_backups(trusted),
        *(judging.late_verification() if good else ()),
        *(judging.late_drill() if good else ()),
        *(judging.suspicions() if newest is not None and seen.contents else ()),
    ]
    order = list(Kind)
    attempts = [seen.attempt.began if seen.attempt else None, *map(backup_time, ids)]
    of_newest = newest.facts if newest else None
    measured = seen.contents[0] if seen.contents else None
    return StoreWatch(
        plan=plan,
        store=store,
        location=seen.location,
        at=now,
        readable=True,
        facts=tuple(sorted(facts, key=lambda fact: order.index(fact.kind))),
        listed=len(ids),
        good=len(good),
        newest=of_newest.backup if of_newest else "",
        attempted=_last(attempts, now),
        seconds=measured.seconds if measured and of_newest and measured.backup == of_newest.backup else None,
        stored_bytes=of_newest.stored_bytes if of_newest else None,
        bson_bytes=of_newest.bytes if of_newest else None,
        documents=of_newest.documents if of_newest else None,
        verified=verified,
        drilled=_last([seen.drills.passed], now),
    )


def unreadable_store(plan: str, store: str, error: BackupError, *, at: datetime) -> StoreWatch:
    """What is known where the store cannot be read."""
    hint = f"{error.hint} " if error.hint else ""
    where = str(error.facts.get("store", ""))
    what = f"the store cannot be read: {error.message}" + (f" ({where})" if where else "")
    todo = f"{hint}Until it can be, nobody knows whether there is a backup."
    return StoreWatch(plan, store, where, at, False, (Fact(Kind.STORE_UNREADABLE, plan, store, what, todo),))


def damaged(plan: str, store: str, backup: str, why: str, *, newest: bool = False) -> Fact:
    """The fact of a backup that is no good copy.

    Args:
        plan: Whose.
        store: Where.
        backup: Its id.
        why: As a lower-case fact.
        newest: Whether it is the newest of the plan.
    """
    return Fact(
        Kind.BACKUP_DAMAGED,
        plan,
        store,
        f"{'the newest backup' if newest else 'backup'} {backup} is no good copy: {visible(why)}",
        "Take a new backup now. Bring back what was changed, from the versions of the bucket or a second copy, and "
        f"run `verify` with backup={backup}; the page verify-{plan} has the findings of a verification.",
        backup,
    )


def found_damaged(report: VerifyReport, store: str) -> tuple[Fact, ...]:
    """The facts of the backups in which a verification has found anything, the same as a watch sees afterwards.

    What was expected and found stays out of them: it may be parts of options and indexes, in which people write values.

    Args:
        report: Of the verification.
        store: The name that the operator gave the store.
    """
    facts = []
    for one in report.backups:
        if one.findings:
            first = one.findings[0]
            found = "found it damaged" if one.outcome is Outcome.DAMAGED else "could not open it"
            more = f", and {counted(len(one.findings) - 1, 'more finding')}" if len(one.findings) > 1 else ""
            why = f"the verification of {format_time(report.started)} {found}: {first.what} ({first.key}){more}"
            facts.append(damaged(report.plan, store, one.backup, why))
    return tuple(facts)


def failed_drill(plan: str, store: str, ended: datetime, findings: Sequence[Finding]) -> Fact:
    """The fact of a drill that failed.

    Args:
        plan: Whose.
        store: Where the backup is.
        ended: When, aware.
        findings: Of the drill.
    """
    first = findings[0] if findings else None
    why = f": {first.what}" + (f" ({first.where})" if first.where else "") if first else ""
    more = f", and {counted(len(findings) - 1, 'more finding')}" if len(findings) > 1 else ""
    return Fact(
        Kind.DRILL_FAILED,
        plan,
        store,
        f"the drill of {format_time(ended)} failed{visible(why)}{more}",
        f"The page drill-{plan} under Artifacts has all findings. Do not rely on that backup before they are "
        "explained, and drill another one.",
        backup_id(ended),
    )


@dataclass(frozen=True, slots=True)
class _Judging:
    seen: Sighting
    limits: Limits
    plan: str
    store: str
    now: datetime
    newest: Seen | None  # good backup
    verified: datetime | None
    newest_id: str  # of all that are listed

    def _fact(self, kind: Kind, what: str, todo: str, about: str = "") -> Fact:
        return Fact(kind, self.plan, self.store, what, todo, about)

    def _ago(self, moment: datetime) -> str:
        return format_duration(max(self.now - moment, timedelta(0)))

    def late_backup(self, listed: int) -> Iterator[Fact]:
        limit = self.limits.backup
        tried = self._attempt()
        if not listed:
            yield self._fact(
                Kind.BACKUP_NEVER,
                f"no backup of this plan is in the store{tried}",
                "Check the names of plan and store, then run the flow `backup` and look at what it says.",
            )
        elif self.newest is None:
            yield self._fact(
                Kind.BACKUP_LATE,
                f"none of the backups in the store, {listed} in all, is a good copy{tried}",
                "Take a new backup now: nothing could be restored for certain.",
            )
        elif limit is not None and self.now - self.newest.taken > limit:
            yield self._fact(
                Kind.BACKUP_LATE,
                f"the newest good backup is {self._ago(self.newest.taken)} old, at most {limit_text(limit)}{tried}",
                _run_now("backup"),
            )

    def _attempt(self) -> str:
        attempt = self.seen.attempt
        if attempt is None or (self.newest is not None and attempt.began <= self.newest.taken):
            return ""
        left = counted(attempt.objects, "object")
        return f"; an attempt of {format_time(attempt.began)} has left {left} so far: it is under way, or it failed"

    def bad_backups(self, trusted: Sequence[str]) -> Iterator[Fact]:
        for item in self.seen.backups:
            backup = item.facts.backup
            if item.damage:
                yield damaged(self.plan, self.store, backup, item.damage, newest=backup == self.newest_id)
            if trusted and item.facts.signer not in trusted and backup == self.newest_id:
                signer = f"signed by {visible(item.facts.signer)}" if item.facts.signer else "not signed"
                yield self._fact(
                    Kind.SIGNER_UNKNOWN,
                    f"the newest backup {backup} is {signer}, and no trusted signer vouches for it",
                    "It may be forged: find out who writes to the bucket. Where the plan has a new signing key, add "
                    "its public key to the trusted signers.",
                    backup,
                )
        for backup, problem in self.seen.unreadable:
            yield self._fact(
                Kind.MANIFEST_UNREADABLE,
                f"the manifest of {'the newest backup' if backup == self.newest_id else 'backup'} {backup} cannot be "
                f"used: {visible(problem)}",
                "That backup cannot be restored, and nothing of this plan is pruned. Bring the manifest back, from the "
                "versions of the bucket or a second copy, and take a new backup now.",
                backup,
            )
        every = [item.facts.backup for item in self.seen.backups] + [backup for backup, _ in self.seen.unreadable]
        for backup in every:
            if backup_time(backup) > self.now + SKEW:
                yield self._fact(
                    Kind.BACKUP_IN_FUTURE,
                    f"backup {backup} is dated in the future, and does not count",
                    "Check the clocks of this machine and of the worker that took it. A restore of `latest` is refused "
                    "until that time: give ids.",
                    backup,
                )

    def late_verification(self) -> Iterator[Fact]:
        limit, newest = self.limits.verification, self.newest
        if limit is None or newest is None:
            return
        todo = _run_now("verify")
        if self.verified is None:
            yield self._fact(Kind.VERIFICATION_NEVER, "no verification has ever read a backup of this plan again", todo)
        elif self.now - self.verified > limit:
            what = f"the last verification was {self._ago(self.verified)} ago, at most {limit_text(limit)}"
            yield self._fact(Kind.VERIFICATION_LATE, what, todo)
        elif newest.standing.verified is None and self.now - newest.taken > limit:
            what = (
                f"no verification has read all of the newest good backup {newest.facts.backup} again, which is "
                f"{self._ago(newest.taken)} old, at most {limit_text(limit)}"
            )
            yield self._fact(Kind.VERIFICATION_LATE, what, todo)

    def late_drill(self) -> Iterator[Fact]:
        limit, drills = self.limits.drill, self.seen.drills
        if limit is None:
            return
        for key, why in self.seen.unusable:
            yield self._fact(
                Kind.EVIDENCE_UNREADABLE,
                f"evidence cannot be used, and does not count: {visible(f'{key}: {why}')}",
                "Run the flow `evidence-verify`: it says what is missing, changed, moved or forged.",
                key.rpartition("/")[2][:8],  # its number in the chain
            )
        todo = _run_now("drill")
        passed = _last([drills.passed], self.now)
        if drills.failed is not None:
            yield failed_drill(self.plan, self.store, drills.failed, drills.why)
        elif passed is None:
            yield self._fact(Kind.DRILL_NEVER, "no backup of this plan was ever restored in a drill that passed", todo)
        if passed is not None and self.now - passed > limit:
            what = f"the last drill that passed was {self._ago(passed)} ago, at most {limit_text(limit)}"
            yield self._fact(Kind.DRILL_LATE, what, todo)

    def suspicions(self) -> Iterator[Fact]:
        newest, *earlier = self.seen.contents
        limits = self.limits
        found: tuple[tuple[Kind, Suspicion | None], ...] = (
            (Kind.NAMESPACE_VANISHED, vanished(newest, earlier, limits.ignore)),
            (Kind.DOCUMENTS_FEWER, fewer(newest, earlier, limits.fewer_percent, limits.ignore)),
            (Kind.BACKUP_SMALLER, smaller(newest, earlier, limits.smaller_percent)),
        )
        for kind, suspicion in found:
            if suspicion is not None:
                yield self._fact(
                    kind,
                    suspicion.what,
                    f"If nobody meant that, keep backup {suspicion.before} from retention with the flow `hold`, and "
                    "look into the source. If it was meant, later backups end this.",
                    newest.backup,
                )


def _last(moments: Iterable[datetime | None], now: datetime) -> datetime | None:
    """The newest of these times, without those of the future: a wrong clock must not keep an alarm silent for years."""
    return max((moment for moment in moments if moment is not None and moment <= now + SKEW), default=None)


def _run_now(flow: str) -> str:
    why = "See in Prefect whether its schedule is paused, its worker is gone or its runs fail."
    return f"Run the flow `{flow}` now. {why}"
