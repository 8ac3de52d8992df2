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
    port = next(free_ports("127.0.0.1", (10240, 30000), set()))
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            until(lambda: _answers(url), "the service does not answer")
            yield url
        finally:
            process.kill()


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
