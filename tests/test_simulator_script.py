"""What the simulated gateway draws from its seed, how it reads prompts and keys, and how it says no."""

from statistics import mean, median

import pytest

from batchrunner.simulator import script
from batchrunner.simulator.access import Access, AuthScheme, hash_keys
from batchrunner.simulator.dialect import go_duration
from batchrunner.simulator.script import Fault, Script


def test_the_same_seed_tells_the_same_story_and_another_one_another() -> None:
    def story(seed: int) -> list[script.Fate]:
        chosen = Script(seed=seed, latency_seconds=1, latency_spread=0.5, faults={Fault.EMPTY: 0.3})
        return [script.fate(chosen, number) for number in range(50)]

    assert story(1) == story(1)
    assert story(1) != story(2)


def test_faults_come_as_often_as_they_were_asked_for() -> None:
    chosen = Script(faults={Fault.SERVER_ERROR: 0.1, Fault.HANG: 0.3}, statuses_5xx=(500, 503))
    fates = [script.fate(chosen, number) for number in range(5000)]
    shares = {fault: mean(fate.fault is fault for fate in fates) for fault in Fault}
    assert shares[Fault.SERVER_ERROR] == pytest.approx(0.1, abs=0.02)
    assert shares[Fault.HANG] == pytest.approx(0.3, abs=0.03)
    assert shares[Fault.EMPTY] == 0
    assert {fate.status for fate in fates} == {500, 503}


def test_latency_has_the_median_that_was_asked_for() -> None:
    chosen = Script(latency_seconds=2, latency_spread=0.5)
    latencies = [script.fate(chosen, number).latency_seconds for number in range(5000)]
    assert median(latencies) == pytest.approx(2, rel=0.05)
    assert max(latencies) > 5


def test_answers_have_the_mean_length_that_was_asked_for_and_the_same_prompt_the_same_one() -> None:
    chosen = Script(completion_tokens=400, completion_spread=0.6)
    lengths = [script.completion_tokens(chosen, digest) for digest in range(5000)]
    assert mean(lengths) == pytest.approx(400, rel=0.05)
    assert lengths == [script.completion_tokens(chosen, digest) for digest in range(5000)]
    assert script.completion_tokens(Script(completion_tokens=9, completion_spread=0), 1) == 9


@pytest.mark.parametrize("faults", [{Fault.EMPTY: 0.7, Fault.HANG: 0.4}, {Fault.EMPTY: -0.1}])
def test_probabilities_that_are_none_are_refused(faults: dict[Fault, float]) -> None:
    with pytest.raises(ValueError, match="sum up"):
        Script(faults=faults)


def test_an_outage_lasts_from_its_start_to_its_end() -> None:
    chosen = Script(outages=((2, 3), (10, 11)))
    outside = [script.outage(chosen, number, second) for number in range(20) for second in (1.9, 3.0, 9.0, 11.0)]
    inside = {script.outage(chosen, number, second) for number in range(20) for second in (2.0, 2.9, 10.5)}
    assert set(outside) == {None}
    assert inside == {Fault.SERVER_ERROR, Fault.RESET_BEFORE}


@pytest.mark.parametrize(
    ("text", "fault", "status", "arrivals_hit"),
    [
        ("a [[status:422]] b", None, 422, 3),
        ("[[status:503]]", Fault.SERVER_ERROR, 503, 3),
        ("[[429x2]]", None, 429, 2),
        ("[[5xxx1]]", Fault.SERVER_ERROR, 500, 1),
        ("[[reset]]", Fault.RESET_AFTER, 200, 3),
        ("[[reset_before]]", Fault.RESET_BEFORE, 200, 3),
        ("[[html]]", Fault.NOT_JSON, 200, 3),
        ("[[empty]]", Fault.EMPTY, 200, 3),
        ("[[hang]]", Fault.HANG, 200, 3),
        ("[[cut]]", Fault.CUT, 200, 3),
        ("[[hangx2]]", Fault.HANG, 200, 2),
    ],
)
def test_a_prompt_aims_a_fault_at_itself(text: str, fault: Fault | None, status: int, arrivals_hit: int) -> None:
    aim = script.directive(text)
    assert aim is not None
    assert (aim.fault, aim.status) == (fault, status)
    assert sum(aim.applies(earlier) for earlier in range(3)) == arrivals_hit


@pytest.mark.parametrize("text", ["", "[[", "[[nonsense]]", "[status:500]", "[[status:200]]", "[[status:abc]]"])
def test_any_other_prompt_aims_at_nothing(text: str) -> None:
    assert script.directive(text) is None


@pytest.mark.parametrize(
    ("scheme", "authorization", "opens"),
    [
        (AuthScheme.API_KEY, "Api-Key secret", True),
        (AuthScheme.API_KEY, "api-key secret", True),
        (AuthScheme.API_KEY, "Bearer secret", False),
        (AuthScheme.BEARER, "Bearer secret", True),
        (AuthScheme.BEARER, "Api-Key secret", False),
        (AuthScheme.ANY, "Api-Key secret", True),
        (AuthScheme.ANY, "Bearer secret", True),
        (AuthScheme.ANY, "Basic secret", False),
        (AuthScheme.ANY, "Api-Key wrong", False),
        (AuthScheme.ANY, "Api-Key ", False),
        (AuthScheme.ANY, "Api-Key", False),
        (AuthScheme.ANY, "", False),
    ],
)
def test_the_right_key_under_the_right_scheme_opens_the_door(
    scheme: AuthScheme, authorization: str, *, opens: bool
) -> None:
    access = Access(scheme=scheme, key_hashes=hash_keys(["secret", "other"]))
    assert (access.account(authorization) is not None) == opens


def test_keys_are_accounts_unless_they_share_one() -> None:
    apart, together = Access(), Access(one_account=True)
    assert apart.account("Api-Key a") != apart.account("Api-Key b")
    assert together.account("Api-Key a") == together.account("Api-Key b")


def test_no_key_shows_in_the_settings() -> None:
    assert "secret" not in repr(Access(key_hashes=hash_keys(["secret"])))
    assert Access().account("Api-Key secret") != "secret"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.12, "120ms"), (1, "1s"), (1.036, "1.036s"), (60, "1m0s"), (360, "6m0s"), (86_399, "23h59m59s")],
)
def test_durations_are_written_as_go_does(seconds: float, text: str) -> None:
    assert go_duration(round(seconds * 1e9)) == text
