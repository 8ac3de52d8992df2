"""A service that speaks the protocol of S3, with an empty bucket named `bucket`."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from cachewright.hosts.ports import free_ports
from serving import until

SECRET = "Secret-of-the-bucket"


@contextmanager
def bucket_service() -> Iterator[str]:
    """Yield the URL of a service."""
    while (found := _started()) is None:
        pass  # another program has taken the port
    process, url = found
    with process:
        try:
            yield url
        finally:
            process.kill()


def _started() -> tuple[subprocess.Popen[bytes], str] | None:
    """Start a service. None if it has ended, because its port was taken while it started."""
    port = next(free_ports("127.0.0.1", (10240, 30000), set()))
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        until(lambda: process.poll() is not None or _answers(url), "the service does not answer")
    except AssertionError:
        process.kill()
        process.wait()
        raise
    return (process, url) if process.poll() is None else None


def access_to(url: str) -> dict[str, str]:
    """Return the environment variables with which a program finds the service."""
    return {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": url,
    }


def _answers(url: str) -> bool:
    try:
        return httpx.put(f"{url}/bucket").is_success
    except httpx.HTTPError:
        return False
