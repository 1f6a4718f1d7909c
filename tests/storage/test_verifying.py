"""Stored backups are read again: what is wrong with them is found, marked, and cleared only by the same bytes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Generator
from datetime import timedelta
from pathlib import Path

import bson
import pytest

from flows.core.compress import Compression, compress_file
from flows.core.encryption import Identities, Protection
from flows.core.errors import BackupNotFound, ConfigurationError
from flows.core.manifest import Manifest, NamespaceRecord
from flows.core.results import Outcome
from flows.core.verification import Finding
from flows.storage.listing import list_repository
from flows.storage.memory import MemoryStore
from flows.storage.verifying import (
    Due,
    open_backup,
    plan_verification,
    read_standing,
)
from tests.support.protected import INVOICES, store_backup, unsigned
from tests.support.repositories import prune
from tests.support.samples import STARTED, archive, collection, entry
from tests.support.verifications import (
    ALICE,
    EVE,
    KEY,
    NOW,
    OPEN,
    OPERATOR,
    SEALED,
    STRANGER,
    Scene,
    good,
    scene_of,
    states,
    verify,
)


@pytest.fixture(params=["open", "sealed"])
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Scene:
    return scene_of({"open": dataclasses.replace(OPEN, signing_key=KEY), "sealed": SEALED}[request.param], tmp_path)


def test_sound_backups_are_said_to_be_sound(scene: Scene) -> None:
    newest, older = verify(scene.store)
    assert (newest.backup, older.backup) == (scene.other.backup, scene.backup.backup)
    assert [one.outcome for one in (newest, older)] == [Outcome.SOUND, Outcome.SOUND]
    assert (older.segments_read, older.documents, older.walked) == (3, 60, 60)
    assert older.stored_bytes == scene.backup.stored_bytes
    assert older.bson_bytes == scene.backup.bson_bytes
    assert older.signature == f"signed by `{KEY.public}`, a trusted signer"
    stored = json.loads(scene.get(older.result_key))
    assert [part["sha256"] for part in stored["read"]] == [part.sha256 for part in scene.backup.segments]
    assert older.manifest_sha256 == stored["manifest_sha256"]
    assert hashlib.sha256(scene.get(scene.backup.key)).hexdigest() == older.manifest_sha256
    assert hashlib.sha256(scene.get(older.result_key)).hexdigest() == older.result_sha256
    assert set(states(scene.store).values()) == {"listed"}
    rows = list_repository(scene.store, "mpg", now=NOW)
    assert [row.standing.verified for row in rows] == [NOW, NOW]
    assert [row.cells()["read again"] for row in rows] == ["2026-03-09 04:00 UTC"] * 2


# Every kind of damage: found with its place, shown, and no good copy.


def flip_a_bit(scene: Scene) -> str:
    scene.flip(scene.key(1), 700)
    return scene.key(1)


def flip_the_first_bit(scene: Scene) -> str:
    scene.flip(scene.key(), 0)
    return scene.key()


def truncate(scene: Scene) -> str:
    scene.store.put(scene.key(2), scene.get(scene.key(2))[:-100])
    return scene.key(2)


def lengthen(scene: Scene) -> str:
    scene.store.put(scene.key(2), scene.get(scene.key(2)) + b"x")
    return scene.key(2)


def swap_segments(scene: Scene) -> str:
    first, second = scene.get(scene.key(0)), scene.get(scene.key(1))
    scene.store.put(scene.key(0), second)
    scene.store.put(scene.key(1), first)
    return scene.key(0)


def take_a_segment_of_another_backup(scene: Scene) -> str:
    scene.store.put(scene.key(), scene.get(scene.other.segment_key(scene.other.segments[0])))
    return scene.key()


def lose_a_segment(scene: Scene) -> str:
    scene.store.delete([scene.key(1)])
    return scene.key(1)


def take_the_manifest_of_another_backup(scene: Scene) -> str:
    scene.store.put(scene.backup.key, scene.get(scene.other.key))
    return scene.backup.key


def change_the_manifest(scene: Scene) -> str:
    changed = scene.get(scene.backup.key).replace(b'"server_version":"6.0.5"', b'"server_version":"6.0.6"')
    scene.store.put(scene.backup.key, changed)
    return scene.backup.key


def break_the_manifest(scene: Scene) -> str:
    scene.store.put(scene.backup.key, b"{")
    return scene.backup.key


def forge_the_manifest(scene: Scene) -> str:
    scene.store.put(scene.backup.key, unsigned(scene.backup).signed(STRANGER).to_json())
    return scene.backup.key


def take_the_signature_off(scene: Scene) -> str:
    scene.store.put(scene.backup.key, unsigned(scene.backup).to_json())
    return scene.backup.key


DAMAGES = [
    flip_a_bit,
    flip_the_first_bit,
    truncate,
    lengthen,
    swap_segments,
    take_a_segment_of_another_backup,
    lose_a_segment,
    take_the_manifest_of_another_backup,
    change_the_manifest,
    break_the_manifest,
    forge_the_manifest,
    take_the_signature_off,
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damage_is_found_shown_and_no_good_copy(scene: Scene, damage: Callable[[Scene], str]) -> None:
    key = damage(scene)

    newest, older = verify(scene.store)

    assert older.outcome is Outcome.DAMAGED
    assert key in {finding.key for finding in older.findings}
    assert all(finding.expected or finding.got or finding.what for finding in older.findings)
    assert newest.outcome is Outcome.SOUND
    assert newest.findings == ()
    assert states(scene.store)[scene.backup.backup] != "listed"
    assert good(scene.store) == {scene.other.backup}
    if damage in (truncate, lengthen):
        record, got = scene.backup.segments[2], scene.get(key)
        found = [finding for finding in older.findings if "not as long" in finding.what and not finding.namespace]
        assert [(f.key, f.expected, f.got) for f in found if f.expected == str(record.bytes)] == [
            (key, str(record.bytes), str(len(got)))
        ]
    # Every segment that is there was read, whatever is wrong with others.
    if key != scene.backup.key:
        assert older.segments_read == (2 if damage is lose_a_segment else 3)


def test_a_damaged_backup_takes_no_place_from_a_good_one(scene: Scene) -> None:
    """The newest three are kept: the damaged newest does not count, so the oldest stays."""
    store_backup(scene.store, scene.folder, SEALED, started=STARTED - timedelta(hours=1), seed=2)
    newest = scene.other
    place = newest.segment_key(newest.segments[1])
    scene.flip(place, 500)
    rules = {"days": 0, "last": 2, "at_least": 2, "dry_run": True}
    assert len(prune(scene.store, **rules).plan.remove) == 1
    verify(scene.store)
    plan = prune(scene.store, **rules).plan
    assert plan.remove == ()
    assert "one of the last 2 verified" in plan.decisions[-1].reason
    assert newest.backup not in plan.relied_on


def test_findings_name_key_namespace_offset_expected_and_got(tmp_path: Path) -> None:
    """A document is changed in a stored archive: nothing but CRC, digest and SHA-256 can tell."""
    scene = scene_of(OPEN, tmp_path)
    data = scene.get(scene.key(1))
    scene.flip(scene.key(1), data.index(b"\x05n\x00") + 20)
    (older,) = verify(scene.store, identities=Identities(), backup=scene.backup.backup)
    end = data.index(b"EOF\x00\x01") - len(bson.encode({"db": "mpg", "collection": "invoices"}))
    key, namespace = scene.key(1), "mpg.invoices"
    assert [(f.what, f.key, f.namespace, f.offset) for f in older.findings] == [
        ("CRC of a namespace in the archive does not match its documents", key, namespace, end),
        ("the CRC of the documents differs", key, namespace, end),
        ("the content digest of the documents differs", key, namespace, end),
        ("the SHA-256 of the object is not the one in the manifest", key, "", None),
    ]
    assert older.findings[3].expected == scene.backup.segments[1].sha256
    assert older.findings[3].got == hashlib.sha256(scene.get(key)).hexdigest()


def remake(scene: Scene, segment: int, documents: bytes, info: object = INVOICES, **changes: object) -> Manifest:
    """Put another archive in place of a segment, and make all that is outside of it fit: sizes and SHA-256."""
    plain = scene.folder / "plain"
    plain.write_bytes(archive({info: documents}))  # type: ignore[dict-item]
    record = scene.backup.segments[segment]
    packed = compress_file(
        plain, scene.folder / "packed", Compression.NONE, recipients=record.recipients, progress=lambda _: None
    )
    scene.store.put(scene.key(segment), packed.path.read_bytes())
    made = dataclasses.replace(
        record, bytes=packed.bytes, sha256=packed.sha256, archive_bytes=plain.stat().st_size, **changes
    )
    segments = [made if i == segment else other for i, other in enumerate(scene.backup.segments)]
    return dataclasses.replace(unsigned(scene.backup), segments=tuple(segments))


def documents_of(scene: Scene, segment: int) -> bytes:
    """Those of a segment that is not encrypted."""
    data = scene.get(scene.key(segment))
    begin = data.index(b"CRC\x00") + 4 + 8 + 1
    return data[begin : begin + scene.backup.segments[segment].entries[0].totals.bytes]


@pytest.mark.parametrize(
    "change",
    ["one document fewer", "another document", "other metadata", "another namespace"],
)
@pytest.mark.parametrize("protection", [OPEN, SEALED], ids=["open", "sealed"])
def test_an_archive_with_other_contents_is_found_though_all_outer_checksums_fit(
    tmp_path: Path, protection: Protection, change: str
) -> None:
    plain = documents_of(scene_of(OPEN, tmp_path), 0)  # the same in both
    scene = scene_of(protection, tmp_path)
    size = int.from_bytes(plain[:4], "little")
    info = INVOICES
    if change == "one document fewer":
        plain = plain[size:]
    elif change == "another document":
        plain = plain[: size - 5] + bytes([plain[size - 5] ^ 1]) + plain[size - 4 :]
    elif change == "other metadata":
        info = dataclasses.replace(INVOICES, metadata=INVOICES.metadata.replace("abab", "cdcd"))
    else:
        info = collection("mpg.others")
    scene.store.put(scene.backup.key, remake(scene, 0, plain, info).to_json())

    (older,) = verify(scene.store, identities=Identities((ALICE,)), backup=scene.backup.backup)

    assert {
        "one document fewer": {
            "the number of documents differs",
            "the size of the documents differs",
            "the CRC of the documents differs",
            "the content digest of the documents differs",
        },
        "another document": {"the CRC of the documents differs", "the content digest of the documents differs"},
        "other metadata": {"options and indexes differ"},
        "another namespace": {"a namespace is not in the archive", "the manifest names no such namespace"},
    }[change] == {finding.what for finding in older.findings}
    assert good(scene.store) == {scene.other.backup}


def test_documents_that_are_not_bson_are_found_though_every_checksum_fits(tmp_path: Path) -> None:
    scene = scene_of(OPEN, tmp_path)
    sound = documents_of(scene, 0)
    broken = bytearray(sound)
    place = broken.index(b"\x05n\x00")
    broken[place] = 0x55
    forged = remake(scene, 0, bytes(broken), entries=(entry(INVOICES, bytes(broken)),))
    total = forged.segments[0].entries[0].totals.content
    for part in forged.segments[1:]:
        total = total.merge(part.entries[0].totals.content)
    record: NamespaceRecord = dataclasses.replace(forged.namespaces[0], content=total)
    scene.store.put(scene.backup.key, dataclasses.replace(forged, namespaces=(record,)).to_json())

    (older,) = verify(scene.store, identities=Identities(), backup=scene.backup.backup)

    begin = scene.get(scene.key()).index(bytes(broken))
    assert older.findings == (
        Finding(
            "a type of element that BSON does not know",
            scene.key(),
            "mpg.invoices",
            begin + place + 3,
            "0x01..0x13, 0x7f, 0xff",
            "0x55",
        ),
    )


# Keys


def test_without_identities_only_stored_bytes_are_compared_and_the_report_says_so(tmp_path: Path) -> None:
    scene = scene_of(SEALED, tmp_path)
    newest, older = verify(scene.store, identities=Identities(signers=(KEY.public,)))
    assert (newest.outcome, older.outcome) == (Outcome.SEALED, Outcome.SEALED)
    assert (older.documents, older.segments_read, older.stored_bytes) == (0, 3, scene.backup.stored_bytes)
    assert older.not_checked == (
        "encrypted, and no identities were given: only length and SHA-256 of the objects were compared",
    )
    assert good(scene.store) == {scene.backup.backup, scene.other.backup}
    row = list_repository(scene.store, "mpg", now=NOW)[0]
    assert row.cells()["read again"] == "2026-03-09 04:00 UTC (not opened)"
    flip_a_bit(scene)
    assert verify(scene.store, identities=Identities())[1].outcome is Outcome.DAMAGED


def test_a_wrong_key_is_found_and_marked_until_the_right_one_opens_it(tmp_path: Path) -> None:
    scene = scene_of(SEALED, tmp_path)
    (older,) = verify(scene.store, identities=Identities((EVE,)), backup=scene.backup.backup)
    assert older.outcome is Outcome.UNOPENED
    (finding,) = older.findings
    assert (finding.what, finding.expected, finding.got) == (
        f"none of the identities opens this backup (backup: {scene.backup.backup})",
        ALICE.public,
        EVE.public,
    )
    assert states(scene.store)[scene.backup.backup] == (
        "not verified: the verification of 2026-03-09 04:00 UTC could not open it with the identities given"
    )
    assert good(scene.store) == {scene.other.backup}
    (older,) = verify(scene.store, now=NOW + timedelta(minutes=1), backup=scene.backup.backup)
    assert (older.outcome, older.opener) == (Outcome.SOUND, f"opened by `{ALICE.public}`")
    assert states(scene.store)[scene.backup.backup] == "listed"


def test_a_damaged_first_segment_does_not_hide_the_others(tmp_path: Path) -> None:
    scene = scene_of(SEALED, tmp_path)
    scene.store.delete([scene.key(0)])
    (older,) = verify(scene.store, backup=scene.backup.backup)
    assert older.opener == f"opened by `{ALICE.public}`"
    assert (older.segments_read, older.documents) == (2, 40)
    assert {finding.key for finding in older.findings} == {scene.key(0)}


# Shares


def test_a_share_each_day_covers_everything_in_a_week_and_the_newest_always_as_a_whole(scene: Scene) -> None:
    newest, older = scene.other.backup, scene.backup.backup
    read: Counter[str] = Counter()
    for day in range(7):
        now = NOW + timedelta(days=day)
        plan = plan_verification(scene.store, "mpg", backup=None, share="1/7", now=now)
        assert Due(newest, plan.due[0].scope, scene.other.stored_bytes) == plan.due[0]
        assert plan.due[0].scope.is_all
        for due in plan.due[1:]:
            opened = open_backup(scene.store, "mpg", due, OPERATOR, now=now)
            assert opened is not None
            read.update(record.name for record in opened.segments)
        verify(scene.store, share="1/7", now=now)
        standing = read_standing(scene.store, "mpg", older)
        assert (standing.verified is not None) == (sum(read.values()) == 3)
    assert read == dict.fromkeys((part.name for part in scene.backup.segments), 1)
    assert read_standing(scene.store, "mpg", newest).verified == NOW + timedelta(days=6)
    # Of one week no more than a result of each part is kept, and of the newest no more than one.
    verify(scene.store, share="1/7", now=NOW + timedelta(days=7))
    names = [item.key for item in scene.store.list("mpg") if "/verified-" in item.key]
    assert sum(newest in name for name in names) == 1
    assert sum(older in name for name in names) <= 3


@pytest.mark.parametrize("share", ["", "2/7", "1/0", "7", "1/367", "1/-7"])
def test_what_is_no_share_is_refused(scene: Scene, share: str) -> None:
    with pytest.raises(ConfigurationError, match="not a share of the backups"):
        plan_verification(scene.store, "mpg", backup=None, share=share, now=NOW)


def test_a_damaged_backup_is_read_as_a_whole_each_day_whatever_the_share(scene: Scene) -> None:
    lose_a_segment(scene)
    for day in range(7):
        plan = plan_verification(scene.store, "mpg", backup=None, share="1/7", now=NOW + timedelta(days=day))
        assert [due.backup for due in plan.due] == [scene.other.backup, scene.backup.backup]
        assert all(due.scope.is_all for due in plan.due)


def test_one_backup_that_is_not_there_is_refused(scene: Scene) -> None:
    for wanted in ("2020-01-01T00-00-00Z", "../secrets"):
        with pytest.raises((BackupNotFound, ConfigurationError)):
            plan_verification(scene.store, "mpg", backup=wanted, share="all", now=NOW)


def test_what_is_found_once_and_not_twice_is_a_warning(scene: Scene) -> None:
    """A page of errors with the status 200, for one."""

    class Stumbling(MemoryStore):
        stumbled = False

        def read(self, key: str) -> Generator[bytes, None, None]:
            if key == scene.key(1) and not self.stumbled:
                self.stumbled = True
                yield b"<Error/>"
            else:
                yield from super().read(key)

    store = Stumbling()
    vars(store).update(vars(scene.store))
    newest, older = verify(store)
    assert (newest.outcome, older.outcome) == (Outcome.SOUND, Outcome.SOUND)
    assert newest.warnings == ()
    (warning,) = older.warnings
    assert warning.startswith(
        f"{scene.backup.segments[1].name} was found sound when it was read a second time; first: {scene.key(1)}"
    )
