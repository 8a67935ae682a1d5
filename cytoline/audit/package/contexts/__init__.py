"""JSON-LD contexts that the validators would otherwise fetch, and the cache that gives them to roc-validator."""

from __future__ import annotations

import json
from pathlib import Path

_FOLDER = Path(__file__).parent
_NAMESPACE = "https://w3id.org/ro/terms/workflow-run"
_RUN_TERMS = (
    *("ParameterConnection", "connection", "sourceParameter", "targetParameter"),
    *("ContainerImage", "DockerImage", "SIFImage", "containerImage", "registry", "tag"),
    *("md5", "sha1", "sha256", "sha512", "environment", "resourceUsage"),
)


def documents() -> dict[str, bytes]:
    """Address to content."""
    terms = {"@context": {term: f"{_NAMESPACE}#{term}" for term in _RUN_TERMS}}
    return {
        "https://w3id.org/ro/crate/1.1/context": (_FOLDER / "ro-crate-1.1.jsonld").read_bytes(),
        f"{_NAMESPACE}/context": json.dumps(terms).encode(),
    }


def seed(cache: Path) -> None:
    """Make an HTTP cache (``requests_cache``, SQLite) at ``cache`` that holds these answers for ever."""
    from requests import Request
    from requests.structures import CaseInsensitiveDict
    from requests_cache import CachedSession
    from requests_cache.models.request import CachedRequest
    from requests_cache.models.response import CachedResponse

    with CachedSession(cache_name=str(cache), backend="sqlite", expire_after=-1) as session:
        for address, content in documents().items():
            request = session.prepare_request(Request("GET", address))
            answer = CachedResponse(
                status_code=200,
                url=address,
                headers=CaseInsensitiveDict({"Content-Type": "application/ld+json"}),
                request=CachedRequest.from_request(request),
            )
            answer._content = content
            session.cache.save_response(answer, session.cache.create_key(request))
