"""The version of this project, and how it signs the archives and manifests that it writes."""

from importlib import metadata

__version__ = "0.1.0"

TOOL_VERSION = f"mongo-backup-flows {__version__}"


def versions() -> dict[str, str]:
    """What wrote a backup: this project and the libraries that its bytes passed through."""
    return {
        "mongo-backup-flows": __version__,
        **{name: metadata.version(name) for name in ("pymongo", "isal", "zstandard", "pyrage")},
    }
