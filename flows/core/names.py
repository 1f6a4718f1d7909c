"""Names of databases and collections."""

from __future__ import annotations

from dataclasses import dataclass

from flows.core.errors import ConfigurationError

BUCKETS_PREFIX = "system.buckets."  # a time-series collection `x` keeps its data in `system.buckets.x` (server < 8.3)
SCRATCH_PREFIX = "mongo_backup_scratch_"  # then the id of the run that made the collection, and drops it at its end


@dataclass(frozen=True, order=True, slots=True)
class Namespace:
    """A collection in a database. Database names hold no dot and collection names may, as in `pdfs.fs.chunks`."""

    database: str
    collection: str

    @classmethod
    def parse(cls, text: str) -> Namespace:
        """Split `database.collection` at the first dot.

        Raises:
            ConfigurationError: Where one of the two parts is missing.
        """
        database, _, collection = text.partition(".")
        if not database or not collection:
            raise ConfigurationError(
                "not a namespace", hint="Write database.collection, for example mpg.invoices.", got=text
            )
        return cls(database, collection)

    def __str__(self) -> str:
        return f"{self.database}.{self.collection}"

    @property
    def is_scratch(self) -> bool:
        """Whether a run of this project made it for itself: it may go at any moment, and is not backed up."""
        return self.collection.startswith(SCRATCH_PREFIX)

    @property
    def logical(self) -> Namespace:
        """The name that users know: that of the time-series collection for its buckets, else its own."""
        return Namespace(self.database, self.collection.removeprefix(BUCKETS_PREFIX))

    @property
    def buckets(self) -> Namespace:
        """Where the data of the time-series collection of this name is kept."""
        return Namespace(self.database, BUCKETS_PREFIX + self.collection)
