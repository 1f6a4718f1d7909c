"""What the benchmark measures, each in a process of its own: `python -m deployments.contenders NAME`."""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pymongo import MongoClient

from deployments.rig import DATABASE, Addresses, save_blocks, told_by_parent
from flows.core.encryption import Identity
from flows.core.errors import BackupNotFound, ConfigurationError, IntegrityError
from flows.core.signing import SigningKey

RESTORED = "payments_restored"
_PLAN = "bench"
_UPLOADED = "mgob/archive.gz"

Figures = dict[str, Any]


def main(name: str) -> int:
    """Do it, and say as JSON what it took."""
    addresses, told = told_by_parent()
    figures = _CONTENDERS[name](addresses, told)
    own, others = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    figures["cpu_seconds"] = round(own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime, 2)
    # `ru_maxrss` of a process counts what its parent had when it was started; VmHWM does not. A child of this one
    # was started while this one was small.
    figures["peak_rss_bytes"] = max(_peak_rss(), others.ru_maxrss * 1024)
    print(json.dumps(figures))
    return 0


def _floor(addresses: Addresses, _: Mapping[str, Any]) -> Figures:
    """Read every document in the way that costs least, and throw it away."""
    begun, size = time.monotonic(), 0
    with MongoClient[dict[str, Any]](addresses.mongodb) as client:
        database = client[DATABASE]
        for name in database.list_collection_names(filter={"type": "collection"}):
            if name.startswith("system."):
                continue
            for batch in database[name].find_raw_batches({}, hint=[("$natural", 1)]):
                size += len(batch)
    return {"wall_seconds": _since(begun), "bytes": size}


def _setup(addresses: Addresses, _: Mapping[str, Any]) -> Figures:
    from blocks import BackupEncryption  # noqa: PLC0415 - Prefect is no cost of the others

    save_blocks(addresses)
    recipients = [Identity.generate().public for _ in range(2)]
    BackupEncryption(recipients="\n".join(recipients), signing_key=SigningKey.generate().secret).save(
        _PLAN, overwrite=True
    )
    return {}


def _backup(_: Addresses, __: Mapping[str, Any], *, plan: str = _PLAN, encryption: str | None = None) -> Figures:
    from flows.backup import backup  # noqa: PLC0415 - Prefect is no cost of the others

    begun = time.monotonic()
    done = backup(plan=plan, databases=[DATABASE], encryption=encryption)
    work = _since(begun)
    return {"wall_seconds": work, "stored_bytes": done.stored_bytes, "documents": done.documents, "bytes": done.bytes}


def _verification(addresses: Addresses, _: Mapping[str, Any]) -> Figures:
    """Read the backup again, one segment after the other, and hold it against its manifest, as the verify flow does."""
    from datetime import UTC, datetime  # noqa: PLC0415 - not a cost of the others

    from flows.core.encryption import Identities  # noqa: PLC0415
    from flows.core.verification import Walk  # noqa: PLC0415
    from flows.storage.profiles import PROFILES  # noqa: PLC0415
    from flows.storage.s3 import S3Store, client_config  # noqa: PLC0415
    from flows.storage.verifying import open_backup, plan_verification, verify_stored  # noqa: PLC0415

    profile, now = PROFILES["other"], datetime.now(UTC)
    store = S3Store(_s3(addresses, client_config(profile)), addresses.bucket, "", profile)
    begun, cpu = time.monotonic(), time.process_time()
    (due,) = plan_verification(store, _PLAN, backup="latest", share="all", now=now).due
    opened = open_backup(store, _PLAN, due, Identities(), now=now)
    if opened is None:
        raise BackupNotFound("the backup that was just taken is gone")
    checks = [
        verify_stored(store, opened, segment, phase=0, walk=Walk.SAMPLE, progress=lambda _: None)
        for segment in opened.segments
    ]
    if wrong := [str(finding) for check in checks for finding in check.findings]:
        raise IntegrityError("the backup that was just taken is damaged", first=wrong[0])
    return {
        "wall_seconds": _since(begun),
        "work_cpu_seconds": round(time.process_time() - cpu, 2),
        "documents": sum(check.documents for check in checks),
        "bytes": sum(check.bson_bytes for check in checks),
    }


def _export(_: Addresses, __: Mapping[str, Any]) -> Figures:
    """The backup as Parquet files, two segments at a time, as it is by default."""
    from flows.export import export  # noqa: PLC0415 - Prefect is no cost of the others

    begun, cpu = time.monotonic(), time.process_time()
    done = export(plan=_PLAN)
    return {
        "wall_seconds": _since(begun),
        "work_cpu_seconds": round(time.process_time() - cpu, 2),
        "documents": done.rows,
        "stored_bytes": done.bytes,
    }


def _encrypted_backup(addresses: Addresses, told: Mapping[str, Any]) -> Figures:
    """The same, encrypted to two recipients and signed."""
    return _backup(addresses, told, plan=f"{_PLAN}-encrypted", encryption=_PLAN)


def _restore(_: Addresses, __: Mapping[str, Any]) -> Figures:
    from flows.restore import restore  # noqa: PLC0415 - Prefect is no cost of the others

    begun = time.monotonic()
    restore(plan=_PLAN, rename={DATABASE: RESTORED}, into_source=True)
    return {"wall_seconds": _since(begun)}


def _mgob_backup(addresses: Addresses, told: Mapping[str, Any]) -> Figures:
    """What the mgob side-car does: mongodump into a compressed file, then an upload of the file."""
    begun, archive = time.monotonic(), Path(told["archive"])
    _tool("mongodump", addresses.mongodb, f"--db={DATABASE}", f"--archive={archive}", "--gzip")
    _s3(addresses).upload_file(str(archive), addresses.bucket, _UPLOADED)
    size = archive.stat().st_size
    archive.unlink()
    return {"wall_seconds": _since(begun), "stored_bytes": size}


def _mgob_restore(addresses: Addresses, told: Mapping[str, Any]) -> Figures:
    """What the operators' guide says: a download of the file, then mongorestore."""
    begun, archive = time.monotonic(), Path(told["archive"])
    client = _s3(addresses)
    client.download_file(addresses.bucket, _UPLOADED, str(archive))
    renamed = (f"--nsFrom={DATABASE}.*", f"--nsTo={RESTORED}.*")
    _tool("mongorestore", addresses.mongodb, "--gzip", "--drop", f"--archive={archive}", *renamed)
    return {"wall_seconds": _since(begun)}


_CONTENDERS: dict[str, Callable[[Addresses, Mapping[str, Any]], Figures]] = {
    "setup": _setup,
    "floor": _floor,
    "backup": _backup,
    "verification": _verification,
    "export": _export,
    "encrypted-backup": _encrypted_backup,
    "restore": _restore,
    "mgob-backup": _mgob_backup,
    "mgob-restore": _mgob_restore,
}


def _tool(name: str, uri: str, *options: str) -> None:
    # The server of the benchmark has no password that an argument could betray.
    done = subprocess.run([name, f"--uri={uri}", *options], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ConfigurationError("an official tool failed", hint=done.stderr[-2000:], tool=name)


def _s3(addresses: Addresses, config: Any = None) -> Any:
    import boto3  # noqa: PLC0415 - not a cost of the floor
    from botocore.config import Config  # noqa: PLC0415

    return boto3.client(
        "s3",
        endpoint_url=addresses.endpoint,
        aws_access_key_id=addresses.access_key,
        aws_secret_access_key=addresses.secret_key,
        region_name="us-east-1",
        config=config or Config(s3={"addressing_style": "path"}),
    )


def _peak_rss() -> int:
    status = Path("/proc/self/status").read_text()
    return int(re.findall(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)[0]) * 1024


def _since(begun: float) -> float:
    return round(time.monotonic() - begun, 2)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
