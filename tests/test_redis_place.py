"""What --shared takes: places in Redis, their passwords never told, nothing in the open beyond this machine."""

import pytest

from batchrunner.errors import UsageError
from batchrunner.limits.redis_place import VARIABLE, redis_place, without_password


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost", "redis://localhost:6379/0"),
        ("redis://127.0.0.1:6380/3", "redis://127.0.0.1:6380/3"),
        ("redis://[::1]:6380", "redis://[::1]:6380/0"),
        ("rediss://user:canary@redis.example/1", "rediss://redis.example:6379/1"),
        ("rediss://:canary%40%2F@10.0.0.3", "rediss://10.0.0.3:6379/0"),
        ("rediss://10.0.0.3?ssl_certfile=/a&ssl_keyfile=/b", "rediss://10.0.0.3:6379/0"),
    ],
)
def test_a_place_is_shown_without_user_and_password(url: str, shown: str) -> None:
    place = redis_place(url, {})
    assert str(place) == shown
    assert "canary" not in repr(place)


def test_a_place_is_what_redis_takes() -> None:
    place = redis_place("rediss://user:p%40ss@redis.example:6380/1?ssl_ca_certs=/ca.pem", {})
    assert place.connection() == {
        "host": "redis.example",
        "port": 6380,
        "db": 1,
        "username": "user",
        "password": "p@ss",
        "ssl": True,
        "ssl_cert_reqs": "required",
        "ssl_check_hostname": True,
        "ssl_ca_certs": "/ca.pem",
    }


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost",
        "redis://",
        "localhost:6379",
        "redis://:canary@localhost:port",
        "redis://:canary@localhost/db",
        "redis://:canary@localhost/-1",
        "rediss://:canary@localhost?ssl_cert_reqs=none",
        "redis://localhost?db=3",
        "rediss://localhost?x",
        "unix:///run/redis.sock",
        "redis://[::1",
        "",
    ],
)
def test_what_is_no_place_is_refused_without_telling_a_password(url: str) -> None:
    with pytest.raises(UsageError, match="--shared") as caught:
        redis_place(url, {})
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("url", ["redis://:canary@10.0.0.3", "redis://redis.example", "rediss://redis.example"])
def test_beyond_this_machine_tls_and_a_password_are_needed_or_allowed_to_lack(url: str) -> None:
    with pytest.raises(UsageError, match=r"not on this machine.*--allow-insecure-http"):
        redis_place(url, {})
    assert redis_place(url, {}, allow_insecure=True).tls == url.startswith("rediss")


def test_the_environment_has_the_password_of_the_place_it_names() -> None:
    known = {VARIABLE: "rediss://someone:canary@redis.example:6379/0"}
    assert redis_place("rediss://redis.example/1", known).password == "canary"
    assert redis_place("rediss://redis.example/1", known).user == "someone"
    assert redis_place("rediss://:own@redis.example", known).password == "own"
    assert redis_place("redis://localhost", known).password is None


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("redis://:canary@localhost:1/0", "redis://localhost:1/0"),
        ("--shared=rediss://user:can@ary@host", "--shared=rediss://user@host"),
        ("--shared=rediss://user:can/ary@host/0", "--shared=rediss://user@host/0"),
        ("rediss://user@host", "rediss://user@host"),
        ("redis://localhost", "redis://localhost"),
        ("a@b.c", "a@b.c"),
    ],
)
def test_a_text_is_told_without_passwords(text: str, shown: str) -> None:
    assert without_password(text) == shown
