"""Encryption: each key opens alone, no other does, damage does not pass, and the `age` command agrees."""

from __future__ import annotations

import gzip
import io
import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from flows.core import encryption
from flows.core.compress import Compression, compress_file
from flows.core.encryption import Identities, Identity, Protection, encrypt, identity, open_encrypted, recipient
from flows.core.errors import ConfigurationError, FormatError, IntegrityError, SpoolError, Stopped

ALICE, BOB, EVE = Identity.generate(), Identity.generate(), Identity.generate()
DATA = os.urandom(200_000)  # three chunks of age and a bit
PASSPHRASE = "correct horse battery staple"


def sealed(*keys: Identity, data: bytes = DATA) -> bytes:
    out = io.BytesIO()
    encrypt([data], out.write, [key.public for key in keys])
    return out.getvalue()


def opened(data: bytes, key: Identity) -> bytes:
    with open_encrypted(io.BytesIO(data), key, key="the key", segment="the segment") as stream:
        return stream.read()


@pytest.mark.parametrize("key", [ALICE, BOB], ids=["alice", "bob"])
def test_each_of_several_identities_opens_alone(key: Identity) -> None:
    data = sealed(ALICE, BOB)
    assert key.opens(data)
    assert opened(data, key) == DATA


def test_nobody_else_opens_it() -> None:
    data = sealed(ALICE, BOB)
    assert not EVE.opens(data)
    with pytest.raises(IntegrityError, match=r"does not decrypt: .*got='No matching keys found'"):
        opened(data, EVE)


def test_the_start_is_enough_to_tell_who_opens_it() -> None:
    data = sealed(*(Identity.generate() for _ in range(encryption.MOST_RECIPIENTS - 1)), ALICE)
    assert ALICE.opens(data[: encryption.HEADER_BYTES])
    assert not EVE.opens(data[: encryption.HEADER_BYTES])


@pytest.mark.parametrize("size", [0, 1, 65_536, 131_072])
def test_any_size_comes_back(size: int) -> None:
    assert opened(sealed(ALICE, data=DATA[:size]), ALICE) == DATA[:size]


def test_pieces_are_put_together_whatever_their_size() -> None:
    out = io.BytesIO()
    pieces = [DATA[:1], b"", memoryview(DATA)[1:100_000], DATA[100_000:]]
    encrypt(pieces, out.write, [ALICE.public])
    assert opened(out.getvalue(), ALICE) == DATA


def test_fifty_truncations_are_noticed_and_named() -> None:
    data = sealed(ALICE)
    cuts = random.Random(1).sample(range(len(data)), 44)
    # Nothing, the header alone, and the borders of the chunks, where each that is there is whole.
    header = data.index(b"\n", data.index(b"\n---") + 1) + 1
    for cut in [*cuts, 0, header, header + 16, header + 16 + 65_552, header + 16 + 2 * 65_552, len(data) - 1]:
        with pytest.raises(IntegrityError) as caught:
            opened(data[:cut], ALICE)
        assert "key='the key', segment='the segment'" in str(caught.value)


def test_flipped_bits_are_noticed_and_named() -> None:
    data = sealed(ALICE)
    for place in [*range(400), *random.Random(2).sample(range(400, len(data)), 200)]:
        flipped = bytearray(data)
        flipped[place] ^= 1 << place % 8
        with pytest.raises(IntegrityError) as caught:
            opened(bytes(flipped), ALICE)
        assert "key='the key', segment='the segment'" in str(caught.value)


def test_what_follows_the_end_is_noticed() -> None:
    with pytest.raises(IntegrityError):
        opened(sealed(ALICE) + b"x", ALICE)


def test_what_was_never_encrypted_is_told() -> None:
    with pytest.raises(IntegrityError, match="got='Header is invalid'"):
        opened(gzip.compress(DATA), ALICE)
    with pytest.raises(IntegrityError, match="got='Header is invalid'"):
        ALICE.opens(gzip.compress(DATA))


def test_a_reader_that_gives_up_leaves_no_thread() -> None:
    before = threading.active_count()
    with open_encrypted(io.BytesIO(sealed(ALICE, data=bytes(4_000_000))), ALICE) as stream:
        assert stream.read(10) == bytes(10)
    assert threading.active_count() == before


def test_an_error_of_the_disk_is_not_taken_for_damage() -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output error"), open_encrypted(Broken(), ALICE) as stream:
        stream.read()


def test_a_stop_reaches_the_caller_and_leaves_no_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(DATA)

    def stop(_: int) -> None:
        raise Stopped("the run was stopped")

    with pytest.raises(Stopped, match="the run was stopped"):
        compress_file(
            tmp_path / "plain", tmp_path / "packed", Compression.GZIP, recipients=[ALICE.public], progress=stop
        )
    assert [path.name for path in tmp_path.iterdir()] == ["plain"]


def test_a_full_disk_is_told_as_one(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(DATA)
    (tmp_path / "packed").symlink_to("/dev/full")
    with pytest.raises(SpoolError, match="the spool disk is full"):
        compress_file(
            tmp_path / "plain",
            tmp_path / "packed",
            Compression.NONE,
            recipients=[ALICE.public],
            progress=lambda _: None,
        )


_PASS_THROUGH = """
import os, re, threading
from pathlib import Path
from flows.core.encryption import Identity, encrypt, open_encrypted

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024

key, piece = Identity.generate(), os.urandom(1024 * 1024)
for size in (10, 300):
    read, write = os.pipe()
    def fill():
        with os.fdopen(write, "wb") as out:
            encrypt((piece for _ in range(size)), out.write, [key.public])
    thread = threading.Thread(target=fill)
    thread.start()
    with os.fdopen(read, "rb") as source, open_encrypted(source, key) as stream:
        assert sum(len(block) for block in iter(lambda: stream.read(1024 * 1024), b"")) == size * 1024 * 1024
    thread.join()
    print(peak())
"""


def test_memory_does_not_grow_with_the_object() -> None:
    """In a process of its own, because a peak is that of a whole process."""
    done = subprocess.run([sys.executable, "-c", _PASS_THROUGH], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    small, large = map(int, done.stdout.split())
    assert large - small < 16  # [MiB]


# Keys as people give them


def test_keys_read_back_from_their_text() -> None:
    assert recipient(f" {ALICE.public}\n") == ALICE.public
    assert identity(f" {ALICE.secret}\n") == ALICE


def test_no_secret_is_in_repr() -> None:
    shown = repr(ALICE) + repr(Identities((ALICE,), (PASSPHRASE,))) + repr(Protection((ALICE.public,)))
    assert ALICE.secret not in shown
    assert PASSPHRASE not in shown


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("age1", id="a beginning"),
        pytest.param(ALICE.public[:-1], id="cut off"),
        pytest.param(ALICE.public[:-1] + "b", id="a letter that age never uses"),
        pytest.param("age1" + "q" * 58, id="a wrong checksum"),
        pytest.param("ssh-ed25519 AAAA", id="a key of SSH"),
        pytest.param(f"{ALICE.public} {BOB.public}", id="two of them"),
    ],
)
def test_what_is_no_recipient_is_told(text: str) -> None:
    with pytest.raises(ConfigurationError, match="not a recipient of age") as caught:
        recipient(text)
    assert len(text) < 5 or text not in str(caught.value)


@pytest.mark.parametrize("text", ["", ALICE.secret[:-1], "# created: today", "AGE-PLUGIN-YUBIKEY-1ABC"], ids=range(4))
def test_what_is_no_identity_is_told_and_not_shown(text: str) -> None:
    with pytest.raises(ConfigurationError, match="not an identity of age") as caught:
        identity(text)
    assert len(text) < 5 or text not in str(caught.value)


@pytest.mark.parametrize("text", [ALICE.secret, ALICE.secret.lower()], ids=["as it is", "lower case"])
def test_a_secret_key_is_not_taken_for_a_recipient(text: str) -> None:
    with pytest.raises(ConfigurationError, match="this is an identity, a secret key, and encrypting") as caught:
        recipient(text)
    assert text not in str(caught.value)


def test_a_public_key_is_not_taken_for_an_identity() -> None:
    with pytest.raises(ConfigurationError, match="this is a recipient, a public key, and decrypting"):
        identity(ALICE.public)


# Passphrases


@pytest.fixture(scope="module")
def by_passphrase() -> Protection:
    return Protection.by_passphrase(PASSPHRASE)


def test_a_passphrase_gives_the_key_back(by_passphrase: Protection) -> None:
    held = Identities((BOB,), ("another one", PASSPHRASE))
    _, found = held.candidates(by_passphrase.identity)
    assert (found.public,) == by_passphrase.recipients
    assert found.of_passphrase


def test_a_wrong_passphrase_gives_nothing(by_passphrase: Protection) -> None:
    assert list(Identities((), ("another one",)).candidates(by_passphrase.identity)) == []


def test_without_a_locked_identity_no_passphrase_is_tried() -> None:
    assert list(Identities((BOB,), (PASSPHRASE,)).candidates(None)) == [BOB]


def test_every_backup_has_a_pair_of_keys_of_its_own(by_passphrase: Protection) -> None:
    assert Protection.by_passphrase(PASSPHRASE).recipients != by_passphrase.recipients


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "",
        lambda text: text.replace("BEGIN", "BEGUN"),
        lambda text: text.replace("\n", "\n=", 2),
        lambda text: text.replace("YWdl", "YWdm"),
    ],
)
def test_a_damaged_locked_identity_is_told(by_passphrase: Protection, change: object) -> None:
    damaged = change(by_passphrase.identity)  # type: ignore[operator]
    with pytest.raises(FormatError, match=r"encrypted identity in the manifest is damaged .*at='manifest.identity'"):
        list(Identities((), (PASSPHRASE,)).candidates(damaged))


def test_a_locked_identity_cannot_ask_for_all_memory(
    by_passphrase: Protection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encryption, "_MOST_SCRYPT_LOG_N", 17)
    with pytest.raises(FormatError):
        list(Identities((), (PASSPHRASE,)).candidates(by_passphrase.identity))


def test_the_newest_key_comes_first_for_what_is_new() -> None:
    assert Identities((ALICE, BOB), (PASSPHRASE,)).protection() == Protection((ALICE.public,))
    assert Identities((), (PASSPHRASE, "old")).protection().identity is not None
    assert Identities().protection() == Protection()


# The `age` command


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key.txt"
    path.write_text(f"# a comment\n{ALICE.secret}\n")
    return path


def test_age_opens_what_is_encrypted_here(age: Path, key_file: Path) -> None:
    done = subprocess.run([age, "-d", "-i", key_file], input=sealed(BOB, ALICE), capture_output=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, DATA), done.stderr


def test_what_age_encrypts_opens_here(age: Path) -> None:
    done = subprocess.run([age, "-r", ALICE.public], input=DATA, capture_output=True, timeout=60)
    assert opened(done.stdout, ALICE) == DATA


def test_age_opens_with_the_locked_identity_and_the_passphrase(
    age: Path, by_passphrase: Protection, tmp_path: Path
) -> None:
    (tmp_path / "identity.age").write_text(by_passphrase.identity or "")
    out = io.BytesIO()
    encrypt([DATA], out.write, by_passphrase.recipients)
    (tmp_path / "segment.age").write_bytes(out.getvalue())
    command = [age, "-d", "-i", tmp_path / "identity.age", "-o", tmp_path / "out", tmp_path / "segment.age"]
    done = subprocess.run(
        [sys.executable, "-c", _TERMINAL, *command], input=PASSPHRASE, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "out").read_bytes() == DATA


# Runs a command at a terminal, from which alone `age` takes a passphrase, and types it.
_TERMINAL = """
import os, pty, sys

passphrase = sys.stdin.read()
child, terminal = pty.fork()
if child == 0:
    os.execv(sys.argv[1], sys.argv[1:])
shown = b""
try:
    while data := os.read(terminal, 1000):
        shown += data
        if b"passphrase" in shown:
            os.write(terminal, passphrase.encode() + b"\\n")
            shown = b""
except OSError:
    pass  # how a terminal says that the other end is gone
print(shown)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
