"""Sends bodies that are refused while they are written, and fails unless each status is read.

Arguments: URL, length of the body, number of tries, a well-formed signature that is wrong.
Ends with 77 where requests or aiohttp is missing.
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
pieces = [body[at : at + 65536] for at in range(0, length, 65536)]


async def in_pieces():
    for piece in pieces:
        yield piece


def with_requests(headers, chunked):
    data = iter(pieces) if chunked else body
    return requests.post(url, headers=headers, data=data, timeout=60).status_code


async def with_aiohttp(headers, chunked):
    data = in_pieces() if chunked else body
    async with aiohttp.ClientSession() as session:
        async with session.post(url, headers=headers, data=data) as response:
            await response.read()
            return response.status


for _ in range(tries):
    for headers, expected in [({}, 401), ({"X-Webhook-Signature": forged}, 413)]:
        for chunked in [False, True]:
            what = f"{headers} chunked={chunked}"
            status = with_requests(headers, chunked)
            assert status == expected, f"requests: {status} {what}"
            status = asyncio.run(with_aiohttp(headers, chunked))
            assert status == expected, f"aiohttp: {status} {what}"
