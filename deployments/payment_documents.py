"""Documents of a payment application, made up: customers, invoices, transactions.

The same bytes every time. What does not compress in real data (references, hashes, keys, account numbers) is
random for every document; what people type (names, streets, texts) comes from pools that are made once, because
making it up anew for every document would take longer than storing it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

import bson
from bson import Binary, Decimal128, Int64, ObjectId
from bson.binary import UUID_SUBTYPE
from bson.raw_bson import RawBSONDocument

Document = dict[str, Any]
T = TypeVar("T")

_SEED = 20260306
_START = datetime(2024, 1, 1, tzinfo=UTC)
_START_SECONDS = int(_START.timestamp())
_FORTNIGHT = timedelta(days=14)
_SPAN = 2 * 365 * 86_400_000  # [ms] over which the documents are spread
_POOL = 4096  # more entries than documents that a compressor sees at a time, so that they do not all look alike

_FIRST = (
    "Ana",
    "Björn",
    "Chloé",
    "Elif",
    "Fatma",
    "Giulia",
    "Hannah",
    "Ivan",
    "José",
    "Lukas",
    "Mária",
    "Noah",
    "Søren",
)
_LAST = ("Müller", "Rossi", "Dupont", "Kowalska", "García", "Novák", "Öztürk", "Silva", "O'Brien", "Weiß", "Horváth")
_STREETS = ("Hauptstraße", "Rue de la Paix", "Via Roma", "Calle Mayor", "Nygade", "Ulica Długa", "High Street")
_CITIES = ("Berlin", "Paris", "Torino", "Sevilla", "Aarhus", "Gdańsk", "Brugge", "Cork", "Wien", "Praha", "Lisboa")
_COUNTRIES = ("DE", "FR", "IT", "ES", "DK", "FI", "PL", "BE", "IE", "AT", "CZ", "PT")
_DOMAINS = ("example.com", "example.org", "example.net", "mail.example.eu", "shop.example.com")
_WORDS = (
    *("monthly", "annual", "subscription", "licence", "support", "seats", "storage", "transfer", "setup", "fee"),
    *("hosting", "domain", "renewal", "consulting", "hour", "travel", "discount", "refund", "upgrade", "premium"),
    *("basic", "team", "export", "module", "terminal", "card", "reader", "shipping", "training", "warranty"),
)
_AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_3 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/142.0 Safari/537.36",
    "payments-sdk/4.2 python",
)
_RULES = ("velocity", "country-mismatch", "new-device", "high-amount", "night-time", "known-good", "allow-list")
_INVOICE_STATES = ("paid",) * 16 + ("open",) * 2 + ("overdue", "void")


class Payments:
    """Makes the documents, the same ones in the same order every time.

    Args:
        customers: How many there are; invoices and transactions refer to them in turn.
    """

    def __init__(self, customers: int) -> None:
        self._random = random.Random(_SEED)  # noqa: S311 - made-up data, no secrets
        self._customers = customers
        make = self._random
        self._people = [(make.choice(_FIRST), make.choice(_LAST)) for _ in range(_POOL)]
        self._addresses = [self._address() for _ in range(_POOL)]
        self._baskets = [self._basket() for _ in range(_POOL)]
        self._amounts = [self._amount() for _ in range(_POOL)]
        self._clients = [self._client() for _ in range(_POOL)]
        self._rules = [make.sample(_RULES, 2) for _ in range(_POOL)]
        self._moments = [_START + timedelta(milliseconds=make.randrange(_SPAN)) for _ in range(16 * _POOL)]
        self._delays = [timedelta(milliseconds=make.randrange(40, 4000)) for _ in range(_POOL)]

    def customer(self, number: int) -> Document:
        """A person or company with an account."""
        first, last = self._any(self._people)
        since = self._any(self._moments)
        return {
            "_id": _id(1, number),
            "number": f"C-{number:08d}",
            "name": {"first": first, "last": last},
            # The number makes it unique, as the index asks.
            "email": f"{first}.{last}{number}@{self._any(_DOMAINS)}".lower().replace("'", ""),
            "phone": f"+{self._below(10**12):012d}",
            "iban": self._iban(),
            "address": self._any(self._addresses),
            "kyc": {"level": 1 + self._below(3), "checkedAt": self._any(self._moments), "file": self._hex(16)},
            "limit": self._any(self._amounts),
            "apiKeyHash": self._hex(32),
            "newsletter": self._below(10) < 3,
            "createdAt": since,
        }

    def invoice(self, number: int) -> Document:
        """An invoice with its lines; net and VAT add up to gross."""
        issued = self._any(self._moments)
        return {
            "_id": _id(2, number),
            "number": f"INV-{number:08d}",
            "customerId": _id(1, number % self._customers),
            "status": self._any(_INVOICE_STATES),
            "issuedAt": issued,
            "dueAt": issued + _FORTNIGHT,
            "billTo": self._any(self._addresses),
            "pdf": _id(4, number),
            "paymentToken": self._hex(24),
            **self._any(self._baskets),
        }

    def transaction(self, number: int) -> Document:
        """One payment with what happened to it."""
        at, delay = self._any(self._moments), self._any(self._delays)
        failed = self._below(20) == 0
        if number % 2:
            method = {"kind": "sepa", "iban": self._iban(), "mandate": self._hex(10)}
        else:
            method = {"kind": "card", "token": f"tok_{self._hex(24)}", "last4": f"{self._below(10_000):04d}"}
        return {
            "_id": _id(3, number),
            "reference": Binary(self._random.randbytes(16), UUID_SUBTYPE),
            "idempotencyKey": self._hex(16),
            "customerId": _id(1, self._below(self._customers)),
            "invoiceId": _id(2, number // 3),
            "type": "refund" if number % 29 == 0 else "payment",
            "status": "failed" if failed else "settled",
            "amount": self._any(self._amounts),
            "method": method,
            "client": self._any(self._clients),
            "risk": {"score": self._random.random(), "rules": self._any(self._rules), "reviewed": failed},
            "events": [
                {"state": "created", "at": at},
                {"state": "authorised", "at": at + delay, "by": self._hex(8)},
                {"state": "failed" if failed else "captured", "at": at + 2 * delay, "by": self._hex(8)},
            ],
            "signature": Binary(self._random.randbytes(32)),
            "createdAt": at,
        }

    def invoice_pdf(self, number: int) -> Document:
        """Where the PDF of an invoice is kept, and its checksum; the file itself is not in MongoDB."""
        return {
            "_id": _id(4, number),
            "invoiceId": _id(2, number),
            "bucket": "invoice-pdfs",
            "key": f"2026/{number % 12 + 1:02d}/INV-{number:08d}.pdf",
            "contentType": "application/pdf",
            "bytes": Int64(20_000 + self._below(400_000)),
            "sha256": Binary(self._random.randbytes(32)),
            "createdAt": self._any(self._moments),
        }

    def _any(self, pool: Sequence[T]) -> T:
        return pool[int(self._random.random() * len(pool))]  # a third of the time of `choice`

    def _below(self, limit: int) -> int:
        return int(self._random.random() * limit)

    def _hex(self, size: int) -> str:
        return self._random.randbytes(size).hex()

    def _iban(self) -> str:
        """A German account with check digits by ISO 7064 mod 97-10, as a real one has them."""
        account = self._random.getrandbits(59)  # below 10**18, the 18 digits of bank and account
        check = 98 - (account * 10**6 + 131400) % 97  # 131400: `DE00` in digits
        return f"DE{check:02d}{account:018d}"

    def _address(self) -> RawBSONDocument:
        make = self._random
        address = {
            "street": f"{make.choice(_STREETS)} {make.randrange(1, 240)}",
            "zip": f"{make.randrange(1000, 99_999):05d}",
            "city": make.choice(_CITIES),
            "country": make.choice(_COUNTRIES),
        }
        return _encoded(address)

    def _client(self) -> RawBSONDocument:
        make = self._random
        address = ".".join(str(make.randrange(1, 255)) for _ in range(4))
        return _encoded({"ip": address, "agent": make.choice(_AGENTS), "country": make.choice(_COUNTRIES)})

    def _amount(self) -> RawBSONDocument:
        value = Decimal(self._random.randrange(100, 250_000)) / 100
        fee = (value * Decimal("0.014")).quantize(Decimal("0.0001"))
        return _encoded({"value": Decimal128(value), "fee": Decimal128(fee), "currency": "EUR"})

    def _basket(self) -> Document:
        make = self._random
        lines, net = [], Decimal(0)
        for position in range(1, make.randrange(2, 6)):
            quantity, price = make.randrange(1, 20), Decimal(make.randrange(99, 99_900)) / 100
            net += quantity * price
            line = {"position": position, "sku": self._hex(4), "text": " ".join(make.sample(_WORDS, 4))}
            lines.append(_encoded(line | {"quantity": quantity, "price": Decimal128(price)}))
        vat = (net * Decimal("0.19")).quantize(Decimal("0.01"))
        totals = {"net": Decimal128(net), "vat": Decimal128(vat), "gross": Decimal128(net + vat), "currency": "EUR"}
        return {"lines": lines, "totals": _encoded(totals)}


def _encoded(part: Document) -> RawBSONDocument:
    # Encoded once and copied into every document that has it: half the time of an insert was encoding.
    return RawBSONDocument(bson.encode(part))


def _id(kind: int, number: int) -> ObjectId:
    # Laid out as the drivers do: seconds, a process, a counter. The seconds grow slowly, so that ids are in order.
    seconds = _START_SECONDS + number // 8
    return ObjectId(seconds.to_bytes(4, "big") + bytes((kind, 7, 42, 99, 5)) + (number % 2**24).to_bytes(3, "big"))
