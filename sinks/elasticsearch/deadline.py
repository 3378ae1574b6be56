"""Connections on which the whole of an answer has a time limit.

A socket's time-out is for each read: a server, or what stands before it, that sends a byte now and
then would be listened to for ever.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from typing import TYPE_CHECKING, Final

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

if TYPE_CHECKING:
    _Connection = HTTPConnection
else:
    _Connection = object


class _Limited(_Connection):
    """Its time-out is for the answer as a whole."""

    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override]  # as urllib3 has it
        limit, sock = self.timeout, self.sock
        if limit is None or sock is None:
            return super().getresponse()
        late = threading.Event()

        def cut() -> None:
            late.set()
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(limit, cut)
        timer.daemon = True
        timer.start()
        try:
            response = super().getresponse()
        except (OSError, http.client.HTTPException, urllib3.exceptions.HTTPError):
            if late.is_set():
                raise TimeoutError("the answer took too long") from None
            raise
        finally:
            timer.cancel()
        if late.is_set():
            raise TimeoutError("the answer took too long")
        return response


class LimitedHTTP(_Limited, HTTPConnection):
    """For http."""


class LimitedHTTPS(_Limited, HTTPSConnection):
    """For https."""


class HTTPPool(urllib3.HTTPConnectionPool):
    ConnectionCls = LimitedHTTP


class HTTPSPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = LimitedHTTPS


#: as a pool manager wants them
POOLS: Final = {"http": HTTPPool, "https": HTTPSPool}
