"""Sends bodies that are rejected while they are written, and fails unless each status is read.

Arguments: URL, length of the body, number of tries, a well-formed signature that is wrong.
Exits with 77 if requests or aiohttp is missing.
"""

import asyncio
import sys

try:
    import aiohttp
    import requests
except ImportError:
    sys.exit(77)

url, length, tries, forged = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
body = b"x" * length


def with_requests(headers):
    return requests.post(url, headers=headers, data=body, timeout=60).status_code


async def with_aiohttp(headers):
    async with aiohttp.ClientSession() as session:
        async with session.post(url, headers=headers, data=body) as response:
            await response.read()
            return response.status


for _ in range(tries):
    for headers, expected in [({}, 401), ({"X-Webhook-Signature": forged}, 413)]:
        status = with_requests(headers)
        assert status == expected, f"requests: {status} {headers}"
        status = asyncio.run(with_aiohttp(headers))
        assert status == expected, f"aiohttp: {status} {headers}"
