"""Encryption of segments with age, https://age-encryption.org/v1, so that the `age` command opens them too.

Segments are encrypted to X25519 recipients, whose public keys are all that a backup needs. Where a passphrase is used
instead, each backup has a pair of keys of its own, whose secret half is kept in the manifest, encrypted with the
passphrase: an identity file as `age-keygen | age -p` makes it. So the passphrase is stretched once for a backup,
which takes half a second and 256 MiB, and not for every segment.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import io
import os
import re
import textwrap
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from io import FileIO
from typing import Any, BinaryIO, cast

import pyrage
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pyrage import passphrase as pyrage_passphrase
from pyrage import x25519

from flows.core.errors import ConfigurationError, FormatError, IntegrityError
from flows.core.signing import SigningKey

# The header is at the beginning of the object; a recipient takes a hundred bytes of it.
HEADER_BYTES = 64 * 1024
MOST_RECIPIENTS = 100
LEAST_PASSPHRASE = 12  # characters
# 2^18, as the `age` command takes: 256 MiB of memory. pyrage takes what lasts a second, which was 1 GiB.
_SCRYPT_LOG_N = 18
_MOST_SCRYPT_LOG_N = 20
_SCRYPT_MEMORY = 2 * 128 * 8 * 2**_SCRYPT_LOG_N
_ARMOR = "-----BEGIN AGE ENCRYPTED FILE-----\n{}\n-----END AGE ENCRYPTED FILE-----\n"
_ARMORED = re.compile(r"-----BEGIN AGE ENCRYPTED FILE-----\n([A-Za-z0-9+/=\n]+)\n-----END AGE ENCRYPTED FILE-----\n")
_SCRYPT_HEADER = re.compile(rb"age-encryption\.org/v1\n-> scrypt [A-Za-z0-9+/]{22} ([0-9]{1,2})\n")
# What pyrage says where the header was made for others.
_NO_KEY_FITS, _WRONG_PASSPHRASE = "No matching keys found", "Decryption failed"
_BLOCK_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Identity:
    """A secret key that opens what was encrypted to its public one."""

    secret: str = field(repr=False)  # `AGE-SECRET-KEY-1…`
    of_passphrase: bool = False  # kept in a manifest, encrypted with a passphrase

    @classmethod
    def generate(cls, *, of_passphrase: bool = False) -> Identity:
        """Make a new one."""
        return cls(str(x25519.Identity.generate()), of_passphrase)

    @property
    def public(self) -> str:
        """The recipient that it belongs to: `age1…`."""
        return str(self._key().to_public())

    def opens(self, start: bytes, **where: str) -> bool:
        """Whether it opens an encrypted object.

        Args:
            start: The beginning of the object, at least its header.
            where: Key and segment, for messages.

        Raises:
            IntegrityError: The header was changed or cut off, or is none.
        """
        try:
            pyrage.decrypt_io(io.BytesIO(start), io.BytesIO(), [self._key()])
        except pyrage.DecryptError as error:
            if str(error) == _NO_KEY_FITS:
                return False
            raise _damaged(error, where) from error
        except OSError:
            return True  # the header is sound, and what follows is only the beginning
        return True

    def _key(self) -> x25519.Identity:
        return x25519.Identity.from_str(self.secret)


@dataclass(frozen=True, slots=True)
class Protection:
    """What is done to a new backup so that nobody else reads it or forges it."""

    recipients: tuple[str, ...] = ()  # none: not encrypted
    identity: str | None = None  # where a passphrase is used: the secret key, encrypted with it
    signing_key: SigningKey | None = None  # none: not signed

    @property
    def signers(self) -> tuple[str, ...]:
        """Public keys of those whose backups are as good as the new one; none: signatures are not asked for."""
        return (self.signing_key.public,) if self.signing_key is not None else ()

    @classmethod
    def by_passphrase(cls, passphrase: str, signing_key: SigningKey | None = None) -> Protection:
        """Make the pair of keys of one backup, and encrypt the secret one with a passphrase."""
        made = Identity.generate(of_passphrase=True)
        return cls((made.public,), _lock(made.secret, passphrase), signing_key)


@dataclass(frozen=True, slots=True)
class Identities:
    """What an operator has to read backups with: secret keys, passphrases, and whose signatures are trusted."""

    keys: tuple[Identity, ...] = ()
    passphrases: tuple[str, ...] = field(default=(), repr=False)
    signers: tuple[str, ...] = ()  # public keys; none: signatures are not asked for

    def __bool__(self) -> bool:
        return bool(self.keys or self.passphrases)

    def candidates(self, locked: str | None) -> Iterator[Identity]:
        """What might open a backup, the cheap ones first.

        Args:
            locked: What its manifest has as `identity`.

        Raises:
            FormatError: It is not what this project writes there.
        """
        yield from self.keys
        if locked is not None:
            found = (_unlock(locked, passphrase) for passphrase in self.passphrases)
            yield from (identity for identity in found if identity is not None)

    def protection(self) -> Protection:
        """How a new backup is protected so that they open it: to the first key, or with the first passphrase."""
        if self.keys:
            return Protection((self.keys[0].public,))
        return Protection.by_passphrase(self.passphrases[0]) if self.passphrases else Protection()


def recipient(text: str) -> str:
    """Read a public key that somebody typed or pasted. No error quotes it: it may be the secret one.

    Raises:
        ConfigurationError: It is none; says what to give instead.
    """
    given = text.strip()
    if given.upper().startswith("AGE-SECRET-KEY-"):
        raise ConfigurationError(
            "this is an identity, a secret key, and encrypting needs only the public one",
            hint="Give its recipient, the line age1…: `age-keygen -y` prints it. If the secret key was saved here, "
            "make a new one: it was readable for everybody who can see the block.",
        )
    try:
        return str(x25519.Recipient.from_str(given))
    except pyrage.RecipientError as error:
        raise ConfigurationError(
            "not a recipient of age",
            hint="Give the whole line age1…, 62 letters and digits, that `age-keygen` or `python -m flows keys` "
            "prints. A letter may be missing or mistyped. SSH keys and the recipients of plugins are not taken.",
        ) from error


def identity(text: str) -> Identity:
    """Read a secret key that somebody typed or pasted. No error quotes it.

    Raises:
        ConfigurationError: It is none; says what to give instead.
    """
    given = text.strip()
    if given.startswith("age1"):
        raise ConfigurationError(
            "this is a recipient, a public key, and decrypting needs the secret one",
            hint="Give the line that begins with AGE-SECRET-KEY-1.",
        )
    try:
        return Identity(str(x25519.Identity.from_str(given)))
    except pyrage.IdentityError:
        # Not chained: who knows what its text quotes.
        raise ConfigurationError(
            "not an identity of age",
            hint="Give the whole line AGE-SECRET-KEY-1…, 74 letters and digits, each key in a line of its own. A "
            "letter may be missing or mistyped.",
        ) from None


def identities(text: str) -> tuple[Identity, ...]:
    """Read secret keys as `age-keygen` writes them: white space between them, and comments from `#` to the line's end.

    Raises:
        ConfigurationError: One of the others is none; as in `identity`.
    """
    return tuple(identity(word) for line in text.splitlines() for word in line.partition("#")[0].split())


def encrypt(pieces: Iterable[bytes | memoryview], write: Callable[[bytes], object], recipients: Sequence[str]) -> None:
    """Encrypt in a stream.

    Args:
        pieces: What to encrypt; each is used up before the next one is asked for.
        write: Takes what is to be stored.
        recipients: Public keys; each of their secret keys opens it alone.

    Raises:
        Anything that `pieces` or `write` raise, as it is.
    """
    ends = _Ends(pieces, write)
    try:
        pyrage.encrypt_io(ends, ends, [x25519.Recipient.from_str(text) for text in recipients])
    except pyrage.EncryptError:
        if ends.raised is not None:
            raise ends.raised from None
        raise


class _Ends:
    """What pyrage reads from and writes to. It keeps only the text of what they raise, so that is kept here."""

    def __init__(self, pieces: Iterable[bytes | memoryview], write: Callable[[bytes], object]) -> None:
        self._pieces = iter(pieces)
        self._rest = memoryview(b"")
        self._write = write
        self.raised: BaseException | None = None

    def read(self, size: int) -> bytes:
        try:
            while not self._rest:
                piece = next(self._pieces, None)
                if piece is None:
                    return b""
                self._rest = memoryview(piece)
        except BaseException as error:
            self.raised = error
            raise
        taken, self._rest = bytes(self._rest[:size]), self._rest[size:]
        return taken

    def write(self, data: bytes) -> int:
        try:
            self._write(data)
        except BaseException as error:
            self.raised = error
            raise
        return len(data)

    def flush(self) -> None:
        pass


def seal(data: bytes, recipients: Sequence[str]) -> str:
    """Encrypt a little: an armored age file, which each of the recipients' secret keys opens alone."""
    keys = [x25519.Recipient.from_str(name) for name in recipients]
    return bytes(pyrage.encrypt(data, keys, armored=True)).decode()


def unseal(sealed: str, identity: Identity, **where: str) -> bytes:
    """Give back what was sealed.

    Args:
        sealed: What `seal` gave.
        identity: What opens it.
        where: For messages.

    Raises:
        IntegrityError: It was changed, or was not sealed for this identity.
    """
    try:
        return bytes(pyrage.decrypt(sealed.encode(errors="surrogatepass"), [identity._key()]))
    except pyrage.DecryptError as error:
        raise _damaged(error, where) from error


@contextlib.contextmanager
def open_encrypted(file: BinaryIO, identity: Identity, **where: str) -> Iterator[BinaryIO]:
    """Decrypt in a stream: pyrage pushes, in a thread, what the reader pulls out of a pipe.

    Args:
        file: The stored bytes.
        identity: What opens them.
        where: Key and segment, for messages.

    Raises:
        IntegrityError: While reading, where the bytes were changed or cut off. What was read before that is authentic,
            and not all.
    """
    read_end, write_end = os.pipe()
    raised: list[BaseException] = []

    def pump() -> None:
        try:
            with os.fdopen(write_end, "wb", _BLOCK_BYTES) as out:
                pyrage.decrypt_io(_Kept(file, raised), out, [identity._key()])
        except BaseException as error:  # noqa: BLE001 - the reader raises it
            raised.append(error)

    thread = threading.Thread(target=pump, name="decrypt", daemon=True)
    with os.fdopen(read_end, "rb", 0) as pipe:
        thread.start()
        try:
            yield io.BufferedReader(_Decrypted(pipe, thread, raised, where), _BLOCK_BYTES)
        finally:
            pipe.close()  # ends the thread, where the reader gives up early
            thread.join()


class _Kept:
    """A file that keeps what it raises, of which pyrage would keep the text alone."""

    def __init__(self, file: BinaryIO, raised: list[BaseException]) -> None:
        self._file = file
        self._raised = raised

    def read(self, size: int) -> bytes:
        try:
            return self._file.read(size)
        except BaseException as error:
            self._raised.append(error)
            raise


class _Decrypted(io.RawIOBase):
    """The end of the pipe that is read. Its end is only believed where the thread came to its own without an error."""

    def __init__(
        self, pipe: BinaryIO, thread: threading.Thread, raised: list[BaseException], where: dict[str, str]
    ) -> None:
        self._pipe = pipe
        self._thread = thread
        self._raised = raised
        self._where = where

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count: int = cast(FileIO, self._pipe).readinto(buffer)
        if not count:
            self._thread.join()
            for error in self._raised[:1]:
                # By both pyrage says what is wrong with the bytes; an error of the system has a number.
                if isinstance(error, pyrage.DecryptError) or (isinstance(error, OSError) and error.errno is None):
                    raise _damaged(error, self._where) from error
                raise error
        return count


def _damaged(error: BaseException, where: dict[str, str]) -> IntegrityError:
    return IntegrityError(
        "an encrypted object does not decrypt: it was changed or cut off, or is another one",
        hint="Restore an older backup, and find out who writes to the bucket.",
        **where,
        got=str(error).partition("\n")[0],
    )


def _lock(secret: str, passphrase: str) -> str:
    """Encrypt a short text with a passphrase: an armored age file with one scrypt recipient."""
    file_key, salt, nonce = os.urandom(16), os.urandom(16), os.urandom(16)
    wrapped = ChaCha20Poly1305(_stretch(passphrase, salt)).encrypt(bytes(12), file_key, None)
    head = f"age-encryption.org/v1\n-> scrypt {_base64(salt)} {_SCRYPT_LOG_N}\n{_base64(wrapped)}\n---"
    mac = hmac.digest(_derive(file_key, b"", b"header"), head.encode(), "sha256")
    # One chunk, the first and the last: number 0, and the mark of the last one.
    body = ChaCha20Poly1305(_derive(file_key, nonce, b"payload")).encrypt(bytes(11) + b"\1", secret.encode(), None)
    data = f"{head} {_base64(mac)}\n".encode() + nonce + body
    return _ARMOR.format("\n".join(textwrap.wrap(base64.b64encode(data).decode(), 64)))


def _unlock(locked: str, passphrase: str) -> Identity | None:
    """The identity, or None where it was encrypted with another passphrase.

    Raises:
        FormatError: It is not what `_lock` writes.
    """
    match = _ARMORED.fullmatch(locked)
    with contextlib.suppress(ValueError):  # of the base64
        data = base64.b64decode(match[1].replace("\n", ""), validate=True) if match else b""
        header = _SCRYPT_HEADER.match(data)
        # Whoever writes to the bucket could ask for more memory than there is.
        if header is not None and int(header[1]) <= _MOST_SCRYPT_LOG_N:
            try:
                text = pyrage_passphrase.decrypt(data, passphrase).decode()
                return Identity(identity(text).secret, of_passphrase=True)
            except pyrage.DecryptError as error:
                if str(error) == _WRONG_PASSPHRASE:
                    return None
    raise FormatError(
        "the encrypted identity in the manifest is damaged",
        hint="Nothing opens this backup without it; restore an older backup.",
        at="manifest.identity",
    )


def _stretch(passphrase: str, salt: bytes) -> bytes:
    salt = b"age-encryption.org/v1/scrypt" + salt
    return hashlib.scrypt(passphrase.encode(), salt=salt, n=2**_SCRYPT_LOG_N, r=8, p=1, maxmem=_SCRYPT_MEMORY, dklen=32)


def _derive(key: bytes, salt: bytes, info: bytes) -> bytes:
    return HKDF(SHA256(), 32, salt, info).derive(key)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).rstrip(b"=").decode()
