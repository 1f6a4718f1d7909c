"""The health check of containers: `python -m deployments.health PORT PATH`, without anything that is slow to import."""

from __future__ import annotations

import http.client
import sys

_SECONDS = 5.0


def main(arguments: list[str]) -> int:
    """Ask a server on this machine whether it is well.

    Args:
        arguments: Its port, and the path that tells.

    Returns:
        0 where it answers 200, else 1, with the reason on standard output, where `docker inspect` shows it.
    """
    port, path = arguments
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=_SECONDS)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        said = f"{answer.status} {answer.read(200).decode(errors='replace')}"
        well = answer.status == http.client.OK
    except (OSError, http.client.HTTPException) as error:
        said, well = f"no answer from port {port}: {error}", False
    finally:
        connection.close()
    print(said)
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
