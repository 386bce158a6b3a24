"""Answers that a model has given before, kept in Redis: for a row that comes again the model is not asked.

Redis may be away, slow or full: the model answers then, which is said once. A key is made of the fingerprint of the
model's files and of the row, so another version, even behind the same alias, never finds what this one answered.
"""

from __future__ import annotations

import hmac
import json
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

_LOGGER = logging.getLogger("uvicorn.error")
SECRET = "CACHE_SECRET"  # the variable whose text goes into the hash of a row
PATIENCE = 0.05  # seconds that Redis has for an answer
BY_ROWS = ("object", "str", "bool")  # types that a column has by the rows that came along: nulls make object of bool
PAUSE = 10.0  # seconds that it is left alone after it had none


@dataclass
class AnswerCache:
    """Answers to rows, keyed by a hash of these. Ends the server, with a sentence, where it could never work."""

    address: str
    names: list[str]  # of the columns of a row
    fingerprint: str  # of the model
    seconds: int  # that an answer is kept
    personal: bool = False  # rows are: the hash has to be one that nobody can repeat without the secret

    def __post_init__(self) -> None:
        self._secret = os.environ.get(SECRET, "").encode()
        if self.personal and not self._secret:
            raise SystemExit(f"deploy.cache: rows are personal (columns.sensitive): put a random text into {SECRET}")
        try:
            import redis
            from redis.backoff import NoBackoff
            from redis.retry import Retry

            patience: Any = {"socket_timeout": PATIENCE, "socket_connect_timeout": PATIENCE}
            self._redis = redis.Redis.from_url(self.address, retry=Retry(NoBackoff(), 0), **patience)
        except ImportError:
            raise SystemExit("deploy.cache needs Redis' client: `uv add redis` and `make lock` install it") from None
        except ValueError as error:
            raise SystemExit(f"deploy.cache is no address such as redis://localhost:6379/0: {error}") from None
        self._away = redis.RedisError
        self._resumed = {"read": 0.0, "written": 0.0}  # when each is tried again
        self._failing: set[str] = set()

    def answers(self, frame: pd.DataFrame, ask: Callable[[pd.DataFrame], Any]) -> Any:
        """What `ask` gives for the rows of `frame`, of which it is asked about those alone that are not kept."""
        if any(name not in frame for name in self.names):
            return ask(frame)
        keys = self._keys(frame)
        kept = self._tried("read", lambda: [text and json.loads(text) for text in self._redis.mget(keys)])
        if kept is None:
            return ask(frame)
        absent = [at for at, answer in enumerate(kept) if answer is None]
        if not absent:
            return kept
        try:
            new = ask(frame if len(absent) == len(keys) else frame.iloc[absent].reset_index(drop=True))
        except Exception:
            return ask(frame)  # what is refused is refused in the same words as without a cache
        if not isinstance(new, list):
            return ask(frame)
        for at, answer in zip(absent, new, strict=True):
            kept[at] = answer
        self._tried("written", lambda: self._keep([keys[at] for at in absent], new))
        return kept

    def _keys(self, frame: pd.DataFrame) -> list[str]:
        """A key for each row: its values as they stand, 1 is not 1.0 and not "1", and of numbers the columns' types."""
        columns = [frame[name] for name in self.names]
        types = ",".join("" if (name := str(column.dtype)) in BY_ROWS else name for column in columns)
        rows = zip(*(column.tolist() for column in columns), strict=True)
        texts = (f"{types}\0{json.dumps(row, default=repr)}".encode() for row in rows)
        return [f"{self.fingerprint}:{hmac.digest(self._secret, text, 'sha256').hex()}" for text in texts]

    def _keep(self, keys: list[str], answers: list[dict[str, Any]]) -> bool:
        with self._redis.pipeline(transaction=False) as pipeline:
            for key, answer in zip(keys, answers, strict=True):
                pipeline.set(key, json.dumps(answer), ex=self.seconds)
            pipeline.execute()
        return True

    def _tried(self, done: str, call: Callable[[], Any]) -> Any:
        """What `call` gives; None where Redis does not do it, which is then left alone for a while."""
        if time.monotonic() < self._resumed[done]:
            return None
        try:
            result = call()
        except (self._away, OSError, ValueError) as error:  # the last of what somebody else has written there
            self._resumed[done] = time.monotonic() + PAUSE
            if done not in self._failing:
                _LOGGER.warning("the cache cannot be %s (%s): the model answers", done, type(error).__name__)
            self._failing.add(done)
            return None
        if done in self._failing:
            _LOGGER.warning("the cache can be %s again", done)
            self._failing.discard(done)
        return result
