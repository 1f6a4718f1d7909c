"""The proof of a chain of evidence, from what is in the store alone: what is missing, changed, moved or forged.

`FORMAT.md` has the table of what this can show and what not.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import pairwise

from flows.core.errors import ConfigurationError, IntegrityError, RepositoryError
from flows.core.evidence import ChainedRecord, Link, StoredEvidence

_HEAD = re.compile(r"[0-9a-f]{64}")


class Fault(StrEnum):
    """What can be wrong with a chain."""

    MISSING = "missing"
    CHANGED = "changed"
    MOVED = "moved"
    INSERTED = "inserted"
    FORGED = "forged"
    UNSIGNED = "not signed"
    UNUSABLE = "unusable"
    STRAY = "stray"
    CUT_OFF = "cut off"


@dataclass(frozen=True, slots=True)
class ChainFault:
    """One thing that is wrong.

    Attributes:
        fault: Which.
        what: As a sentence without a full stop.
        key: Of the object; of a missing record, of one that names it. Empty where nothing names it.
        expected: What should be there; empty where that says nothing.
        got: What is there.
    """

    fault: Fault
    what: str
    key: str = ""
    expected: str = ""
    got: str = ""

    def cells(self) -> dict[str, str]:
        """The row of a table."""
        return {
            "fault": self.fault.value,
            "what": self.what,
            "key": self.key or "-",
            "expected": self.expected or "-",
            "got": self.got or "-",
        }


@dataclass(frozen=True, slots=True)
class ChainReport:
    """What a chain is found to be.

    Attributes:
        plan: Whose evidence.
        records: How many are there that can be used.
        signed: How many of them are signed.
        signers: Who signed how many, most first; public keys.
        trusted: Whose signatures were asked for; none: nobody's.
        first: When the oldest was written, aware; None where there is none.
        last: When the newest was.
        head: The newest record, which stands for all before it.
        faults: What is wrong.
    """

    plan: str
    records: int
    signed: int
    signers: tuple[tuple[str, int], ...]
    trusted: tuple[str, ...]
    first: datetime | None
    last: datetime | None
    head: Link | None
    faults: tuple[ChainFault, ...]

    @property
    def whole(self) -> bool:
        """Whether nothing is found to be wrong."""
        return not self.faults

    @property
    def signatures(self) -> str:
        """Who vouches for the records, as a sentence without a full stop."""
        if not self.records:
            return "there is no record"
        if not self.signed:
            return "UNSIGNED: no record is signed, so whoever can write to the bucket can make up a whole chain"
        many = f"{self.signed} of {self.records} records are signed"
        if self.signed < self.records:
            many += "; whoever can write to the bucket can make up the others"
        if not self.trusted:
            return f"{many}, and nobody was told whom to trust: compare the signers with those that you know"
        if self.faults:
            return f"{many}; what no trusted signer signed is a fault"
        return f"{many}, all by trusted signers"

    def check(self) -> None:
        """Fail where anything is wrong.

        Raises:
            IntegrityError: With the first fault.
            RepositoryError: There is nothing that could be right or wrong.
        """
        if not self.records and not self.faults:
            raise RepositoryError(
                "there is no evidence of this plan",
                hint="Check plan and store. If drills or verifications have run, somebody has removed all of it.",
                plan=self.plan,
            )
        if self.faults:
            raise IntegrityError(
                "the evidence is not what was written",
                hint="Find out who writes to the bucket or deletes from it. Object Lock and versions of the bucket "
                "tell what was there; the head that you noted tells how much of the chain still stands.",
                plan=self.plan,
                faults=len(self.faults),
                first=self.faults[0].fault.value,
                what=self.faults[0].what,
                key=self.faults[0].key,
            )


def check_head(text: str) -> str:
    """Read the head that somebody noted.

    Raises:
        ConfigurationError: It is no SHA-256.
    """
    given = text.strip().lower()
    if not _HEAD.fullmatch(given):
        raise ConfigurationError(
            "not the head of a chain of evidence",
            hint="Give the SHA-256 that an earlier proof, report or run showed as its head: 64 hex digits.",
            got=given,
        )
    return given


class ChainCheck:
    """Takes what is stored in the order of the chain, and says what it is. It keeps no record, only their hashes.

    Args:
        plan: Whose evidence.
        trusted: Public keys of those who may sign; none: signatures are checked, and not asked for.
        expected_head: SHA-256 of a record that somebody noted; None: nobody did.
    """

    def __init__(self, plan: str, *, trusted: Iterable[str] = (), expected_head: str | None = None) -> None:
        self._plan, self._trusted, self._expected = plan, tuple(trusted), expected_head
        self._faults: list[ChainFault] = []
        self._there: dict[Link, str] = {}  # everything whose key is that of a record, sound or not
        self._usable: list[Link] = []
        self._named: dict[Link, str] = {}  # by whom
        self._signers: Counter[str] = Counter()
        self._first: datetime | None = None
        self._last: datetime | None = None

    def add(self, stored: StoredEvidence) -> ChainedRecord | None:
        """Take note of what is at one key; gives the record where it is what was written there by who may."""
        if stored.name is None:
            self._fault(Fault.STRAY, "this is not the key of a record", stored.key)
            return None
        self._there[Link(stored.name.sequence, stored.name.sha256)] = stored.key
        if stored.sha256 != stored.name.sha256:
            what = "the record was changed after it was written" if stored.sha256 else stored.problem
            self._fault(Fault.CHANGED, what, stored.key, stored.name.sha256, stored.sha256)
            return None
        if stored.record is None:
            self._fault(Fault.UNUSABLE, stored.problem, stored.key)
            return None
        if str(stored.record.key) != stored.key or stored.record.record.plan != self._plan:
            self._fault(
                Fault.MOVED, "the record belongs to another key", stored.key, str(stored.record.key), stored.key
            )
            return None
        return stored.record if self._take(stored.record, stored.key) else None

    def _take(self, record: ChainedRecord, key: str) -> bool:
        signer = record.signature.signer if record.signature is not None else ""
        if self._trusted and signer not in self._trusted:
            # It is not believed in anything, so neither in what it names.
            if signer:
                self._fault(Fault.FORGED, "nobody who is trusted has signed the record", key, got=signer)
            else:
                self._fault(Fault.UNSIGNED, "the record is not signed, and trusted signers are given", key)
            return False
        self._usable.append(Link(record.sequence, record.sha256))
        for link in record.before:
            self._named.setdefault(link, key)
        if signer:
            self._signers[signer] += 1
        self._first, self._last = self._first or record.recorded, record.recorded
        return True

    def _fault(self, fault: Fault, what: str, key: str = "", expected: str = "", got: str = "") -> None:
        self._faults.append(ChainFault(fault, what, key, expected, got))

    def report(self) -> ChainReport:
        """What the chain is, after all of it was added."""
        self._find_missing()
        newest = max((link.sequence for link in self._usable), default=0)
        for link in self._usable:
            if link.sequence < newest and link not in self._named:
                self._fault(
                    Fault.INSERTED,
                    "no later record names this one: it was put in afterwards, or three runs wrote at one moment",
                    self._there[link],
                )
        if self._expected is not None and self._expected not in {link.sha256 for link in self._usable}:
            self._fault(
                Fault.CUT_OFF,
                "the record that was noted as the head is not there: the chain was cut off or written anew",
                expected=self._expected,
            )
        return ChainReport(
            plan=self._plan,
            records=len(self._usable),
            signed=self._signers.total(),
            signers=tuple(self._signers.most_common()),
            trusted=self._trusted,
            first=self._first,
            last=self._last,
            head=self._usable[-1] if self._usable else None,
            faults=tuple(self._faults),
        )

    def _find_missing(self) -> None:
        for link, key in self._named.items():
            if link not in self._there:
                what = f"record {link.sequence} is missing: another one names it"
                self._fault(Fault.MISSING, what, key, expected=link.sha256)
        known = {link.sequence for link in (*self._there, *self._named)}
        for before, after in pairwise(sorted({0, *known})):
            if after > before + 1:
                which = f"record {before + 1} is" if after == before + 2 else f"records {before + 1} to {after - 1} are"
                self._fault(Fault.MISSING, f"{which} missing: the numbers have a gap")
